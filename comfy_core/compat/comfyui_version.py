"""Which ComfyUI release's interface is spoken, as packs ask for it."""

from comfy_core.flags import VERSION as __version__

__all__ = ["__version__"]
