"""`ComfyAPI`: what a running node may ask of the executor. It goes through `progress` and checks no interrupt.

One object serves the process, since it holds nothing; each version of the API names its own class of it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from PIL import Image

from comfy_core.errors import InputRefused
from comfy_core.nodes.pixels import to_pictures
from comfy_core.progress import scope
from comfy_core.surface import NotAttached, attached

PREVIEW_SIDE = 512
"""Pixels of a preview's longest side, where the command line names no other."""


def set_progress(
    value: float,
    max_value: float,
    node_id: str | None = None,
    preview_image: Any = None,
    ignore_size_limit: bool = False,
) -> None:
    """Say that `value` of `max_value` is done, of the running node or of another. Outside a run nobody hears it.

    preview_image: an IMAGE or one frame of it, a PIL image, or ("JPEG" or "PNG", PIL image, longest side or None).
    """
    current = scope.get()
    if current is None:
        return
    preview = None if preview_image is None else _preview(preview_image, None if ignore_size_limit else _longest_side())
    current.report(node_id or current.node_id, value, max_value, preview)


def _longest_side() -> int:
    try:
        return attached().settings.preview_size
    except NotAttached:
        return PREVIEW_SIDE


def _preview(image: Any, side: int | None) -> tuple[str, Image.Image, int | None]:
    if isinstance(image, tuple):
        return image
    if isinstance(image, Image.Image):
        return "PNG", image, side
    if isinstance(image, torch.Tensor) and image.ndim in (3, 4):
        return "PNG", next(to_pictures(image if image.ndim == 4 else image.unsqueeze(0))), side
    raise InputRefused(f"a preview is an image, not {type(image).__name__}")


class ExecutionAwaited:
    """Progress, to be awaited."""

    async def set_progress(
        self,
        value: float,
        max_value: float,
        node_id: str | None = None,
        preview_image: Any = None,
        ignore_size_limit: bool = False,
    ) -> None:
        """Say that `value` of `max_value` is done."""
        set_progress(value, max_value, node_id, preview_image, ignore_size_limit)


class ExecutionBlocking:
    """Progress, for nodes that are not coroutines."""

    def set_progress(
        self,
        value: float,
        max_value: float,
        node_id: str | None = None,
        preview_image: Any = None,
        ignore_size_limit: bool = False,
    ) -> None:
        """Say that `value` of `max_value` is done."""
        set_progress(value, max_value, node_id, preview_image, ignore_size_limit)


class ComfyAPI:
    """`await ComfyAPI().execution.set_progress(...)`."""

    VERSION: ClassVar[str] = "latest"
    STABLE: ClassVar[bool] = False
    Execution = ExecutionAwaited
    execution: ClassVar[ExecutionAwaited] = ExecutionAwaited()


class ComfyAPISync:
    """`ComfyAPISync().execution.set_progress(...)`."""

    VERSION: ClassVar[str] = "latest"
    STABLE: ClassVar[bool] = False
    Execution = ExecutionBlocking
    execution: ClassVar[ExecutionBlocking] = ExecutionBlocking()
