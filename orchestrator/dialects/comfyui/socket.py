"""/ws: what happens to a client's prompts, in ComfyUI's messages; the database is asked when in doubt."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import msgspec
from litestar import WebSocket, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect

from orchestrator.auth import Principal, requires
from orchestrator.config import Config
from orchestrator.dialects.comfyui.door import sender_of
from orchestrator.live.hub import Hub, LiveEvent, NodeEvent, PreviewEvent, TooSlow
from orchestrator.runs import prompts
from orchestrator.runs.prompts import Told
from orchestrator.runs.state import TERMINAL
from orchestrator.store import comfyui
from orchestrator.store.db import Database, DatabaseUnavailable
from orchestrator.wire import ProgressEvent, RunEvent

RECHECK_S: Final = 5.0
REMEMBERED: Final = 5_000
TRY_AGAIN: Final = 1013
Socket = WebSocket[Principal, Any, State]


class Client:
    """One open socket: which runs are its own, and what it was told of each."""

    def __init__(self, socket: Socket, db: Database, config: Config, client_id: str) -> None:
        self._socket = socket
        self._db = db
        self._config = config
        self._sender = sender_of(socket.user)
        self._client_id = client_id
        self._told: dict[str, Told] = {}
        self._others: OrderedDict[str, None] = OrderedDict()
        self._takes_metadata = False

    async def listen(self) -> None:
        """Read what the client says, until it goes. Only its features matter."""
        while True:
            text = await self._socket.receive_data(mode="text")
            try:
                message = msgspec.json.decode(text, type=dict[str, Any])
            except msgspec.MsgspecError:
                continue
            if message.get("type") == "feature_flags":
                data = message.get("data")
                self._takes_metadata = isinstance(data, dict) and data.get("supports_preview_metadata") is True
                flags = {"supports_preview_metadata": True, "max_upload_size": self._config.max_upload}
                await self._send("feature_flags", flags)

    async def follow(self, hub: Hub) -> None:
        """Tell the client of its prompts for as long as it listens. Raises TooSlow."""
        with hub.subscribe(self._sender.organisation_id, previews=True, nodes=True) as subscription:
            await self._status(sid=self._client_id)
            await self._look_again()
            while True:
                event = await subscription.next(RECHECK_S)
                if event is None:
                    await self._look_again()
                elif await self._is_own(event.run_id):
                    await self._tell(event)

    async def _is_own(self, run_id: str) -> bool:
        if run_id in self._told or run_id in self._others:
            return run_id in self._told
        found = await comfyui.accounts(self._db, self._sender, [run_id])
        if found and found[0].client_id == self._client_id:
            self._told[run_id] = Told()
            return True
        self._others[run_id] = None
        while len(self._others) > REMEMBERED:
            self._others.popitem(last=False)
        return False

    async def _look_again(self) -> None:
        """What was missed: prompts that another replica took, and changes that were made there."""
        for account in await comfyui.open_accounts(self._db, self._sender, self._client_id):
            self._told.setdefault(account.run_id, Told())
        for account in await comfyui.accounts(self._db, self._sender, list(self._told)):
            await self._changed(account.run_id, account.status)

    async def _tell(self, event: LiveEvent) -> None:
        if isinstance(event, RunEvent):
            await self._changed(event.run_id, event.status)
        elif isinstance(event, ProgressEvent):
            for name, data in prompts.on_progress(event, datetime.now(UTC), self._told[event.run_id]):
                await self._send(name, data)
        elif isinstance(event, NodeEvent):
            made = prompts.ui_of(event.run_id, [(event.node_id, *one) for one in event.made]).get(event.node_id, {})
            now, told = datetime.now(UTC), self._told[event.run_id]
            for name, data in prompts.on_node(event.run_id, event.node_id, made, now, told):
                await self._send(name, data)
        elif isinstance(event, PreviewEvent):
            frame = prompts.preview_frame(
                event.node_id, event.run_id, event.content_type, event.image, with_metadata=self._takes_metadata
            )
            await self._socket.send_data(frame, mode="binary")

    async def _changed(self, run_id: str, status: Any) -> None:
        told = self._told[run_id]
        failure, ui = (await self._outcome(run_id)) if status in TERMINAL else (None, {})
        for name, data in prompts.on_status(run_id, status, datetime.now(UTC), told, failure, ui):
            if name == "executing":
                await self._status()
            await self._send(name, data)
        if status == "not-started":
            await self._status()
        if told.ended:
            del self._told[run_id]
            self._others[run_id] = None

    async def _outcome(self, run_id: str) -> tuple[dict[str, Any] | None, prompts.Ui]:
        prompt = await comfyui.prompt(self._db, self._sender, run_id)
        made = await comfyui.made(self._db, self._sender.organisation_id, [run_id])
        ui = prompts.ui_of(run_id, [(one.node_id, one.kind, one.name, one.data) for one in made])
        return (None if prompt is None else prompt.failure), ui

    async def _status(self, sid: str | None = None) -> None:
        left = await comfyui.waiting(self._db, self._sender)
        data: dict[str, Any] = {"status": {"exec_info": {"queue_remaining": left}}}
        await self._send("status", data if sid is None else {**data, "sid": sid})

    async def _send(self, name: str, data: dict[str, Any]) -> None:
        await self._socket.send_data(msgspec.json.encode({"type": name, "data": data}).decode(), mode="text")


@websocket("/ws", opt=requires("viewer", "runs:read"))
async def live(socket: Socket, db: Database, hub: Hub, config: Config) -> None:
    """Messages about the prompts that were sent with this `clientId`."""
    await socket.accept()
    client_id = socket.query_params.get("clientId") or uuid4().hex
    client = Client(socket, db, config, client_id[:200])
    tasks = [asyncio.create_task(client.listen()), asyncio.create_task(client.follow(hub))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except WebSocketDisconnect:
        return
    except (TooSlow, DatabaseUnavailable):
        await socket.close(TRY_AGAIN)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


handlers: Final = [live]
