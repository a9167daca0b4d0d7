"""The command line: every flag of ComfyUI, what it means here, and a few of our own. It reads it and decides nothing.

A flag of ComfyUI that means nothing here is taken and named in a warning, so that a start script for ComfyUI works.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

VERSION = "0.3.64"
"""The ComfyUI release whose interface is spoken."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
Switches = tuple[tuple[str, str], ...]

UNHEARD_SWITCHES: Switches = (
    ("auto-launch", "a browser is never opened"),
    ("disable-auto-launch", "a browser is never opened"),
    ("cuda-malloc", "torch's allocator is left as torch sets it"),
    ("disable-cuda-malloc", "torch's allocator is left as torch sets it"),
    *((f"{kind}-unet", "the precision of diffusion models follows their files") for kind in ("fp32", "fp64", "bf16")),
    ("fp16-unet", "the precision of diffusion models follows their files"),
    *((f"fp8_{kind}-unet", "the precision of diffusion models follows their files") for kind in ("e4m3fn", "e5m2")),
    ("fp8_e8m0fnu-unet", "the precision of diffusion models follows their files"),
    *((f"force-{kind}", "precision follows the files of the models") for kind in ("fp32", "fp16")),
    *((f"{kind}-vae", "the precision of VAEs follows their files") for kind in ("fp16", "fp32", "bf16")),
    ("cpu-vae", "VAEs run where the other models run"),
    *((f"fp8_{kind}-text-enc", "text encoders' precision follows their files") for kind in ("e4m3fn", "e5m2")),
    *((f"{kind}-text-enc", "text encoders' precision follows their files") for kind in ("fp16", "fp32", "bf16")),
    ("force-channels-last", "the layout of tensors is left to torch"),
    ("disable-ipex-optimize", "Intel's extension is not used"),
    ("supports-fp8-compute", "what the device can compute is asked of it"),
    *((f"use-{kind}-cross-attention", "torch chooses the attention") for kind in ("split", "quad", "pytorch")),
    *((f"use-{kind}-attention", "torch chooses the attention") for kind in ("sage", "flash")),
    ("disable-xformers", "xformers is not used"),
    ("force-upcast-attention", "the precision of attention follows the model"),
    ("dont-upcast-attention", "the precision of attention follows the model"),
    ("async-offload", "weights move in order"),
    ("force-non-blocking", "weights move in order"),
    ("deterministic", "torch's own settings say how exact it is"),
    ("mmap-torch-files", "weights are read as their format allows"),
    ("disable-mmap", "weights are read as their format allows"),
    ("dont-print-server", "the log is JSON lines; --verbose says how many"),
    ("disable-api-nodes", "there are no nodes that call paid services"),
)
UNHEARD_VALUES: Switches = (
    ("directml", "DirectML is not used"),
    ("oneapi-device-selector", "oneAPI is not used"),
    ("default-hashing-function", "files are compared by SHA-256"),
    ("fast", "no optimisation trades away exactness"),
    ("front-end-version", "install the version you want with pip, or name its folder: --front-end-root"),
    ("comfy-api-base", "there are no nodes that call paid services"),
    ("database-url", "there is no database"),
)


class Flags(argparse.Namespace):
    """What stood on the command line. unheard: ComfyUI's flags that mean nothing here."""

    unheard: list[str]


def read(argv: Sequence[str]) -> tuple[Flags, list[str]]:
    """The flags, and the arguments nobody knows. argparse ends the process on a flag with a wrong value."""
    flags, unknown = parser().parse_known_args(argv, namespace=Flags(unheard=[]))
    return flags, unknown


def parser() -> argparse.ArgumentParser:
    """Every flag with its help."""
    made = argparse.ArgumentParser(prog="python -m comfy_core", allow_abbrev=False)
    _add_network(made.add_argument_group("network"))
    _add_folders(made.add_argument_group("folders"))
    _add_computing(made.add_argument_group("computing"))
    _add_running(made.add_argument_group("running prompts"))
    _add_packs(made.add_argument_group("node packs"))
    _add_process(made.add_argument_group("the process"))
    group = made.add_argument_group("flags of ComfyUI that are taken and change nothing; a warning names them")
    for name, why in UNHEARD_SWITCHES:
        group.add_argument(f"--{name}", action=_Unheard, nargs=0, help=why)
    for name, why in UNHEARD_VALUES:
        group.add_argument(f"--{name}", action=_Unheard, nargs="*", metavar="VALUE", help=why)
    return made


