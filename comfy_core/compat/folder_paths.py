"""Where files are, by the names packs use. It holds nothing: all of it is the executor's own Folders, live.

`folder_names_and_paths` is the very mapping the server reads, so a kind or a folder that a pack adds is searched and
listed at once. The input, output and temp folders are those of the running prompt, where it has its own.
"""

import mimetypes
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from comfy_core.errors import InputRefused
from comfy_core.folders import OLD_NAMES, WEIGHTS, annotated, counts, inside
from comfy_core.listing import scan
from comfy_core.surface import attached

_folders = attached().settings.folders
base_path = str(_folders.base)
__file__ = str(_folders.base / "folder_paths.py")
models_dir = str(Path(_folders.models["checkpoints"][0][0]).parent)
folder_names_and_paths = _folders.models
supported_pt_extensions = WEIGHTS
extension_mimetypes_cache = {"webp": "image", "fbx": "model"}
filename_list_cache: dict[str, Any] = {}
"""Packs clear it so that the next listing is read anew; ours notices by itself and keeps nothing here."""

MODEL_ENDINGS = frozenset({".glb", ".gltf", ".obj", ".fbx", ".stl"})
_PLACES = {"output_directory": "output", "input_directory": "input", "temp_directory": "temp"}


def __getattr__(name: str) -> str:
    """The folders that may change while the server runs."""
    if name in _PLACES:
        return str(_folders.of_kind(_PLACES[name]))
    if name == "user_directory":
        return str(_folders.user)
    raise AttributeError(f"module 'folder_paths' has no attribute {name!r}")


class CacheHelper:
    """Takes what packs tell it about remembering listings; the executor remembers them by itself."""

    active = False
    cache: dict[str, Any] = {}  # noqa: RUF012 - packs read it as it is

    def get(self, key: str, default: Any = None) -> Any:
        """Nothing is kept here."""
        return default

    def set(self, key: str, value: Any) -> None:
        """Nothing is kept here."""

    def clear(self) -> None:
        """Nothing is kept here."""

    def __enter__(self) -> "CacheHelper":
        return self

    def __exit__(self, *_: object) -> None:
        return None


cache_helper = CacheHelper()


def map_legacy(folder_name: str) -> str:
    """The present name of a kind: unet is diffusion_models, clip is text_encoders."""
    return OLD_NAMES.get(folder_name, folder_name)


def set_output_directory(output_dir: str) -> None:
    """Write results there from now on."""
    _folders.redirect("output", Path(output_dir).absolute())


def set_temp_directory(temp_dir: str) -> None:
    """Write previews there from now on."""
    _folders.redirect("temp", Path(temp_dir).absolute())


def set_input_directory(input_dir: str) -> None:
    """Read prompts' files there from now on."""
    _folders.redirect("input", Path(input_dir).absolute())


def set_user_directory(user_dir: str) -> None:
    """Keep settings and user files there from now on."""
    _folders.user = Path(user_dir).absolute()


def get_output_directory() -> str:
    """Where results are written."""
    return str(_folders.output)


def get_temp_directory() -> str:
    """Where previews are written."""
    return str(_folders.temp)


def get_input_directory() -> str:
    """Where prompts' files are read."""
    return str(_folders.input)


def get_user_directory() -> str:
    """Where settings and user files are."""
    return str(_folders.user)


def get_directory_by_type(type_name: str) -> str | None:
    """The folder of `output`, `temp` or `input`; None for another word."""
    try:
        return str(_folders.of_kind(type_name))
    except (InputRefused, TypeError):
        return None


def filter_files_content_types(files: Iterable[str], content_types: Iterable[str]) -> list[str]:
    """Those whose names say that they are an `image`, `video`, `audio` or (3D) `model`."""
    wanted = set(content_types)
    return [name for name in files if _content_type(name) in wanted]


