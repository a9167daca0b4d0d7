"""A pack whose scripts are named in its pyproject.toml."""

NODE_CLASS_MAPPINGS = {}
