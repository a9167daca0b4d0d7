"""`comfy.options`: whether the command line is read. The executor has read its own before any pack is imported."""

args_parsing = True


def enable_args_parsing(enable: bool = True) -> None:
    """Nothing is left to read."""
