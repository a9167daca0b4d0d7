"""A pack that never gets through its import."""

import threading

threading.Event().wait()
NODE_CLASS_MAPPINGS = {}
