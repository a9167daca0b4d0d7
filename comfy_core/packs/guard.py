"""Runs a pack's code so that it can fail or hang without taking the executor down. It knows no packs.

The code runs in a thread of its own. When its time is up it is told to stop, by an exception that Python raises in it
at its next step; a thread that waits inside a call for ever is left behind. Code that only the main thread may run (it
sets signal handlers, or starts tasks on the running loop) can be run there instead, with an alarm for a limit.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

STEPS_SHOWN = 4
ONLY_THERE = ("only works in main thread", "no running event loop")
T = TypeVar("T")


class GivenUp(BaseException):
    """Raised in a thread whose time is up; no `except Exception` of a pack's takes it for one of its own."""


class NothingThere(Exception):
    """A module was imported and holds neither kind of nodes."""


class Failed(Exception):
    """The code raised; the text is the error and the last lines of its traceback."""

    @property
    def wants_main_thread(self) -> bool:
        """Whether it failed for running beside the main thread."""
        return any(words in str(self) for words in ONLY_THERE)


def in_thread(work: Callable[[], T], name: str) -> tuple[threading.Thread, Future[T]]:
    """Begin the work. The future has its result, or Failed, or NothingThere or KeyboardInterrupt as raised."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except (KeyboardInterrupt, NothingThere) as error:
            done.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - the edge to a pack's code, which may raise SystemExit too
            done.set_exception(Failed(told(error)))

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread, done


def within(seconds: float, work: Callable[[], T], name: str) -> T:
    """The work's result. Raises Failed for what it raises, TimeoutError when it takes longer."""
    thread, done = in_thread(work, name)
    try:
        return done.result(seconds)
    except TimeoutError:
        stop(thread)
        raise


async def soon(seconds: float, work: Callable[[], T], name: str) -> T:
    """The same, for callers on a loop."""
    thread, done = in_thread(work, name)
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(done)
    except TimeoutError:
        stop(thread)
        raise


def on_main_thread(seconds: float, work: Callable[[], T]) -> T:
    """The work's result, like `within`, while everything else on this thread waits."""

    def ring(*_: object) -> None:
        raise GivenUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return work()
    except GivenUp as error:
        raise TimeoutError from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Failed(told(error)) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def stop(thread: threading.Thread) -> None:
    """Have Python raise GivenUp in the thread at its next step."""
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(GivenUp))


def told(error: BaseException) -> str:
    """The error in a line, then the last steps to it in the pack; steps of our own and of Python are left out."""
    said = "".join(traceback.format_exception_only(error)).strip().splitlines()
    steps = [step for step in traceback.extract_tb(error.__traceback__) if not _ours(step.filename)]
    shown = "".join(traceback.format_list(steps[-STEPS_SHOWN:])).splitlines()
    return "\n".join([said[-1], *said[:-1], *shown])


def _ours(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or Path(filename).parent == Path(__file__).parent
