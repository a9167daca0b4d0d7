"""ComfyUI's HTTP and WebSocket API, as far as one prompt needs it. It knows nothing of attempts or events.

History is the truth about a prompt; the WebSocket only makes it quick and gives progress.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import structlog
from msgspec import Struct, field

from drivers.wire import NodePack, WorkflowJson

_POLL_S = 1.0
_LOST_AFTER = 5
_ENDS = ("execution_success", "execution_error", "execution_interrupted")
_CALL = aiohttp.ClientTimeout(total=30)
_OPEN_S = 5.0
_LAST_S = 5.0
_log = structlog.get_logger()

_SILENT = "this executor tells nothing of its log\n"


class Listener(Struct, frozen=True):
    """Who hears what an executor says about a prompt: messages, previews (content type, bytes), and, where on_log is
    given, what it writes while it works on that prompt and no other.
    """

    on_message: Callable[[str, dict[str, Any]], None]
    on_preview: Callable[[str, bytes], None]
    on_log: Callable[[str], None] | None = None


class PromptRefused(Exception):
    """The executor's validation refused the prompt; `body` is its answer."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__("the executor refused the workflow")
        self.body = body


class PromptLost(Exception):
    """The executor runs but no longer knows the prompt."""


class Status(Struct):
    """How a prompt ended, as history tells it."""

    status_str: str = ""
    completed: bool = False
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class HistoryEntry(Struct):
    """What a prompt left: ui outputs by node id, and how it ended."""

    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    status: Status = field(default_factory=Status)

    def message(self, name: str) -> dict[str, Any] | None:
        """The data of the first message of that name."""
        return next((data for event, data in self.status.messages if event == name), None)


class Comfy:
    """One executor at one address."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def object_info(self) -> list[str]:
        """The class_type names the executor can run."""
        return sorted(await self._get("/object_info", dict[str, msgspec.Raw]))

    async def declared(self) -> dict[str, Any]:
        """What each class declares, by class_type."""
        described: dict[str, Any] = await self._get("/object_info", dict[str, Any])
        return described

    async def system_stats(self) -> dict[str, Any]:
        """The `system` part of /system_stats."""
        stats: dict[str, Any] = await self._get("/system_stats", dict[str, Any])
        system = stats.get("system", {})
        return system if isinstance(system, dict) else {}

    async def packs(self) -> list[NodePack]:
        """The executor's node packs; none where it does not tell, as a ComfyUI does not."""
        try:
            return await self._get("/fleet/packs", list[NodePack])  # type: ignore[no-any-return]
        except aiohttp.ClientResponseError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return []
            raise
        except msgspec.MsgspecError:
            return []  # something else answers there

    async def answers(self, timeout: float) -> bool:
        """Whether it is there and well."""
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.get(f"{self._url}/system_stats", timeout=limit) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    async def devices(self) -> list[dict[str, Any]]:
        """The `devices` part of /system_stats."""
        stats = await self._get("/system_stats", dict[str, Any])
        return [device for device in stats.get("devices", []) if isinstance(device, dict)]

    async def model_names(self) -> dict[str, list[str]]:
        """The models it lists, by kind."""
        kinds = await self._get("/models", list[str])
        named = {kind: await self._get(f"/models/{quote(kind, safe='')}", list[str]) for kind in kinds}
        return {kind: names for kind, names in named.items() if kind not in ("custom_nodes", "configs") and names}

    async def has_directories(self) -> bool:
        """Whether a prompt may have a directory of its own; ComfyUI does not have this."""
        async with self._session.get(f"{self._url}/fleet/health", timeout=_CALL) as response:
            return response.status == 200 and _object(await response.read()).get("directories") is True

    async def run(
        self,
        prompt_id: str,
        workflow: WorkflowJson,
        extra: dict[str, Any],
        listener: Listener,
        *,
        whole: bool = False,
    ) -> HistoryEntry:
        """Queue a prompt and wait for its end. Raises PromptRefused, PromptLost, or aiohttp's errors.

        whole: return when the last message was handed on too; the history may know the end before the socket has told.
        """
        done, last = asyncio.Event(), asyncio.Event()
        socket = await self._open(prompt_id)
        listening = asyncio.create_task(_listen(socket, prompt_id, done, last, listener)) if socket else None
        try:
            if socket is not None and listener.on_log is not None and not await self._follow_log(prompt_id, on=True):
                listener.on_log(_SILENT)
            await _to_the_end(self._queue(prompt_id, workflow, extra))
            entry = await self._finished(prompt_id, done)
            if listening is not None and (whole or listener.on_log is not None):
                await _heard(listening, last)
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await self.forget(prompt_id)  # it keeps whole workflows in memory
            return entry
        finally:
            if socket is not None and listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                if listener.on_log is not None:
                    await self._follow_log(prompt_id, on=False)  # it would keep the name of every client for ever
                await socket.close()

    async def abort(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, or interrupt it if it runs. Other prompts are left alone."""
        await self._post("/queue", {"delete": [prompt_id]})
        running = (await self._get("/queue", dict[str, list[list[Any]]])).get("queue_running", [])
        if _has(running, prompt_id):  # an older ComfyUI would interrupt whatever runs
            await self._post("/interrupt", {"prompt_id": prompt_id})

    async def is_known(self, prompt_id: str) -> bool:
        """Whether the prompt is running or queued now."""
        queue = await self._get("/queue", dict[str, list[list[Any]]])
        return _has(queue.get("queue_running", []) + queue.get("queue_pending", []), prompt_id)

    async def drop_caches(self) -> None:
        """Make the executor forget the results of earlier prompts."""
        await self._post("/free", {"unload_models": False, "free_memory": True})

    async def forget(self, prompt_id: str) -> None:
        """Remove a prompt from the executor's history."""
        await self._post("/history", {"delete": [prompt_id]})

    async def _queue(self, prompt_id: str, workflow: WorkflowJson, extra: dict[str, Any]) -> None:
        body = {"prompt": workflow, "prompt_id": prompt_id, "client_id": prompt_id, "extra_data": extra}
        async with self._session.post(f"{self._url}/prompt", json=body, timeout=_CALL) as response:
            answer = await response.read()
            if response.status == 400:
                raise PromptRefused(_object(answer))
            response.raise_for_status()
        errors = _object(answer).get("node_errors")
        if errors:  # ComfyUI would run the outputs that are valid; half a run is not what was asked for
            await self.abort(prompt_id)
            raise PromptRefused(_object(answer))

    async def _finished(self, prompt_id: str, done: asyncio.Event) -> HistoryEntry:
        missing = 0
        while missing < _LOST_AFTER:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await done.wait()
            done.clear()
            try:
                entry = (await self._get(f"/history/{prompt_id}", dict[str, HistoryEntry])).get(prompt_id)
                if entry is not None and entry.status.status_str:
                    return entry  # type: ignore[no-any-return]
                missing = 0 if await self.is_known(prompt_id) else missing + 1
            except (aiohttp.ClientError, OSError) as error:
                # A busy executor may be slow to answer; whether it is dead is its supervisor's to say.
                _log.debug("executor_poll_failed", error=str(error) or type(error).__name__)
        raise PromptLost(f"the executor no longer knows prompt {prompt_id}")

    async def _follow_log(self, client_id: str, *, on: bool) -> bool:
        """Have lines of its log sent to a client's socket, or no more; whether it does so."""
        body = {"clientId": client_id, "enabled": on}
        url = f"{self._url}/internal/logs/subscribe"
        try:
            async with self._session.patch(url, json=body, timeout=_CALL) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, OSError):
            return False

    async def _open(self, client_id: str) -> aiohttp.ClientWebSocketResponse | None:
        """The prompt's WebSocket, greeted; None when it cannot be had: polling then does alone."""
        url = f"{self._url}/ws?clientId={client_id}"
        try:
            async with asyncio.timeout(_OPEN_S):
                socket = await self._session.ws_connect(url, max_msg_size=64_000_000)
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("executor_socket_failed", error=str(error) or type(error).__name__)
            return None
        with contextlib.suppress(TimeoutError):
            await socket.receive(timeout=2)
        return socket

    async def _get(self, path: str, kind: type[Any]) -> Any:
        async with self._session.get(f"{self._url}{path}", timeout=_CALL) as response:
            response.raise_for_status()
            return msgspec.json.decode(await response.read(), type=kind)

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        async with self._session.post(f"{self._url}{path}", json=body, timeout=_CALL) as response:
            response.raise_for_status()


