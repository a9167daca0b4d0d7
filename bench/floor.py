"""`python -m bench.floor`: the HTTP and WebSocket traffic of small prompts with no executor behind it.

What is left when nothing is computed: the figures of the executor are compared with it.
"""

from __future__ import annotations

import asyncio
import json
import uuid

from aiohttp import WSMsgType, web

SOCKETS: dict[str, web.WebSocketResponse] = {}
STEPS = [
    *("execution_start", "execution_cached", "executing", "executing", "executed"),
    *("progress_state", "execution_success", "status", "executing"),
]


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Keep a client's socket."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    SOCKETS[request.query["clientId"]] = socket
    async for _ in socket:
        pass
    return socket


async def prompt(request: web.Request) -> web.Response:
    """Take a prompt and say at once that it ran."""
    body = await request.json()
    prompt_id = str(uuid.uuid4())
    asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(_tell(body["client_id"], prompt_id)))
    return web.json_response({"prompt_id": prompt_id, "number": 0, "node_errors": {}})


async def _tell(client_id: str, prompt_id: str) -> None:
    for index, step in enumerate(STEPS):
        node = None if index == len(STEPS) - 1 else "0"
        message = {"type": step, "data": {"node": node, "prompt_id": prompt_id, "timestamp": 0}}
        await SOCKETS[client_id].send_frame(json.dumps(message).encode(), WSMsgType.TEXT)


async def serve() -> None:
    """Serve on a free port, which is printed."""
    app = web.Application()
    app.router.add_get("/ws", websocket)
    app.router.add_post("/prompt", prompt)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"event": "listening", "port": runner.addresses[0][1]}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
