"""`python -m comfy_core`: reads the command line and makes the process ready; `start` builds the executor and serves.

Nothing here imports torch: `--help` and `--version` answer without it, and prestart scripts of node packs run before
it is imported, since some of them set what torch reads at its import.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import structlog

from comfy_core import first_torch
from comfy_core import log as logging_setup
from comfy_core.config import read_settings, show_gpus
from comfy_core.errors import ExecutorError
from comfy_core.packs.prestart import prepare
from comfy_core.surface import Surface, attach

PR_SET_PDEATHSIG = 1
log = structlog.get_logger()


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Linux only."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)


def main() -> None:
    """Read the command line, run prestart scripts, serve."""
    logging_setup.set_up()
    try:
        settings = read_settings(sys.argv[1:])
    except ExecutorError as error:
        log.error("cannot start", reason=str(error))
        raise SystemExit(2) from error
    if settings.die_with_parent:
        die_with_parent()
    logging_setup.set_up(settings.log_level, settings.log_stdout)
    logging_setup.take_prints()
    show_gpus(settings)
    if settings.ignored:
        log.warning("flags without a meaning here are ignored", flags=settings.ignored)
    settings.folders.prepare()
    surface = Surface(settings)
    attach(surface)
    prepare(surface)
    first_torch.begin()
    from comfy_core.start import run  # noqa: PLC0415 - torch comes with it, and prestart scripts had to run first

    run(surface)


if __name__ == "__main__":
    main()
