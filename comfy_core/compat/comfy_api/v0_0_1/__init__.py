"""Version 0.0.1 of the V3 API: the same as the newest."""

from __future__ import annotations

from typing import ClassVar

from comfy_api.latest import ComfyExtension, Input, InputImpl, Types, io, ui
from comfy_core.v3 import api


class ComfyAPI(api.ComfyAPI):
    """`await ComfyAPI().execution.set_progress(...)`."""

    VERSION: ClassVar[str] = "0.0.1"


class ComfyAPISync(api.ComfyAPISync):
    """`ComfyAPISync().execution.set_progress(...)`."""

    VERSION: ClassVar[str] = "0.0.1"


ComfyAPIAdapter_v0_0_1 = ComfyAPI

__all__ = ("ComfyAPI", "ComfyAPISync", "ComfyExtension", "Input", "InputImpl", "Types", "io", "ui")
