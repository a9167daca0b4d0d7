"""Live events of runs to whoever watches: subscribers per run and per organisation, in this process's memory.

State changes are never dropped: a subscriber too slow for them is closed and catches up from the database. Progress is
dropped freely, oldest first. It knows neither HTTP nor the database.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct

from orchestrator.wire import LogPart, ProgressEvent, RunEvent


class PreviewEvent(Struct, frozen=True):
    """A picture of what a node is making: JPEG or PNG. Never stored."""

    run_id: str
    node_id: str
    content_type: str
    image: bytes


class NodeEvent(Struct, frozen=True):
    """A node has ended. made: kind, a stored file's name or None, and a value that is no file."""

    run_id: str
    node_id: str
    made: list[tuple[str, str | None, Any]]


LiveEvent = RunEvent | ProgressEvent | LogPart | PreviewEvent | NodeEvent
MOST_CHANGES: Final = 1000
MOST_LOGS: Final = 200
MOST_NODES: Final = 500


class TooSlow(Exception):
    """The subscriber did not keep up with state changes; it must start again from the database."""


class Subscription:
    """One watcher's queue: all state changes in order, the newest logs and ends of nodes, and of progress and previews
    only the newest of each run.
    """

    def __init__(self, *, logs: bool = False, previews: bool = False, nodes: bool = False) -> None:
        self.wants_logs = logs
        self.wants_previews = previews
        self.wants_nodes = nodes
        self._changes: deque[RunEvent] = deque()
        self._logs: deque[LogPart] = deque(maxlen=MOST_LOGS)
        self._nodes: deque[NodeEvent] = deque(maxlen=MOST_NODES)
        self._progress: dict[str, ProgressEvent] = {}
        self._previews: dict[str, PreviewEvent] = {}
        self._bell = asyncio.Event()
        self._lost = False

    def put(self, event: LiveEvent) -> None:
        """Queue an event; never blocks."""
        if isinstance(event, ProgressEvent):
            self._progress[event.run_id] = event
        elif isinstance(event, LogPart):
            self._logs.append(event)
        elif isinstance(event, PreviewEvent):
            self._previews[event.run_id] = event
        elif isinstance(event, NodeEvent):
            self._nodes.append(event)
        elif len(self._changes) >= MOST_CHANGES:
            self._lost = True
        else:
            self._changes.append(event)
        self._bell.set()

    async def next(self, timeout: float) -> LiveEvent | None:
        """The next event, or None after timeout seconds without one. Raises TooSlow."""
        if not self._waiting() and not self._lost:
            try:
                async with asyncio.timeout(timeout):
                    await self._bell.wait()
            except TimeoutError:
                return None
        self._bell.clear()
        if self._lost:
            raise TooSlow
        if self._logs:  # first, so that the lines of a run come before its end
            return self._pop(self._logs.popleft())
        if self._nodes:  # and so does what its nodes made
            return self._pop(self._nodes.popleft())
        if self._changes:
            return self._pop(self._changes.popleft())
        if self._progress:
            return self._pop(self._progress.pop(next(iter(self._progress))))
        return self._pop(self._previews.pop(next(iter(self._previews))))

    def _waiting(self) -> bool:
        return bool(self._changes or self._progress or self._logs or self._nodes or self._previews)

    def _pop(self, event: LiveEvent) -> LiveEvent:
        if self._waiting():
            self._bell.set()
        return event

    async def __aiter__(self) -> AsyncIterator[LiveEvent]:
        """Every event, for ever. Raises TooSlow."""
        while True:
            event = await self.next(3600.0)
            if event is not None:
                yield event


class Hub:
    """Subscribers by run and by organisation, and the newest progress of runs under way."""

    def __init__(self) -> None:
        self._by_run: dict[str, set[Subscription]] = {}
        self._by_organisation: dict[str, set[Subscription]] = {}
        self._newest: dict[str, ProgressEvent] = {}
        self._watchers: Counter[str] = Counter()
        self._seen: dict[str, PreviewEvent] = {}

    @contextmanager
    def subscribe(
        self,
        organisation_id: str,
        run_id: str | None = None,
        *,
        logs: bool = False,
        previews: bool = False,
        nodes: bool = False,
    ) -> Iterator[Subscription]:
        """Watch one run, or everything of the organisation. The caller has checked that the run is its own.

        logs: its lines too; only a run's watcher gets them. previews: pictures of what is being made, too.
        nodes: what nodes made, as each ends.
        """
        subscription = Subscription(logs=logs, previews=previews, nodes=nodes)
        table, key = (self._by_organisation, organisation_id) if run_id is None else (self._by_run, run_id)
        table.setdefault(key, set()).add(subscription)
        self._watchers[organisation_id] += 1
        try:
            yield subscription
        finally:
            self._watchers[organisation_id] -= 1
            if not self._watchers[organisation_id]:
                del self._watchers[organisation_id]
            table[key].discard(subscription)
            if not table[key]:
                del table[key]

    def watchers(self, organisation_id: str) -> int:
        """How many watch something of the organisation here."""
        return self._watchers[organisation_id]

    def publish(self, organisation_id: str, event: LiveEvent) -> None:
        """Give an event to the run's watchers and the organisation's."""
        run_id = event.run_id
        if isinstance(event, LogPart):
            for subscription in self._by_run.get(run_id, ()):
                if subscription.wants_logs:
                    subscription.put(event)
            return
        if isinstance(event, ProgressEvent):
            self._newest[run_id] = event
        elif isinstance(event, PreviewEvent):
            self._seen[run_id] = event
        for subscription in (*self._by_run.get(run_id, ()), *self._by_organisation.get(organisation_id, ())):
            unwanted = isinstance(event, PreviewEvent) and not subscription.wants_previews
            if not unwanted and (subscription.wants_nodes or not isinstance(event, NodeEvent)):
                subscription.put(event)

    def progress(self, run_id: str) -> ProgressEvent | None:
        """The newest progress of a run under way here."""
        return self._newest.get(run_id)

    def newest(self) -> list[ProgressEvent]:
        """The newest progress of every run under way here."""
        return list(self._newest.values())

    def preview(self, run_id: str) -> PreviewEvent | None:
        """The newest preview of a run under way here."""
        return self._seen.get(run_id)

    def forget(self, run_id: str) -> None:
        """The run's attempt has ended: its progress means nothing any more."""
        self._newest.pop(run_id, None)
        self._seen.pop(run_id, None)

    def watched(self) -> list[str]:
        """Runs that somebody watches one by one."""
        return list(self._by_run)
