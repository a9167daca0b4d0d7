"""Real-time runs of this process: what their clients sent last, and what came back. The newest only, both ways.

One input at a time is with the machine; what comes meanwhile waits, and a newer picture takes an older one's place.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from msgspec import Struct

from drivers.wire import AttemptId, LiveEnd, LiveImage, LiveInput, LiveOutput, RunId, ServerFrame, WorkflowJson
from orchestrator.runs.realtime import Picture

LOOK_S: Final = 1.0
LOST_S: Final = 30.0
"""An input that was not answered for so long is taken for lost."""


class Result(Struct, frozen=True):
    """What came back. total_ms counts from when the client's input was sent on; machine_ms is the machine's work."""

    pictures: list[Picture]
    total_ms: float
    machine_ms: float
    dropped: int


class Session:
    """One client's loop."""

    def __init__(self) -> None:
        self._pictures: dict[str, Picture] = {}
        self._workflow: WorkflowJson | None = None
        self._sent: tuple[dict[str, Picture], WorkflowJson | None] = ({}, None)
        self._waiting = 0
        self._number = 0
        self._sent_at: float | None = None
        self._result: Result | None = None
        self._dropped = 0
        self._input_bell = asyncio.Event()
        self._result_bell = asyncio.Event()

    def offer(self, picture: Picture | None = None, workflow: WorkflowJson | None = None) -> None:
        """The client sent a picture, or asks for another round, perhaps with other values."""
        if picture is not None:
            self._pictures[picture.id] = picture
        self._workflow = workflow or self._workflow
        self._dropped += self._waiting > 0
        self._waiting += 1
        self._input_bell.set()

    async def next_input(self, attempt: Callable[[], AttemptId | None]) -> LiveInput:
        """The next input to send on, once there is one and the machine is free for it."""
        while (attempt_id := attempt()) is None or not self._waiting or self._sent_at is not None:
            self._input_bell.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._input_bell.wait()
            self._give_up_lost()
        self._number += 1
        self._waiting = 0
        self._sent_at = time.monotonic()
        images = [
            LiveImage(one.id, one.content_type, base64.b64encode(one.image).decode()) for one in self._pictures.values()
        ]
        frame = LiveInput(attempt_id, self._number, images, self._workflow)
        self._sent = (self._pictures, self._workflow)
        self._pictures, self._workflow = {}, None
        return frame

    def wake(self) -> None:
        """The machine may be there now."""
        self._input_bell.set()

    def _give_up_lost(self) -> None:
        """An input that was lost on the way is sent again, under what came since."""
        if self._sent_at is None or time.monotonic() < self._sent_at + LOST_S:
            return
        pictures, workflow = self._sent
        self._pictures, self._workflow = pictures | self._pictures, self._workflow or workflow
        self._waiting, self._sent_at = max(1, self._waiting), None

    def answered(self, frame: LiveOutput) -> None:
        """The machine answered; an answer that the client has not had yet is dropped for it."""
        if frame.number != self._number or self._sent_at is None:
            return
        total = (time.monotonic() - self._sent_at) * 1000
        pictures = [Picture(one.id, one.content_type, base64.b64decode(one.data)) for one in frame.images]
        dropped = self._dropped + (0 if self._result is None else 1)
        self._result = Result(pictures, round(total, 1), frame.ms, dropped)
        self._sent_at, self._dropped = None, 0
        self._input_bell.set()
        self._result_bell.set()

    async def next_result(self) -> Result:
        """What came back last."""
        while self._result is None:
            self._result_bell.clear()
            await self._result_bell.wait()
        found, self._result = self._result, None
        return found


class Realtime:
    """The sessions that are open here, by run."""

    def __init__(self) -> None:
        self._sessions: dict[RunId, Session] = {}

    @contextmanager
    def open(self, run_id: RunId) -> Iterator[Session]:
        """A loop for a run that is about to be started."""
        session = self._sessions[run_id] = Session()
        try:
            yield session
        finally:
            del self._sessions[run_id]

    def is_open(self, run_id: RunId) -> bool:
        """Whether the run's client is connected here."""
        return run_id in self._sessions

    def answered(self, run_id: RunId | None, frame: LiveOutput) -> None:
        """A machine's answer, for whoever waits."""
        session = self._sessions.get(run_id) if run_id is not None else None
        if session is not None:
            session.answered(frame)


def end_of(attempt_id: AttemptId) -> ServerFrame:
    """What tells a machine that the client is gone."""
    return LiveEnd(attempt_id)


def checked_values(values: Any) -> dict[str, Any]:
    """A client's input values: no files, which come as pictures. Raises ValueError."""
    if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
        raise ValueError("inputs are texts, numbers and booleans by their ids")
    return values
