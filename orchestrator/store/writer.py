"""The coalescing writer: many small writes become few statements, each acknowledged only after its commit.

Lanes without a timer: a lane that is free takes everything that waits for it (at most `most`), writes it with one
statement, and answers every caller. When nothing else waits, a write costs one commit and no more. Items with the same
key always use the same lane, one after the other, so their order is kept. Knows no table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from orchestrator.store.db import DatabaseUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Writer(Generic[Item, Answer]):
    """Coalesces calls of put() into calls of write(items) -> answers, in the same order.

    When a write of several items is refused, each is written alone, so that one bad item fails only its own caller.
    """

    def __init__(
        self, write: Callable[[list[Item]], Awaitable[list[Answer]]], *, lanes: int = 2, most: int = 500
    ) -> None:
        self._write = write
        self._most = most
        self._waiting: list[list[tuple[Item, asyncio.Future[Answer]]]] = [[] for _ in range(lanes)]
        self._bells = [asyncio.Event() for _ in range(lanes)]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to write. Call within the running loop."""
        self._tasks = [asyncio.create_task(self._lane(number)) for number in range(len(self._bells))]

    async def stop(self) -> None:
        """End the lanes; whoever still waits gets CancelledError."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._waiting:
            for _, future in lane:
                future.cancel()

    def enqueue(self, item: Item, key: Hashable = None) -> asyncio.Future[Answer]:
        """Put the item in line; the future holds its answer after the commit, or what the write raised."""
        number = self._shortest() if key is None else hash(key) % len(self._bells)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number].append((item, future))
        self._bells[number].set()
        return future

    async def put(self, item: Item, key: Hashable = None) -> Answer:
        """Write the item; returns its answer after the commit. Raises what the write raised."""
        return await self.enqueue(item, key)

    def _shortest(self) -> int:
        return min(range(len(self._waiting)), key=lambda number: len(self._waiting[number]))

    async def _lane(self, number: int) -> None:
        bell = self._bells[number]
        while True:
            await bell.wait()
            batch = self._waiting[number][: self._most]
            self._waiting[number] = self._waiting[number][self._most :]
            if not self._waiting[number]:
                bell.clear()
            if batch:
                await self._flush(batch)

    async def _flush(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._write([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001  the error belongs to the callers, the lane lives on
            await self._refused(batch, error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _refused(self, batch: list[tuple[Item, asyncio.Future[Answer]]], error: Exception) -> None:
        if len(batch) > 1 and not isinstance(error, DatabaseUnavailable):
            for entry in batch:
                await self._flush([entry])
            return
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
