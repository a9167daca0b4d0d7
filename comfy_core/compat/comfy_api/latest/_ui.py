"""Another home of `ui`."""

from comfy_core.v3.ui import *  # noqa: F403 - the same names under another
