"""Runs before torch is imported."""

import os
import sys

os.environ["EARLY_PACK"] = f"torch was {'there' if 'torch' in sys.modules else 'not there'}"
