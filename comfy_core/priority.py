"""Undoes what a library does to the priority of threads. It knows no library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

THREADS = Path("/proc/self/task")


def _threads() -> set[int]:
    with suppress(OSError):
        return {int(path.name) for path in THREADS.iterdir()}
    return set()


@contextmanager
def unchanged() -> Iterator[None]:
    """After the block this thread, and those started within, are scheduled as this thread was before. Linux only.

    SVT-AV1, when root runs it, makes itself and whoever opens it real-time threads: all else waits for those, and every
    process that is started later is one as well.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before, policy, priority = _threads(), os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in {0} | _threads() - before:
            with suppress(OSError):  # it has ended, or is not ours to change
                os.sched_setscheduler(thread, policy, priority)