def _content_type(name: str) -> str | None:
    ending = Path(name).suffix
    known = extension_mimetypes_cache.get(ending.removeprefix("."))
    if known is not None:
        return known
    if ending.lower() in MODEL_ENDINGS:
        return "model"
    guessed = mimetypes.guess_type(f"x{ending}", strict=False)[0]
    return guessed.split("/")[0] if guessed else None


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """Split `name [output]` into the name and its folder; no folder without such an ending."""
    plain, kind = annotated(name, default="")
    return plain, str(_folders.of_kind(kind)) if kind else None


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    """The path of an input name, which may end in ` [output]`. Raises InputRefused when it leads out of its folder."""
    plain, folder = annotated_filepath(name)
    return str(inside(Path(folder or default_dir or _folders.input), plain))


def exists_annotated_filepath(name: str) -> bool:
    """Whether there is such a file; a name that leads out of its folder names none."""
    try:
        return _folders.find_annotated(name).exists()
    except InputRefused:
        return False


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    """Search one more folder for a kind; the default one is searched first."""
    _folders.add_models(folder_name, Path(full_folder_path), first=is_default)


def get_folder_paths(folder_name: str) -> list[str]:
    """The folders searched for a kind. Raises KeyError for an unknown one."""
    return list(folder_names_and_paths[map_legacy(folder_name)][0])


def recursive_search(directory: str, excluded_dir_names: list[str] | None = None) -> tuple[list[str], dict[str, float]]:
    """(names of all files below, time of change of every folder on the way). Excluded are folders of these names."""
    excluded = set(excluded_dir_names or ())
    found = scan(directory)
    names = [name for name in found.names if excluded.isdisjoint(name.split("/")[:-1])]
    return names, {folder: time for folder, time in found.folders.items() if time}


def filter_files_extensions(files: Iterable[str], extensions: Iterable[str]) -> list[str]:
    """Those with one of these endings, all of them when there are none, sorted."""
    endings = list(extensions)
    return sorted(name for name in files if counts(name, endings))


def get_full_path(folder_name: str, filename: str) -> str | None:
    """The path of a model; None when there is none, also for a name that leads out of its folder."""
    with suppress(InputRefused, KeyError):
        return str(_folders.find_model(folder_name, filename))
    return None


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    """The path of a model. Raises FileNotFoundError."""
    found = get_full_path(folder_name, filename)
    if found is None:
        raise FileNotFoundError(f"Model in folder '{folder_name}' with filename '{filename}' not found.")
    return found


def get_filename_list(folder_name: str) -> list[str]:
    """Names of the files of a kind, sorted. Raises KeyError for an unknown kind."""
    return _folders.model_names(folder_name)


def get_filename_list_(folder_name: str) -> tuple[list[str], dict[str, float], float]:
    """get_filename_list, with the folders' times of change; the last number tells nothing here."""
    times: dict[str, float] = {}
    for folder in get_folder_paths(folder_name):
        times.update(recursive_search(folder)[1])
    return get_filename_list(folder_name), times, 0.0


def cached_filename_list_(folder_name: str) -> None:
    """A listing that packs may have kept: none, the executor's own is always up to date."""


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """(folder, stem, counter, sub-folder, prefix with its tokens filled in) for files about to be saved.

    The folder is made. Raises InputRefused for a prefix that leads out of it.
    """
    from comfy_core.nodes.saving import place_for  # the nodes bring torch, which prestart scripts come before

    place = place_for(os.path.normpath(filename_prefix), Path(output_dir), int(image_width), int(image_height))
    prefix = f"{place.subfolder}/{place.stem}" if place.subfolder else place.stem
    return str(place.folder), place.stem, place.counter, place.subfolder, prefix


def get_input_subfolders() -> list[str]:
    """Folders below the input folder, relative, sorted."""
    root = _folders.input
    below = (Path(folder).relative_to(root).as_posix() for folder in scan(str(root)).folders)
    return sorted(name for name in below if name != ".")
