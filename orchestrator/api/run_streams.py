"""A run's live events as server-sent events: the frames, and the answer that carries them. It knows no run's rules."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec
from litestar.response import Stream

from orchestrator import wire
from orchestrator.live.hub import LiveEvent

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def frames(
    events: AsyncGenerator[LiveEvent | None],
    *,
    accepted: wire.RunAccepted | None = None,
    shown: Callable[[], Awaitable[wire.Run | None]] | None = None,
) -> AsyncGenerator[bytes]:
    """`status` (its id is the revision), `progress`, `log`; first `accepted` and last `run`, where they are given."""
    yield b"retry: 1000\n\n"
    if accepted is not None:
        yield _frame(b"accepted", accepted)
    async for event in events:
        if event is None:
            yield b": still here\n\n"
        elif isinstance(event, wire.RunEvent):
            yield b"id: %d\n%s" % (event.revision, _frame(b"status", event))
        elif isinstance(event, wire.ProgressEvent):
            yield _frame(b"progress", event)
        elif isinstance(event, wire.LogPart):
            yield _frame(b"log", event)
    run = None if shown is None else await shown()
    if run is not None:
        yield _frame(b"run", run)


def _frame(name: bytes, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name, msgspec.json.encode(data))


def streamed(body: AsyncGenerator[bytes], headers: dict[str, str] | None = None) -> Stream:
    """The answer; it is never kept by anybody on the way."""
    return Stream(body, status_code=200, media_type="text/event-stream", headers={**HEADERS, **(headers or {})})
