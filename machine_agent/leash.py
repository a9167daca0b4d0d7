"""Runs a program that dies when its parent does: `python -m machine_agent.leash PROGRAM ARGS...`.

So an agent that is killed outright leaves no executor behind, whatever executor it is. It knows nothing else.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Become the program in argv. On Linux the kernel kills it once the parent is gone; elsewhere it just runs."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent or parent == 1:
            raise SystemExit(1)  # the parent went away before the kernel was asked
    os.execvp(argv[0], argv)  # noqa: S606 - becoming the program is the point


if __name__ == "__main__":
    main(sys.argv[1:])
