"""Weights files to networks: reads safetensors and .pth, tells the architecture by the names of its tensors.

RRDBNet and SRVGGNetCompact are ours; for any other architecture spandrel is asked, where it is installed.
Pickles are read with weights_only, so that a file cannot run code.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from comfy_core.errors import ModelRefused
from comfy_core.models import rrdbnet, srvgg

StateDict = dict[str, torch.Tensor]
UNREADABLE = (
    *(SafetensorError, pickle.UnpicklingError, OSError, EOFError),
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError),  # what a damaged pickle makes torch raise
)
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict")


class UpscaleModel:
    """An enlarging network in evaluation mode. scale: output pixels per input pixel, along each side.

    One that was read from a file may be shed when memory is short; it is read again when it is next used.
    """

    def __init__(
        self, model: Any, scale: int, architecture: str, reread: Callable[[], UpscaleModel] | None = None
    ) -> None:
        self.scale = scale
        self.architecture = architecture
        self._model = model
        self._reread = reread

    @property
    def model(self) -> Any:
        """The network itself."""
        if self._model is None and self._reread is not None:
            self._model = self._reread().model
        return self._model

    def tensors(self) -> Iterable[torch.Tensor]:
        """Parameters and buffers; none of a model that was shed or is no torch module."""
        if isinstance(self._model, torch.nn.Module):
            yield from self._model.parameters()
            yield from self._model.buffers()

    def to(self, device: torch.device) -> UpscaleModel:
        """Move the network to a device."""
        self.model.to(device)
        return self

    def shed(self) -> bool:
        """Let go of the network; False when it could not be read again."""
        if self._reread is not None:
            self._model = None
        return self._reread is not None

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] to [B, 3, H * scale, W * scale]."""
        result: torch.Tensor = self.model(image)
        return result


def read_weights(path: Path) -> StateDict:
    """The tensors of a file, by name. Raises ModelRefused when it is damaged or holds anything but tensors."""
    try:
        if path.suffix.lower() in (".safetensors", ".sft"):
            return safetensors.torch.load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ModelRefused(f"{path.name} is not a readable weights file: {str(error)[:300]}") from error
    return _unwrapped(loaded, path.name)


def _unwrapped(loaded: Any, name: str) -> StateDict:
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict):
        raise ModelRefused(f"{name} holds no tensors by name")
    state = {str(key).removeprefix("module."): value for key, value in loaded.items()}
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ModelRefused(f"{name} holds no tensors by name")
    return tensors


def load_upscaler(path: Path) -> UpscaleModel:
    """Read an enlarging network. Raises ModelRefused when the file or its architecture is not usable."""
    state = {key: tensor.float() for key, tensor in read_weights(path).items()}
    again = partial(load_upscaler, path)
    try:
        if srvgg.recognises(state):
            compact = srvgg.from_state(state)
            return UpscaleModel(_ready(compact), compact.scale, "SRVGGNetCompact", again)
        if rrdbnet.recognises(state):
            dense = rrdbnet.from_state(state)
            return UpscaleModel(_ready(dense), dense.scale, "RRDBNet", again)
    except (RuntimeError, KeyError, ValueError, IndexError) as error:
        raise ModelRefused(f"the weights in {path.name} do not fit together: {str(error)[:300]}") from error
    return _by_spandrel(path, state)


def _ready(net: torch.nn.Module) -> torch.nn.Module:
    net.requires_grad_(requires_grad=False)
    return net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _by_spandrel(path: Path, state: StateDict) -> UpscaleModel:
    try:
        spandrel = import_module("spandrel")
    except (ImportError, RuntimeError) as error:
        message = f"the architecture of {path.name} is not built in and the library spandrel cannot be used: {error}"
        raise ModelRefused(message) from error
    try:
        found = spandrel.ModelLoader().load_from_state_dict(state)
    except spandrel.UnsupportedModelError as error:
        raise ModelRefused(f"the architecture of {path.name} is unknown") from error
    if not isinstance(found, spandrel.ImageModelDescriptor):
        raise ModelRefused(f"{path.name} is not a model that turns one image into another")
    return UpscaleModel(
        found.eval().model, int(found.scale), str(found.architecture.name), partial(load_upscaler, path)
    )
