"""A ComfyUI with the comfyui-deploy plugin at a URL, spoken to over HTTP: health, dispatch, cancel, what became of it.

The URL is the operator's: every request goes through the guard (egress.py), which a private address passes only where
the machine was registered so. Nothing is ever sent twice: a call that may have arrived is `OutcomeUnknown`.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
from msgspec import Struct

from drivers import egress
from drivers.base import OutcomeUnknown, Rejected, Unreachable
from drivers.wire import ModelFile

CALL_S: Final = 20.0
MOST_JSON: Final = 64 * 1024 * 1024
MOST_FOLDERS: Final = 100
BLOCK: Final = 256 * 1024


class Refusal(Rejected):
    """The machine refused the graph; `answer` is what it said."""

    def __init__(self, status: int, answer: dict[str, Any]) -> None:
        super().__init__(f"answered {status}")
        self.status = status
        self.answer = answer


class Queue(Struct, frozen=True):
    """Ids of prompts under execution and waiting."""

    running: list[str]
    pending: list[str]

    def __contains__(self, prompt_id: object) -> bool:
        return prompt_id in self.running or prompt_id in self.pending


class PluginMachine:
    """One machine. The session must be a guarded one. login: `user:password` of a proxy before it, if it has one."""

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: str, *, allow_private: bool, login: str | None = None
    ) -> None:
        self._session = session
        self._url = endpoint.rstrip("/")
        self._allow_private = allow_private
        self._login: dict[str, str] = {}
        if login is not None:
            encoded = base64.b64encode(login.encode()).decode()
            self._login = {"Authorization": f"Basic {encoded}", "authorizationheader": login}

    async def system_stats(self) -> dict[str, Any]:
        """ComfyUI's account of itself. Raises Unreachable."""
        return _object(await self._get("/system_stats"))

    async def queue(self) -> Queue:
        """What it works on. Raises Unreachable."""
        found = _object(await self._get("/queue"))
        return Queue(_ids(found.get("queue_running")), _ids(found.get("queue_pending")))

    async def declared(self) -> dict[str, Any]:
        """What each node class that it can run declares, by name. Raises Unreachable."""
        return _object(await self._get("/object_info"))

    async def models(self) -> list[ModelFile]:
        """Model files by folder; none from a ComfyUI too old to tell. Raises Unreachable."""
        folders = await self._get("/models", absent=[])
        found: list[ModelFile] = []
        for folder in [name for name in folders if isinstance(name, str)][:MOST_FOLDERS]:
            names = await self._get(f"/models/{folder}", absent=[])
            found += [ModelFile(folder, name, 0) for name in names if isinstance(name, str)]
        return found

    async def history(self, prompt_id: str) -> dict[str, Any] | None:
        """The prompt's entry in ComfyUI's history; None: it has not ended, or is not known. Raises Unreachable."""
        entry = _object(await self._get(f"/history/{prompt_id}")).get(prompt_id)
        return entry if isinstance(entry, dict) else None

    async def check_status(self, prompt_id: str) -> str | None:
        """What the plugin holds of the prompt; None: it does not know it. Raises Unreachable."""
        status = _object(await self._get(f"/comfyui-deploy/check-status?prompt_id={prompt_id}", absent={})).get(
            "status"
        )
        return status if isinstance(status, str) else None

    async def run(self, body: dict[str, Any], token: str) -> None:
        """Have the plugin queue a prompt. Returns once it is queued. A login takes the token's place in the header.

        Raises Refusal (nothing runs), Unreachable (nothing arrived), OutcomeUnknown (it may have).
        """
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            async with self._open(
                "POST", "/comfyui-deploy/run", data=msgspec.json.encode(body), headers=headers
            ) as answer:
                status, said = answer.status, await _json(answer)
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(str(error)[:300]) from error
        except (aiohttp.ClientError, OSError) as error:
            raise OutcomeUnknown(f"{type(error).__name__}: {error}"[:300]) from error
        answer_of = said if isinstance(said, dict) else {}
        if status == 400 and "error" not in answer_of and "node_errors" in answer_of:
            return  # a part of the graph is invalid; the rest is queued
        if status >= 400:
            raise Refusal(status, answer_of)

    async def cancel(self, prompt_id: str) -> None:
        """Take the prompt from the queue, or interrupt it if it is the one under execution. Raises Unreachable."""
        await self._post("/queue", {"delete": [prompt_id]})
        if prompt_id in (await self.queue()).running:
            await self._post("/interrupt", {"prompt_id": prompt_id})
        await self._post("/comfyui-deploy/interrupt", {"prompt_id": prompt_id})

    @asynccontextmanager
    async def view(self, name: str, subfolder: str) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """The bytes of an output file; None: it has no such file. Raises Unreachable."""
        query = {"filename": name, "subfolder": subfolder, "type": "output"}
        try:
            async with self._open("GET", "/view", params=query) as answer:
                if answer.status >= 500:
                    raise Unreachable(f"/view answered {answer.status}")
                yield answer.content.iter_chunked(BLOCK) if answer.status == 200 else None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}"[:300]) from error

    async def _get(self, path: str, absent: Any = None) -> Any:
        """A JSON answer. absent: what a 404 stands for; None: for an error."""
        try:
            async with self._open("GET", path) as answer:
                if answer.status == 404 and absent is not None:
                    return absent
                if answer.status != 200:
                    raise Unreachable(f"{path.partition('?')[0]} answered {answer.status}")
                return await _json(answer)
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}"[:300]) from error

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        try:
            async with self._open("POST", path, json=body):
                return
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}"[:300]) from error

    @asynccontextmanager
    async def _open(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        url = self._url + path
        try:
            egress.check_url(url, allow_private=self._allow_private)
            options["headers"] = {**options.get("headers", {}), **self._login}
            async with self._session.request(method, url, allow_redirects=False, **options) as answer:
                yield answer
        except egress.Refused as error:
            raise Unreachable(f"the endpoint may not be reached: {error}") from error


async def _json(answer: aiohttp.ClientResponse) -> Any:
    """The answer's JSON, or None when it is none or too long."""
    read = bytearray()
    async for chunk in answer.content.iter_chunked(BLOCK):
        read += chunk
        if len(read) > MOST_JSON:
            return None
    try:
        return msgspec.json.decode(read)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreachable("it does not answer as a ComfyUI does")
    return value


def _ids(items: Any) -> list[str]:
    """Prompt ids of a queue's entries, [number, prompt id, ...]."""
    entries = items if isinstance(items, list) else []
    return [str(entry[1]) for entry in entries if isinstance(entry, list) and len(entry) > 1]
