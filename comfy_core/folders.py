"""Where files are: input, output, temp and the model folders. It knows names and paths, not what is in the files.

Every name that comes from outside goes through `inside`, so that none leaves its folder.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from comfy_core.errors import InputRefused
from comfy_core.listing import Listings
from comfy_core.scope import own

Searched = tuple[list[str], Collection[str]]
"""Folders searched in order, and the endings of the files that count; no endings: every file counts."""

WEIGHTS = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}
OTHER_ENDINGS: Mapping[str, Collection[str]] = {
    "configs": [".yaml"],
    "diffusers": ["folder"],
    "custom_nodes": set(),
    "classifiers": {""},
}
MODEL_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "checkpoints": ("checkpoints",),
    "configs": ("configs",),
    "loras": ("loras",),
    "vae": ("vae",),
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("unet", "diffusion_models"),
    "clip_vision": ("clip_vision",),
    "style_models": ("style_models",),
    "embeddings": ("embeddings",),
    "diffusers": ("diffusers",),
    "vae_approx": ("vae_approx",),
    "controlnet": ("controlnet", "t2i_adapter"),
    "gligen": ("gligen",),
    "upscale_models": ("upscale_models",),
    "custom_nodes": (),
    "hypernetworks": ("hypernetworks",),
    "photomaker": ("photomaker",),
    "classifiers": ("classifiers",),
    "model_patches": ("model_patches",),
    "audio_encoders": ("audio_encoders",),
}
OLD_NAMES: Mapping[str, str] = {"unet": "diffusion_models", "clip": "text_encoders"}
ANNOTATIONS: Mapping[str, str] = {" [output]": "output", " [input]": "input", " [temp]": "temp"}


def inside(root: Path, *names: str) -> Path:
    """The path of a name under root. Raises InputRefused for a name that leads out of it, links followed."""
    if any("\x00" in name for name in names):
        raise InputRefused("a file name must not contain a NUL character")
    home = root.resolve()
    try:
        path = home.joinpath(*names).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputRefused(f"{'/'.join(names)[:200]!r} is not a usable file name") from error
    if path != home and home not in path.parents:
        raise InputRefused(f"{'/'.join(names)[:200]!r} leads outside its folder")
    return path


def below(root: str, name: str) -> Path:
    """The path of a name under a folder that only its owner writes to, who may have put links there that lead out.

    Raises InputRefused for a name that leads out by itself.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\x00" in name:
        raise InputRefused(f"{name[:200]!r} leads outside its folder")
    return Path(root, path)


def annotated(name: str, default: str = "input") -> tuple[str, str]:
    """Split `name [output]` into name and kind; a name without annotation is of the default kind."""
    for ending, kind in ANNOTATIONS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), kind
    return name, default


class Folders:
    """The folders of one executor. models: kind -> where it is searched, in the very shape in which packs change it."""

    def __init__(
        self,
        base: Path,
        input: Path,  # noqa: A002 - ComfyUI's word
        output: Path,
        temp: Path,
        models: dict[str, Searched] | None = None,
        user: Path | None = None,
    ) -> None:
        self.base = base
        self.user = user or base / "user"
        self._listings = Listings()
        self.models = {} if models is None else models
        self._input, self._output, self._temp = input, output, temp

    @property
    def input(self) -> Path:
        """Where prompts' files are read from: the running prompt's own, where it has one."""
        return own(self._input)

    @property
    def output(self) -> Path:
        """Where results are written to."""
        return own(self._output)

    @property
    def temp(self) -> Path:
        """Where previews are written to."""
        return own(self._temp)

    def of_kind(self, kind: str) -> Path:
        """The input, output or temp folder. Raises InputRefused for any other kind."""
        known = {"input": self.input, "output": self.output, "temp": self.temp}
        if kind not in known:
            raise InputRefused(f"there is no folder of type {kind[:50]!r}")
        return known[kind]

    def redirect(self, kind: str, folder: Path) -> None:
        """Use another input, output or temp folder from now on. Raises InputRefused for any other kind."""
        self.of_kind(kind)
        setattr(self, f"_{kind}", folder)

    def find_annotated(self, name: str) -> Path:
        """The path of an input name, which may end in ` [output]`, ` [input]` or ` [temp]`. It need not exist."""
        plain, kind = annotated(name)
        return inside(self.of_kind(kind), plain)

    def input_names(self) -> list[str]:
        """Names of the files in the input folder, sorted."""
        if not self.input.is_dir():
            return []
        return sorted(entry.name for entry in self.input.iterdir() if entry.is_file() and entry.name[0] != ".")

    def model_names(self, kind: str) -> list[str]:
        """Names of the files of a kind, relative to their folder, sorted. Raises KeyError for an unknown kind."""
        roots, endings = self.models[OLD_NAMES.get(kind, kind)]
        found: set[str] = set()
        for root in roots:
            found.update(name for name in self._listings.below(root).names if counts(name, endings))
        return sorted(found)

    def find_model(self, kind: str, name: str) -> Path:
        """The path of a model. Raises KeyError for an unknown kind, InputRefused when no folder of the kind has it."""
        for root in self.models[OLD_NAMES.get(kind, kind)][0]:
            path = below(root, name)
            with contextlib.suppress(OSError):  # a name no file system takes names no model
                if path.is_file():
                    return path
        raise InputRefused(f"there is no model {name[:200]!r} in {kind}")

    def add_models(self, kind: str, root: Path, *, first: bool = False) -> None:
        """Search one more folder for a kind, or search this one first."""
        kind, folder = OLD_NAMES.get(kind, kind), str(root)
        searched = self.models.setdefault(kind, ([], set()))[0]
        if folder in searched and first:
            searched.remove(folder)
        if folder not in searched:
            searched.insert(0 if first else len(searched), folder)

    def base_for_uploads(self) -> Path:
        """Where uploads are received before they have a name: beside the input files, so that moving is a rename."""
        self.input.mkdir(parents=True, exist_ok=True)
        return self.input

    def prepare(self) -> None:
        """Make the folders that are written to, with an empty temp folder."""
        self.wipe_temp()
        self.make()

    def make(self) -> None:
        """Make the folders that are written to, the running prompt's own where it has them."""
        for folder in (self.input, self.output, self.temp):
            folder.mkdir(parents=True, exist_ok=True)

    def wipe_temp(self) -> None:
        """Remove the temp folder and all in it."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._temp)


def counts(name: str, endings: Collection[str]) -> bool:
    """Whether a file of this name is one of a kind with these endings."""
    return not endings or Path(name).suffix.lower() in endings


def standard_models(roots: Iterable[Path], base: Path) -> dict[str, Searched]:
    """Model folders by kind under each root; custom nodes live beside the models, under base."""
    kinds: dict[str, Searched] = {}
    for kind, names in MODEL_FOLDERS.items():
        kinds[kind] = ([str(root / name) for root in roots for name in names], OTHER_ENDINGS.get(kind, WEIGHTS))
    kinds["custom_nodes"] = ([str(base / "custom_nodes")], set())
    return kinds
