"""What nodes make, uploaded and told as soon as each has ended, for runs whose client sees it live.

Nothing depends on it: what could not be uploaded early is uploaded at the end, with what is said then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from msgspec import Struct, structs

from drivers.wire import Job, NodeDone, Output
from machine_agent.errors import Abandoned, AttemptFailed
from machine_agent.shelf import Shelf
from machine_agent.uploads import Made, Uploader, made_by

_Key = tuple[str, str, str, str]
_log = structlog.get_logger()


class _Stored(Struct, frozen=True):
    """A file that was uploaded, as it was then."""

    path: Path
    stamp: tuple[int, int]
    file_id: str


class Early:
    """One attempt's. `tell` is called with each node's outputs once they are stored."""

    def __init__(self, job: Job, shelf: Shelf, uploader: Uploader, tell: Callable[[NodeDone], None]) -> None:
        self._job = job
        self._shelf = shelf
        self._uploader = uploader
        self._tell = tell
        self._stored: dict[_Key, _Stored] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    def heard(self, name: str, data: dict[str, Any]) -> None:
        """A message of the executor's; `executed` says what a node made."""
        ui = data.get("output")
        if name == "executed" and isinstance(ui, dict):
            task = asyncio.create_task(self._take(str(data.get("node")), ui))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def again(self) -> None:
        """The prompt is run once more: what was uploaded may be written anew under the same names."""
        self._stored.clear()

    async def upload(self, made: list[Made]) -> list[Output]:
        """As the uploader does; what was uploaded already is not sent again."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        known = {place: file_id for place, thing in enumerate(made) if (file_id := self._file_of(thing)) is not None}
        rest = [thing for place, thing in enumerate(made) if place not in known]
        sent = iter(await self._uploader.upload(self._job, rest))
        return [
            Output(thing.node_id, thing.kind, known[place]) if place in known else next(sent)
            for place, thing in enumerate(made)
        ]

    async def close(self) -> None:
        """Begin nothing more and end what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, node_id: str, ui: dict[str, Any]) -> None:
        try:
            async with self._turn:  # a node's files after those of the node before it
                outputs = [await self._one(thing) for thing in made_by({node_id: ui}, self._job)]
        except (AttemptFailed, Abandoned, aiohttp.ClientError, OSError) as error:
            _log.info("not_uploaded_early", attempt=self._job.attempt_id, node=node_id, reason=str(error))
            return
        if outputs:
            self._tell(NodeDone(self._job.run_id, self._job.attempt_id, node_id, outputs))

    async def _one(self, thing: Made) -> Output:
        if thing.item is None:
            return Output(thing.node_id, thing.kind, data=thing.data)
        path = await self._shelf.get(thing.item)
        if path is None:
            raise FileNotFoundError(thing.item["filename"])
        stamp = _stamp(path)
        (output,) = await self._uploader.upload(self._job, [structs.replace(thing, path=path)], early=True)
        if output.file_id is not None:
            self._stored[_key(thing)] = _Stored(path, stamp, output.file_id)
        return output

    def _file_of(self, thing: Made) -> str | None:
        """The id of a file that was uploaded and has not changed since; None: there is no such one."""
        known = None if thing.path is None else self._stored.get(_key(thing))
        if known is None or thing.path is None:
            return None
        return known.file_id if _stamp(thing.path) == known.stamp else None


def _key(thing: Made) -> _Key:
    item = thing.item or {}
    return thing.node_id, thing.kind, str(item.get("subfolder", "")), str(item.get("filename", ""))


def _stamp(path: Path) -> tuple[int, int]:
    """Tells whether a file was written again."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size
