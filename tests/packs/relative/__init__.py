"""A pack of several modules that import each other."""

from . import shared
from .inner import NODES as INNER
from .inner.deep import PackDeep

NODE_CLASS_MAPPINGS = {**INNER, "PackDeep": PackDeep}
NODE_DISPLAY_NAME_MAPPINGS = {name: f"{name} of {shared.WHO}" for name in NODE_CLASS_MAPPINGS}
