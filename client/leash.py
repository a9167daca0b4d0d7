"""Runs a program that is told to end when its parent is gone: `python -m client.leash PROGRAM ARGS...`.

So a `comfyfleet up` that is killed outright takes its fleet with it. It knows nothing else.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Becomes the program in argv. On Linux it gets SIGTERM once the parent has died; elsewhere it just runs."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            raise SystemExit(1)
    os.execvp(argv[0], argv)  # noqa: S606  becoming the program is the point


if __name__ == "__main__":
    main(sys.argv[1:])
