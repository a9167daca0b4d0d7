"""How an executor is started: ours, a ComfyUI checkout, or any command. It names programs and folders, it runs nothing.

The setting is `comfy_core`, `comfyui:/path/to/checkout`, `http(s)://host:port`, or a command with words in braces.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from machine_agent.errors import Refused

COMFY_CORE = (
    "{python} -m comfy_core --listen 127.0.0.1 --port {port} --input-directory {input} "
    "--output-directory {output} --temp-directory {temp} --models-directory {models} "
    "--die-with-parent --threads {threads}"
)
"""How the built-in executor is started. Another executor is another command with the same words in braces."""

CHECKOUT = "comfyui:"
PYTHONS = ("venv/bin/python", ".venv/bin/python", "venv/Scripts/python.exe", ".venv/Scripts/python.exe")

MODEL_FOLDERS: dict[str, str] = {
    **{name: name for name in ("checkpoints", "configs", "loras", "vae", "clip_vision", "style_models")},
    **{name: name for name in ("embeddings", "diffusers", "vae_approx", "gligen", "upscale_models")},
    **{name: name for name in ("hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders")},
    "text_encoders": "text_encoders\nclip",
    "diffusion_models": "diffusion_models\nunet",
    "controlnet": "controlnet\nt2i_adapter",
}
"""ComfyUI's kinds of models and their folders, one to a line."""


class Place(Struct, frozen=True):
    """Where one executor lives and what it may use."""

    port: int
    home: Path
    models: Path
    threads: int
    on_gpu: bool

    @property
    def folders(self) -> tuple[Path, Path, Path]:
        """Input, output and temp."""
        return self.home / "input", self.home / "output", self.home / "temp"


class Command(Struct, frozen=True):
    """A program with its arguments, and the folder it runs in (None: ours)."""

    arguments: list[str]
    folder: Path | None = None


class Program(Struct, frozen=True):
    """Any executor that a command starts."""

    template: str
    more: tuple[str, ...] = ()

    def command(self, place: Place) -> Command:
        """The command for this place; each word in braces is replaced within its own argument."""
        received, made, temporary = place.folders
        words = {
            "python": sys.executable,
            "port": str(place.port),
            "input": str(received),
            "output": str(made),
            "temp": str(temporary),
            "models": str(place.models),
            "threads": str(place.threads),
        }
        return Command([*(part.format_map(words) for part in shlex.split(self.template)), *self.more])


class Checkout(Struct, frozen=True):
    """A ComfyUI checkout, run by its own Python with ComfyUI's own flags."""

    root: Path
    python: Path
    more: tuple[str, ...] = ()

    def command(self, place: Place) -> Command:
        """The command for this place. Writes the file that tells ComfyUI where the models are."""
        received, made, temporary = place.folders
        user = place.home / "user"
        user.mkdir(parents=True, exist_ok=True)
        models = place.home / "extra_model_paths.yaml"
        models.write_bytes(extra_model_paths(place.models))
        arguments: list[str | Path] = [self.python, "main.py", "--listen", "127.0.0.1", "--port", str(place.port)]
        arguments += ["--input-directory", received, "--output-directory", made, "--temp-directory", temporary]
        arguments += ["--user-directory", user, "--database-url", f"sqlite:///{user / 'comfyui.db'}"]
        arguments += ["--extra-model-paths-config", models, "--disable-auto-launch"]
        arguments += [] if place.on_gpu else ["--cpu"]
        return Command([*map(str, arguments), *self.more], self.root)


class Server(Struct, frozen=True):
    """A server that somebody else started: it is neither started nor ended."""

    url: str


How = Program | Checkout | Server


def how(setting: str, python: Path | None = None, more: str = "") -> How:
    """What the setting stands for. Raises Refused for a checkout that is none and options that do not apply."""
    if setting.startswith(("http://", "https://")):
        if python is not None or more:
            raise Refused(f"{setting} runs already: --executor-python and --executor-args do not apply to it")
        return Server(setting.rstrip("/"))
    arguments = tuple(shlex.split(more))
    if setting.startswith(CHECKOUT):
        return _checkout(Path(setting.removeprefix(CHECKOUT)).expanduser().absolute(), python, arguments)
    if python is not None:
        raise Refused("--executor-python applies to comfyui:/path only")
    return Program(COMFY_CORE if setting == "comfy_core" else setting, arguments)


def _checkout(root: Path, python: Path | None, arguments: tuple[str, ...]) -> Checkout:
    if not (root / "main.py").is_file():
        raise Refused(f"{root} is no ComfyUI checkout: it has no main.py")
    if python is not None:
        return Checkout(root, python.expanduser().absolute(), arguments)
    found = next((root / name for name in PYTHONS if (root / name).exists()), Path(sys.executable))
    return Checkout(root, found, arguments)


def extra_model_paths(models: Path) -> bytes:
    """A model folder as ComfyUI's extra_model_paths file; JSON, which is YAML too. Further folders are kinds too."""
    known = {name for names in MODEL_FOLDERS.values() for name in names.split("\n")}
    others = [path.name for path in models.iterdir() if path.is_dir()] if models.is_dir() else []
    kinds = MODEL_FOLDERS | {name: name for name in others if name not in known and name != "custom_nodes"}
    return msgspec.json.encode({"fleet": {"base_path": str(models), "is_default": True, **kinds}})
