"""Sends what a prompt made to storage, one grant per file, and lists it as Outputs. It does not know slots or events.

A grant is asked for again before each new try: the orchestrator's answer says whether the attempt is still ours,
and a signed address that has run out is replaced.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from drivers.wire import Grant, GrantRequest, Job, Output
from machine_agent.backoff import Backoff
from machine_agent.errors import Abandoned, AttemptFailed
from machine_agent.identity import reason_of

_AT_ONCE = 4
_REFUSALS = 3
_PATIENCE_S = 7200.0
_log = structlog.get_logger()


class Made(Struct, frozen=True):
    """One thing in an executor's ui outputs: a file as the executor names it and, once it is here, its path; or a
    value.
    """

    node_id: str
    kind: str
    item: dict[str, Any] | None = None
    path: Path | None = None
    data: Any = None


class _Again(Exception):
    """It may work another time."""


class _Refused(Exception):
    """Storage or orchestrator said no to this file."""


def made_by(outputs: dict[str, dict[str, Any]], job: Job) -> list[Made]:
    """What a prompt made, in the order of the workflow's nodes. Previews and inputs are left out."""
    order = {node_id: place for place, node_id in enumerate(job.workflow)}
    found: list[Made] = []
    for node_id in sorted(outputs, key=lambda node: (order.get(node, len(order)), node)):
        ui = outputs[node_id]
        has_files = any(_is_file(item) for items in ui.values() if isinstance(items, list) for item in items)
        for kind, items in ui.items():
            if isinstance(items, list) and any(_is_file(item) for item in items):
                found += [Made(node_id, kind, item) for item in items if _is_output(item)]
            elif not (kind == "animated" and has_files):  # a note about the files, not a result
                found.append(Made(node_id, kind, data=items))
    return found


class Uploader:
    """Uploads for every slot of the agent."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def upload(self, job: Job, made: list[Made], *, early: bool = False) -> list[Output]:
        """Upload every file; the outputs in the order given. Raises Abandoned, or AttemptFailed `upload_failed`.

        early: the attempt has not ended, and may yet fail.
        """
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(thing: Made) -> Output:
            if thing.path is None:
                return Output(node_id=thing.node_id, kind=thing.kind, data=thing.data)
            async with gate:
                file_id = await self._store(job, thing.path, thing.path.name, early=early)
            return Output(node_id=thing.node_id, kind=thing.kind, file_id=file_id)

        tasks = [asyncio.create_task(one(thing)) for thing in made]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _store(self, job: Job, path: Path, name: str, *, early: bool) -> str:
        try:
            size, sha256 = await asyncio.to_thread(_measure, path)
        except OSError as error:
            raise _unreadable(name, error) from error
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        request = GrantRequest(job.attempt_id, name, content_type, size, sha256, early)
        backoff = Backoff()
        clock = asyncio.get_running_loop()
        end = clock.time() + _PATIENCE_S
        refusals = 0
        while True:
            try:
                grant = await self._grant(job, request)
                if grant.url is not None:
                    await self._put(grant.url, grant.headers, path)
                return grant.file_id
            except (_Again, _Refused, aiohttp.ClientError, OSError) as error:
                refusals += isinstance(error, _Refused)
                if refusals >= _REFUSALS or clock.time() > end:
                    message = f"output {name!r} cannot be stored: {str(error) or type(error).__name__}"
                    raise AttemptFailed.because("upload_failed", message[:1000]) from error
                _log.warning(
                    "upload_retry", attempt=job.attempt_id, name=name, error=str(error) or type(error).__name__
                )
                await asyncio.sleep(backoff.next())

    async def _grant(self, job: Job, request: GrantRequest) -> Grant:
        headers = {"Authorization": f"Bearer {job.token}", "Content-Type": "application/json"}
        async with self._session.post(
            f"{self._url}/api/upload-grants",
            data=msgspec.json.encode(request),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=30),
        ) as response:
            answer = await response.read()
        if response.status in (401, 403, 404, 409):
            raise Abandoned(reason_of(answer, response.status))
        _check(response.status, answer)
        try:
            return msgspec.json.decode(answer, type=Grant)
        except msgspec.MsgspecError as error:
            raise _Again(f"unreadable grant: {error}") from error

    async def _put(self, url: str, headers: dict[str, str], path: Path) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=120)
        address = urljoin(f"{self._url}/", url)
        try:
            opened = await asyncio.to_thread(path.open, "rb")
        except OSError as error:
            raise _unreadable(path.name, error) from error  # no later try brings it back
        with opened as file:
            async with self._session.put(address, data=file, headers=headers, timeout=timeout) as response:
                _check(response.status, await response.read())


def _unreadable(name: str, error: OSError) -> AttemptFailed:
    return AttemptFailed.because("upload_failed", f"output {name!r} cannot be read: {error}")


def _check(status: int, answer: bytes) -> None:
    if status == 429 or status >= 500:
        raise _Again(reason_of(answer, status))
    if status >= 300:
        raise _Refused(reason_of(answer, status))


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256


def _is_file(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("filename"), str) and "type" in item


def _is_output(item: Any) -> bool:
    return _is_file(item) and item["type"] == "output"
