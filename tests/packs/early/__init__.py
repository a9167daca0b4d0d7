"""A pack with a prestart script; its node tells what that script saw."""

import os

from .sub.node import PackEarly

SEEN = os.environ.get("EARLY_PACK")
PackEarly.SEEN = SEEN
NODE_CLASS_MAPPINGS = {"PackEarly": PackEarly}
