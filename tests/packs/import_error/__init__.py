"""A pack that needs what is not installed."""

from .first import NODE_CLASS_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS"]
