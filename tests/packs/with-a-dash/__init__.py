"""A pack whose folder is no Python name."""

from .part import PackDash

NODE_CLASS_MAPPINGS = {"PackDash": PackDash}
NODE_DISPLAY_NAME_MAPPINGS = {"PackDash": "Dash"}
