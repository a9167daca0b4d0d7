"""Brings a job's files to this machine: fetched, verified, cached, named in the workflow.

It knows URLs and files, not slots, executors or events. Downloads of users' URLs pass through `guard`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import aiohttp
import msgspec
import structlog
from msgspec import Struct
from yarl import URL

from drivers.wire import FILE_SCHEME, Job, JobFile, WorkflowJson
from machine_agent.backoff import Backoff
from machine_agent.cache import Cache
from machine_agent.errors import AttemptFailed
from machine_agent.guard import Forbidden, PublicResolver, check_url

UNTRUSTED_LIMIT = 512_000_000
_TRIES = 5
_REDIRECTS = 5
_SHA = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_log = structlog.get_logger()


class _Again(Exception):
    """The download may succeed another time."""


class Fetched(Struct, frozen=True):
    """A job's files in the cache, pinned there: paths by the names under which the workflow has them."""

    workflow: WorkflowJson
    files: dict[str, Path]
    hashes: list[str]


class Inputs:
    """Fetches for every slot of the agent. `close` releases its connections."""

    def __init__(self, session: aiohttp.ClientSession, url: str, cache: Cache, *, allow_private: bool) -> None:
        self._session = session
        self._url = url
        self._cache = cache
        self._allow_private = allow_private
        resolver = None if allow_private else PublicResolver()
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=16)
        self._public = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Release connections."""
        await self._public.close()

    async def fetch(self, job: Job) -> Fetched:
        """Bring all files of a job. Raises AttemptFailed with `input_unavailable`."""
        names: dict[str, str] = {}
        files: dict[str, Path] = {}
        hashes: list[str] = []
        try:
            for file in job.files:
                sha256, cached = await self._obtain(file)
                self._cache.pin(sha256)
                hashes.append(sha256)
                name = f"fleet/{sha256}{_suffix(file.name)}"
                files[name] = cached
                names[FILE_SCHEME + file.key] = name
        except BaseException:
            self.release(Fetched({}, files, hashes))
            raise
        if job.files:
            await self._cache.trim()
        return Fetched(replaced(job.workflow, names), files, hashes)

    def release(self, fetched: Fetched) -> None:
        """The run is over: its files stay in the cache while there is room."""
        for sha256 in fetched.hashes:
            self._cache.unpin(sha256)

    async def _obtain(self, file: JobFile) -> tuple[str, Path]:
        if file.sha256 is not None:
            if not _SHA.fullmatch(file.sha256):
                raise _unavailable(file, "its hash is not a SHA-256 in hex")
            cached = self._cache.find(file.sha256)
            if cached is not None:
                return file.sha256, cached
        backoff = Backoff()
        for left in reversed(range(_TRIES)):
            try:
                return await self._download(file)
            except (Forbidden, aiohttp.InvalidURL) as error:
                raise _unavailable(file, str(error)) from error
            except (_Again, aiohttp.ClientError, OSError) as error:
                inner = _forbidden(error)
                if inner is not None or not left:
                    raise _unavailable(file, str(inner or error) or type(error).__name__) from error
                _log.info("input_retry", key=file.key, error=str(error) or type(error).__name__)
                await asyncio.sleep(backoff.next())
        raise AssertionError("the last try either returns or raises")

    async def _download(self, file: JobFile) -> tuple[str, Path]:
        incoming = self._cache.incoming(uuid4().hex)
        try:
            async with self._open(file) as response:
                sha256 = await _save(file, response, incoming)
            if file.sha256 is not None and sha256 != file.sha256:
                raise _unavailable(file, f"its hash does not match: got {sha256}, expected {file.sha256}")
            return sha256, self._cache.adopt(incoming, sha256)
        finally:
            incoming.unlink(missing_ok=True)

    @asynccontextmanager
    async def _open(self, file: JobFile) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response with the file's bytes; redirects are followed here so that each is checked."""
        url = URL(urljoin(f"{self._url}/", file.url) if file.trusted else file.url)
        session = self._session if file.trusted else self._public
        timeout = aiohttp.ClientTimeout(total=None if file.trusted else 600, sock_connect=15, sock_read=60)
        for _ in range(_REDIRECTS + 1):
            check_url(url, allow_private=file.trusted or self._allow_private)
            async with session.get(url, allow_redirects=False, timeout=timeout) as response:
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    url = url.join(URL(response.headers["Location"]))
                    continue
                if response.status == 429 or response.status >= 500:
                    raise _Again(f"status {response.status}")
                if response.status != 200:
                    raise _unavailable(file, f"status {response.status}")
                yield response
                return
        raise _unavailable(file, "too many redirects")


def replaced(workflow: WorkflowJson, names: dict[str, str]) -> WorkflowJson:
    """The workflow with every input value that is a file reference replaced by the file's name.

    A text that is a JSON list of references (a batch of images) has each of them replaced.
    """

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return _listed(value, names) if value.startswith("[") and FILE_SCHEME in value else names.get(value, value)
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return value

    return {
        node_id: {**node, "inputs": walk(node.get("inputs", {}))} if isinstance(node, dict) else node
        for node_id, node in workflow.items()
    }


def _listed(text: str, names: dict[str, str]) -> str:
    try:
        items = msgspec.json.decode(text, type=list[Any])
    except msgspec.DecodeError:
        return text
    return msgspec.json.encode([names.get(item, item) if isinstance(item, str) else item for item in items]).decode()


async def _save(file: JobFile, response: aiohttp.ClientResponse, path: Path) -> str:
    limit = file.size if file.size is not None else None if file.trusted else UNTRUSTED_LIMIT
    digest = hashlib.sha256()
    size = 0
    with path.open("wb") as target:
        async for chunk in response.content.iter_chunked(1 << 20):
            size += len(chunk)
            if limit is not None and size > limit:
                raise _unavailable(file, f"it is larger than {limit} bytes")
            digest.update(chunk)
            await asyncio.to_thread(target.write, chunk)
    if file.size is not None and size != file.size:
        raise _Again(f"it has {size} bytes, not {file.size}")
    return digest.hexdigest()


def _suffix(name: str) -> str:
    suffix = Path(name).suffix
    return suffix.lower() if _SUFFIX.fullmatch(suffix) else ""


def _forbidden(error: BaseException) -> Forbidden | None:
    """The guard's own word, when aiohttp has wrapped it in a connection error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Forbidden):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _unavailable(file: JobFile, why: str) -> AttemptFailed:
    return AttemptFailed.because("input_unavailable", f"input {file.key!r} cannot be had: {why}"[:1000])
