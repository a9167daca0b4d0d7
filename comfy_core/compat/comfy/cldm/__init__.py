"""What packs know as `comfy.cldm`; its modules come when they are named."""

from comfy_core.offered.finder import lazily

__getattr__ = lazily(__name__)