class _Unheard(argparse.Action):
    """Notes that a flag was given that means nothing here."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if option_string is not None and option_string not in namespace.unheard:
            namespace.unheard.append(option_string)


Group = argparse._ArgumentGroup  # noqa: SLF001 - argparse has no public name for what add_argument_group gives


def _add_network(group: Group) -> None:
    add = group.add_argument
    add("--listen", nargs="?", default="127.0.0.1", const="0.0.0.0,::", metavar="IP", help="addresses, comma separated")
    add("--port", type=int, default=8188, help="0 takes a free port and logs it (default: 8188)")
    add("--tls-keyfile", type=Path, metavar="FILE", help="private key in PEM form; with --tls-certfile: https and wss")
    add("--tls-certfile", type=Path, metavar="FILE", help="certificate chain in PEM form")
    add(
        "--enable-cors-header", nargs="?", const="*", metavar="ORIGIN", help="let pages of this origin in; bare: of any"
    )
    add("--max-upload-size", type=float, default=100, metavar="MIB", help="largest request body (default: 100)")
    add("--enable-compress-response-body", action="store_true", help="gzip JSON and text for clients that take it")
    add("--front-end-root", type=Path, metavar="DIR", help="serve the front end in this folder (it holds index.html)")
    add("--multi-user", action="store_true", help="settings and user files apart for each user (header comfy-user)")


def _add_folders(group: Group) -> None:
    add = group.add_argument
    add("--base-directory", type=Path, default=Path(), metavar="DIR", help="where the folders below are by default")
    add(
        "--models-directory",
        type=Path,
        action="append",
        metavar="DIR",
        help="holds checkpoints/, loras/ ...; repeatable",
    )
    add("--input-directory", type=Path, metavar="DIR", help="default: input under the base directory")
    add("--output-directory", type=Path, metavar="DIR", help="default: output under the base directory")
    add("--temp-directory", type=Path, metavar="DIR", help="a folder temp is made, and wiped, inside")
    add("--user-directory", type=Path, metavar="DIR", help="settings and user files; default: user under the base")
    more = "YAML file that names further model folders and custom_nodes"
    add("--extra-model-paths-config", nargs="+", action="append", type=Path, default=[], metavar="FILE", help=more)


def _add_computing(group: Group) -> None:
    add = group.add_argument
    add("--cpu", action="store_true", help="compute on the processor even where there is a GPU")
    add("--cuda-device", metavar="N", help="see only this GPU, or these, comma separated")
    add("--default-device", type=int, metavar="N", help="compute on this GPU; the others stay visible")
    add("--threads", type=int, help="threads for arithmetic; OMP_NUM_THREADS when absent")
    vram = group.add_mutually_exclusive_group().add_argument
    vram("--gpu-only", action="store_true", help="models never go to main memory")
    vram("--highvram", action="store_true", help="models stay on the GPU until memory runs out")
    vram("--normalvram", action="store_true", help="models stay on the GPU until room is needed (the default)")
    vram("--lowvram", action="store_true", help="models leave the GPU after each use")
    vram("--novram", action="store_true", help="like --lowvram")
    add("--reserve-vram", type=float, metavar="GB", help="GPU memory to leave to other programs")
    add("--ram-limit", type=float, metavar="GB", help="main memory this process may hold")
    add("--vram-limit", type=float, metavar="GB", help="GPU memory this process may hold")
    add("--disable-smart-memory", action="store_true", help="models leave the GPU after each use")


def _add_running(group: Group) -> None:
    add = group.add_argument
    cache = group.add_mutually_exclusive_group().add_argument
    cache("--cache-classic", action="store_true", help="keep the results of the last prompt (the default)")
    cache("--cache-lru", type=int, default=0, metavar="N", help="keep the results of the N nodes used last; 0: classic")
    cache("--cache-none", action="store_true", help="keep no result beyond its prompt")
    cache(
        "--cache-ram", type=float, nargs="?", const=4.0, metavar="GB", help="drop results when less memory is free (4)"
    )
    methods = ("none", "auto", "latent2rgb", "taesd")
    add("--preview-method", choices=methods, default="none", help="how samplers make previews (default: none)")
    add("--preview-size", type=int, default=512, metavar="PIXELS", help="longest side of such previews (default: 512)")
    add("--disable-metadata", action="store_true", help="write no workflow into the files that are saved")


def _add_packs(group: Group) -> None:
    add = group.add_argument
    add(
        *("--custom-nodes",), nargs="+", action="append", type=Path, default=[], metavar="PATH",
        help="node packs: folders or .py files",
    )  # fmt: skip
    add("--disable-all-custom-nodes", action="store_true", help="load no node pack")
    add("--whitelist-custom-nodes", nargs="+", default=[], metavar="NAME", help="packs to load even so")
    add("--pack-import-timeout", type=float, default=60.0, metavar="S", help="when a pack's import is given up (60)")


def _add_process(group: Group) -> None:
    add = group.add_argument
    add("--version", action="version", version=f"comfy_core, speaking ComfyUI {VERSION}")
    add("--verbose", nargs="?", const="DEBUG", default="INFO", type=str.upper, choices=LEVELS, help="what is logged")
    add("--log-stdout", action="store_true", help="log to standard output instead of standard error")
    add("--quick-test-for-ci", action="store_true", help="put everything together, then end")
    add("--die-with-parent", action="store_true", help="end when the process that started this one does")


Vram = Literal["gpu-only", "highvram", "normalvram", "lowvram", "novram"]
VRAM: tuple[Vram, ...] = ("gpu-only", "highvram", "normalvram", "lowvram", "novram")


def vram(flags: Flags) -> Vram:
    """The one memory mode that was asked for."""
    return next((mode for mode in VRAM if getattr(flags, mode.replace("-", "_"))), "normalvram")
