"""Another home of `io`."""

from comfy_core.v3.dynamic import Autogrow, AutogrowDynamic, ComboDynamic, DynamicInput, DynamicOutput
from comfy_core.v3.io import *  # noqa: F403 - the same names under another
