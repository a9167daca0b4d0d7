"""Registers a route, then fails."""

import no_such_module_anywhere

NODE_CLASS_MAPPINGS = {"Never": no_such_module_anywhere.Never}
