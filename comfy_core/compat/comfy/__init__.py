"""What packs know as `comfy`. Sub-modules come when they are named: packs say `import comfy` and then `comfy.utils`."""

from comfy_core.offered.finder import lazily

__getattr__ = lazily(__name__)
