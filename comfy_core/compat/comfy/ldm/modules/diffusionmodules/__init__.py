"""What packs know as `comfy.ldm.modules.diffusionmodules`; its modules come when they are named."""

from comfy_core.offered.finder import lazily

__getattr__ = lazily(__name__)
