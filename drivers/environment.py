"""Which names a secret may have that an executor is given as an environment variable.

Both ends of the machine wire ask here: the orchestrator before it keeps one, the agent before it hands one on. It knows
no value.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST_NAME: Final = 100
NAME: Final = rf"^[A-Z_][A-Z0-9_]{{0,{LONGEST_NAME - 1}}}$"
_NAME: Final = re.compile(NAME[:-1] + r"\Z")
_KEPT: Final = frozenset(
    {
        "PATH", "HOME", "SHELL", "ENV", "IFS", "USER", "TMPDIR", "GCONV_PATH", "NODE_OPTIONS", "PERL5LIB", "RUBYOPT",
        "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    }
)  # fmt: skip
_KEPT_BEGINNINGS: Final = ("LD_", "DYLD_", "PYTHON", "BASH_", "FLEET_", "COMFYFLEET_")


def why_not(name: str) -> str | None:
    """Why no secret may have this name; None: it may."""
    if not _NAME.match(name):
        return f"is 1 to {LONGEST_NAME} capital letters, digits and `_`, and begins with no digit"
    if name in _KEPT or name.startswith(_KEPT_BEGINNINGS):
        return "says how programs are found and started: it is not given away"
    return None
