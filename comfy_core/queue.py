"""The prompts that wait, the one that runs, and the history of those that are done. It executes nothing.

Safe to use from the server's loop and the worker's thread.
"""

from __future__ import annotations

import heapq
import json
import queue
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from comfy_core.errors import QueueFull

HISTORY_AT_MOST = 10_000
HISTORY_BYTES = 64 << 20
LONG = 4096
"""Bytes of a history entry that are worth packing."""
WAITING_AT_MOST = 10_000
WAITING_BYTES = 1 << 30
ENCODER = msgspec.json.Encoder(enc_hook=str)
SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")


class Stop:
    """Whether somebody asked that a prompt be stopped: an event that nobody waits for."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked = False

    def is_set(self) -> bool:
        """Whether it was asked."""
        return self._asked

    def set(self) -> None:
        """Ask."""
        self._asked = True

    def clear(self) -> None:
        """Take it back."""
        self._asked = False


@dataclass(order=True, slots=True)
class Item:
    """One queued prompt; the lowest number runs first."""

    number: float
    ticket: int
    prompt_id: str = field(compare=False)
    prompt: dict[str, Any] = field(compare=False)
    extra_data: dict[str, Any] = field(compare=False)
    outputs: list[str] = field(compare=False)
    size: int = field(compare=False, default=0)
    light: bool = field(compare=False, default=False)
    stop: Stop = field(compare=False, default_factory=Stop)

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
        self._lock = threading.Lock()
        self._came: queue.SimpleQueue[None] = queue.SimpleQueue()  # as often as there was a prompt
        self._waiting: list[Item] = []
        self._bytes = 0
        self._running: Item | None = None
        self._tickets = 0
        self._numbers = 0

    @property
    def remaining(self) -> int:
        """How many prompts wait or run."""
        with self._lock:
            return len(self._waiting) + (self._running is not None)

    @property
    def running(self) -> Item | None:
        """The prompt the worker has."""
        return self._running

    @property
    def numbers(self) -> int:
        """The number the next prompt gets; packs set it too."""
        return self._numbers

    @numbers.setter
    def numbers(self, value: int) -> None:
        self._numbers = value

    def next_number(self) -> int:
        """Numbers count up per server."""
        with self._lock:
            self._numbers += 1
            return self._numbers - 1

    def put(
        self,
        number: float,
        prompt_id: str,
        prompt: dict[str, Any],
        extra_data: dict[str, Any],
        outputs: list[str],
        size: int = 0,
        light: bool = False,
    ) -> None:
        """Queue a validated prompt, to be announced. size: about how many bytes it takes. light: next to no time.

        Raises QueueFull when enough wait already.
        """
        with self._lock:
            if len(self._waiting) >= WAITING_AT_MOST or self._bytes + size > WAITING_BYTES:
                raise QueueFull(f"{len(self._waiting)} prompts wait already; try again later")
            self._tickets += 1
            self._bytes += size
            item = Item(number, self._tickets, prompt_id, prompt, extra_data, outputs, size, light)
            heapq.heappush(self._waiting, item)
        self._changed()

    def announce(self) -> None:
        """Wake the worker for a prompt that was put. Who has something else to say first, says it first."""
        self._came.put(None)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until a prompt is announced, or the time is up."""
        with suppress(queue.Empty):
            self._came.get(timeout=timeout)

    def take(self, light: bool | None = None) -> Item | None:
        """Make the next prompt the running one. None: there is none, or it is not of the kind that is wanted."""
        with self._lock:
            if not self._waiting or light not in (None, self._waiting[0].light):
                return None
            self._running = item = heapq.heappop(self._waiting)
            self._bytes -= item.size
        self._changed()
        return item

    def following(self) -> Item | None:
        """The prompt that comes next, as far as is known now."""
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def done(self) -> None:
        """The running prompt has ended."""
        with self._lock:
            self._running = None
        self._changed()

    def interrupt(self, prompt_id: str | None = None) -> None:
        """Ask the running prompt to stop; with an id, only when it is that one."""
        with self._lock:
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
        with self._lock:
            self._waiting = [item for item in self._waiting if wanted(item)]
            heapq.heapify(self._waiting)
            self._bytes = sum(item.size for item in self._waiting)
        self._changed()

    def shown(self) -> dict[str, list[Any]]:
        """The body of GET /queue."""
        with self._lock:
            running = [self._running.shown()] if self._running else []
            return {"queue_running": running, "queue_pending": [item.shown() for item in self._waiting]}


class History:
    """What became of the last prompts, oldest first, as JSON text: a tenth of the memory that the objects would take.

    Long texts, which say the same of each node, are packed to another tenth. The oldest go when there are too many, or
    too many bytes of them.
    """

    def __init__(self, at_most: int = HISTORY_AT_MOST, bytes_at_most: int = HISTORY_BYTES) -> None:
        self._at_most = at_most
        self._bytes_at_most = bytes_at_most
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def put(self, prompt_id: str, prompt: str, rest: dict[str, Any]) -> None:
        """Store an entry: its `prompt` as JSON, and what else it holds. The newest always stays, however large."""
        more = dumps(rest)[1:-1]
        text = _packed(f'{{"prompt": {prompt}{", " if more else ""}{more}}}'.encode())
        with self._lock:
            self._remove(prompt_id)
            self._entries[prompt_id] = text
            self._size += len(text)
            while len(self._entries) > self._at_most or (self._size > self._bytes_at_most and len(self._entries) > 1):
                self._remove(next(iter(self._entries)))

    def get(self, prompt_id: str) -> dict[str, Any]:
        """{id: entry}, empty when unknown."""
        with self._lock:
            entry = self._entries.get(prompt_id)
        return {} if entry is None else {prompt_id: json.loads(_unpacked(entry))}

    def window(self, max_items: int | None, offset: int = -1) -> dict[str, Any]:
        """Up to max_items entries from offset; the last ones when offset is negative."""
        return {prompt_id: json.loads(_unpacked(entry)) for prompt_id, entry in self._window(max_items, offset)}

    def window_text(self, max_items: int | None, offset: int = -1) -> bytes:
        """The same as one JSON text, which costs no parsing."""
        chosen = self._window(max_items, offset)
        texts = (json.dumps(prompt_id).encode() + b": " + _unpacked(entry) for prompt_id, entry in chosen)
        return b"{%s}" % b", ".join(texts)

    def delete(self, prompt_ids: Iterable[Any]) -> None:
        """Forget these."""
        with self._lock:
            for prompt_id in prompt_ids:
                if isinstance(prompt_id, str):
                    self._remove(prompt_id)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _remove(self, prompt_id: str) -> None:
        gone = self._entries.pop(prompt_id, None)
        self._size -= len(gone or b"")

    def _window(self, max_items: int | None, offset: int) -> list[tuple[str, bytes]]:
        with self._lock:
            entries = list(self._entries.items())
        if max_items is None:
            return entries[max(offset, 0) :]
        start = max(len(entries) - max_items, 0) if offset < 0 else offset
        return entries[start : start + max_items]


def _packed(text: bytes) -> bytes:
    """A long text packed; a text begins with a brace, which nothing packed does."""
    return zlib.compress(text, 1) if len(text) > LONG else text


def _unpacked(entry: bytes) -> bytes:
    return entry if entry.startswith(b"{") else zlib.decompress(entry)


def dumps(data: Any) -> str:
    """JSON of something that node classes had a hand in: what JSON does not have is written as Python shows it."""
    try:
        return ENCODER.encode(data).decode()
    except Exception:  # noqa: BLE001 - what nodes show may raise anything as it is made text
        return json.dumps(data, default=str, skipkeys=True)
