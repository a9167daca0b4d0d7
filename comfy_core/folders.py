"""Where files are: input, output, temp and the model folders. It knows names and paths, not what is in the files.

Every name that comes from outside goes through `inside`, so that none leaves its folder.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from comfy_core.errors import InputRefused

WEIGHTS = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})
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
    except (OSError, RuntimeError) as error:
        raise InputRefused(f"{'/'.join(names)[:200]!r} is not a usable file name") from error
    if path != home and home not in path.parents:
        raise InputRefused(f"{'/'.join(names)[:200]!r} leads outside its folder")
    return path


def annotated(name: str, default: str = "input") -> tuple[str, str]:
    """Split `name [output]` into name and kind; a name without annotation is of the default kind."""
    for ending, kind in ANNOTATIONS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), kind
    return name, default


@dataclass(slots=True)
class Folders:
    """The folders of one executor. models: kind -> folders searched in order."""

    base: Path
    input: Path
    output: Path
    temp: Path
    models: dict[str, list[Path]] = field(default_factory=dict)

    def of_kind(self, kind: str) -> Path:
        """The input, output or temp folder. Raises InputRefused for any other kind."""
        known = {"input": self.input, "output": self.output, "temp": self.temp}
        if kind not in known:
            raise InputRefused(f"there is no folder of type {kind[:50]!r}")
        return known[kind]

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
        """Names of the weights of a kind, relative to their folder, sorted. Raises KeyError for an unknown kind."""
        found: set[str] = set()
        for root in self.models[OLD_NAMES.get(kind, kind)]:
            found.update(path.relative_to(root).as_posix() for path in _weights(root))
        return sorted(found)

    def find_model(self, kind: str, name: str) -> Path:
        """The path of a model. Raises InputRefused when no folder of the kind has it."""
        for root in self.models[OLD_NAMES.get(kind, kind)]:
            path = inside(root, name)
            if path.is_file():
                return path
        raise InputRefused(f"there is no model {name[:200]!r} in {kind}")

    def add_models(self, kind: str, root: Path) -> None:
        """Search one more folder for a kind."""
        searched = self.models.setdefault(OLD_NAMES.get(kind, kind), [])
        if root not in searched:
            searched.append(root)

    def base_for_uploads(self) -> Path:
        """Where uploads are received before they have a name: beside the input files, so that moving is a rename."""
        self.input.mkdir(parents=True, exist_ok=True)
        return self.input

    def prepare(self) -> None:
        """Make the folders that are written to, with an empty temp folder."""
        for folder in (self.input, self.output):
            folder.mkdir(parents=True, exist_ok=True)
        self.wipe_temp()
        self.temp.mkdir(parents=True, exist_ok=True)

    def wipe_temp(self) -> None:
        """Remove the temp folder and all in it."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.temp)


def _weights(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    for path in root.rglob("*"):
        if path.suffix.lower() in WEIGHTS and path.is_file():
            yield path


def standard_models(roots: Iterable[Path], base: Path) -> dict[str, list[Path]]:
    """Model folders by kind under each root; custom nodes live beside the models, under base."""
    kinds = {kind: [root / name for root in roots for name in names] for kind, names in MODEL_FOLDERS.items()}
    kinds["custom_nodes"] = [base / "custom_nodes"]
    return kinds