def _has(items: list[list[Any]], prompt_id: str) -> bool:
    return any(len(item) > 1 and item[1] == prompt_id for item in items)


async def _to_the_end(call: Coroutine[Any, Any, None]) -> None:
    """Await a call that must not be cut off in the middle: a prompt may not arrive after it was aborted."""
    task = asyncio.create_task(call)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _listen(
    socket: aiohttp.ClientWebSocketResponse,
    prompt_id: str,
    done: asyncio.Event,
    last: asyncio.Event,
    listener: Listener,
) -> None:
    """Hand on what the executor says about the prompt, until the socket closes."""
    ours = False  # whether it is our prompt that it works on
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            preview = preview_of(message.data)
            if preview is not None:
                listener.on_preview(*preview)
        elif message.type is aiohttp.WSMsgType.TEXT:
            body = _object(message.data)
            name, data = body.get("type"), body.get("data")
            if name == "logs" and ours and isinstance(data, dict):
                _hand_on_log(data, listener)
            if not isinstance(name, str) or not isinstance(data, dict) or data.get("prompt_id") != prompt_id:
                continue
            listener.on_message(name, data)
            is_last = name == "executing" and data.get("node") is None
            ours = not is_last and name not in _ENDS
            if not ours:
                done.set()
            if is_last:
                last.set()


def _hand_on_log(data: dict[str, Any], listener: Listener) -> None:
    entries = data.get("entries")
    for entry in entries if isinstance(entries, list) else []:
        text = entry.get("m") if isinstance(entry, dict) else None
        if listener.on_log is not None and isinstance(text, str):
            listener.on_log(text)


async def _heard(listener: asyncio.Task[None], last: asyncio.Event) -> None:
    """Wait for the last message, but not for ever: a socket that broke tells no more."""
    waiting = asyncio.create_task(last.wait())
    await asyncio.wait((listener, waiting), timeout=_LAST_S, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def preview_of(message: bytes) -> tuple[str, bytes] | None:
    """The content type and bytes of a binary preview message; None for any other binary message."""
    kind = int.from_bytes(message[:4], "big")
    number = int.from_bytes(message[4:8], "big")
    if kind == 1:
        return ("image/png" if number == 2 else "image/jpeg"), message[8:]
    if kind == 4:
        about = _object(message[8 : 8 + number])
        return str(about.get("image_type", "image/jpeg")), message[8 + number :]
    return None


def _object(text: bytes | str) -> dict[str, Any]:
    """A JSON object, or an empty one when the text is something else."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
