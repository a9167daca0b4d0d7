"""The prompts that wait, the one that runs, and the history of those that are done. It executes nothing.

Safe to use from the server's loop and the worker's thread.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

HISTORY_AT_MOST = 10_000
SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")


@dataclass(order=True, slots=True)
class Item:
    """One queued prompt; the lowest number runs first."""

    number: float
    ticket: int
    prompt_id: str = field(compare=False)
    prompt: dict[str, Any] = field(compare=False)
    extra_data: dict[str, Any] = field(compare=False)
    outputs: list[str] = field(compare=False)
    stop: threading.Event = field(compare=False, default_factory=threading.Event)

    @property
    def client_id(self) -> str | None:
        """The client that is told what happens."""
        return self.extra_data.get("client_id")

    def shown(self) -> list[Any]:
        """[number, id, prompt, extra_data, outputs], without secrets."""
        extra = {key: value for key, value in self.extra_data.items() if key not in SECRETS}
        return [self.number, self.prompt_id, self.prompt, extra, self.outputs]


class PromptQueue:
    """Waiting prompts in order, and the one the worker has."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._condition = threading.Condition()
        self._waiting: list[Item] = []
        self._running: Item | None = None
        self._tickets = 0
        self._numbers = 0

    @property
    def remaining(self) -> int:
        """How many prompts wait or run."""
        with self._condition:
            return len(self._waiting) + (self._running is not None)

    @property
    def running(self) -> Item | None:
        """The prompt the worker has."""
        return self._running

    def next_number(self) -> int:
        """Numbers count up per server."""
        with self._condition:
            self._numbers += 1
            return self._numbers - 1

    def put(
        self,
        number: float,
        prompt_id: str,
        prompt: dict[str, Any],
        extra_data: dict[str, Any],
        outputs: list[str],
    ) -> None:
        """Queue a validated prompt."""
        with self._condition:
            self._tickets += 1
            heapq.heappush(self._waiting, Item(number, self._tickets, prompt_id, prompt, extra_data, outputs))
            self._condition.notify()
        self._changed()

    def take(self, timeout: float | None = None) -> Item | None:
        """Wait for the next prompt and make it the running one; None when the time is up."""
        with self._condition:
            if not self._waiting:
                self._condition.wait(timeout)
            if not self._waiting:
                return None
            self._running = heapq.heappop(self._waiting)
        self._changed()
        return self._running

    def done(self) -> None:
        """The running prompt has ended."""
        with self._condition:
            self._running = None
        self._changed()

    def interrupt(self, prompt_id: str | None = None) -> None:
        """Ask the running prompt to stop; with an id, only when it is that one."""
        with self._condition:
            if self._running is not None and prompt_id in (None, self._running.prompt_id):
                self._running.stop.set()

    def delete(self, prompt_ids: Iterable[Any]) -> None:
        """Take waiting prompts out."""
        gone = {prompt_id for prompt_id in prompt_ids if isinstance(prompt_id, str)}
        self._keep(lambda item: item.prompt_id not in gone)

    def clear(self) -> None:
        """Take every waiting prompt out."""
        self._keep(lambda _: False)

    def _keep(self, wanted: Callable[[Item], bool]) -> None:
        with self._condition:
            self._waiting = [item for item in self._waiting if wanted(item)]
            heapq.heapify(self._waiting)
        self._changed()

    def shown(self) -> dict[str, list[Any]]:
        """The body of GET /queue."""
        with self._condition:
            running = [self._running.shown()] if self._running else []
            return {"queue_running": running, "queue_pending": [item.shown() for item in self._waiting]}


class History:
    """What became of the last prompts, oldest first."""

    def __init__(self, at_most: int = HISTORY_AT_MOST) -> None:
        self._at_most = at_most
        self._entries: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, prompt_id: str, entry: dict[str, Any]) -> None:
        """Store an entry; the oldest goes when there are too many."""
        with self._lock:
            self._entries[prompt_id] = entry
            while len(self._entries) > self._at_most:
                self._entries.popitem(last=False)

    def get(self, prompt_id: str) -> dict[str, Any]:
        """{id: entry}, empty when unknown."""
        with self._lock:
            entry = self._entries.get(prompt_id)
        return {} if entry is None else {prompt_id: entry}

    def window(self, max_items: int | None, offset: int = -1) -> dict[str, Any]:
        """Up to max_items entries from offset; the last ones when offset is negative."""
        with self._lock:
            entries = list(self._entries.items())
        if max_items is None:
            return dict(entries[max(offset, 0) :])
        start = max(len(entries) - max_items, 0) if offset < 0 else offset
        return dict(entries[start : start + max_items])

    def delete(self, prompt_ids: Iterable[Any]) -> None:
        """Forget these."""
        with self._lock:
            for prompt_id in prompt_ids:
                if isinstance(prompt_id, str):
                    self._entries.pop(prompt_id, None)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()
