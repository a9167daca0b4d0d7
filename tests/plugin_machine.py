"""A ComfyUI with the comfyui-deploy plugin, played by a process: enough of both for a fleet that pushes to it.

What a prompt does is told by its input `script` (JSON): `case` plays recorded callbacks; `order` (recorded, shuffled),
`seed`, `double`, `drop` (a share of the callbacks) and `uploads` say how; `history` whether ComfyUI remembers it;
`hold` waits for an interrupt; `answer` (normal, partial, cut) is how the order is answered; `die` ends it, once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.comfydeploy_recording import Recorded, cases, history, readdressed

CASES = cases()
CLASSES = ["ComfyUIDeployExternalText", "Play"]
PNG = b"\x89PNG\r\n\x1a\n" + b"picture of "


class Machine:
    """The queue, one prompt at a time, and what happened."""

    def __init__(self, died: Path) -> None:
        self.died = died
        self.running: str | None = None
        self.pending: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.history: dict[str, Any] = {}
        self.status: dict[str, str] = {}
        self.orders: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.interrupted = asyncio.Event()
        self.wake = asyncio.Event()
        self.session: aiohttp.ClientSession

    async def run(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.orders.append({"body": body, "authorization": request.headers.get("Authorization")})
        if not isinstance((body.get("workflow") or {}).get("nodes"), list):
            return web.json_response({"error": "no workflow"}, status=500)
        script = json.loads(body["inputs"]["script"])
        case = CASES.get(script.get("case", ""))
        if case is not None and "error" in case.answer:
            self.status[body["prompt_id"]] = "failed"
            await self.play(body, script, case)
            return web.json_response(case.answer, status=400)
        self.pending.append((body["prompt_id"], body, script))
        self.wake.set()
        if script.get("answer") == "cut":
            assert request.transport is not None
            request.transport.abort()
        if script.get("answer") == "partial":
            return web.json_response({"node_errors": {"9": {"errors": [], "class_type": "X"}}}, status=400)
        return web.json_response({"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}})

    async def work(self) -> None:
        async with aiohttp.ClientSession() as self.session:
            while True:
                await self.wake.wait()
                self.wake.clear()
                while self.pending:
                    prompt_id, body, script = self.pending.pop(0)
                    self.running, self.status[prompt_id] = prompt_id, "running"
                    await self.execute(prompt_id, body, script)
                    self.running = None

    async def execute(self, prompt_id: str, body: dict[str, Any], script: dict[str, Any]) -> None:
        if script.get("hold"):
            await self.post(body, {"run_id": prompt_id, "status": "running"})
            self.interrupted.clear()
            await self.interrupted.wait()
            event = {"event": "execution_interrupted", "data": {"prompt_id": prompt_id}}
            self.history[prompt_id] = {
                "outputs": {},
                "status": {"status_str": "error", "messages": [[*event.values()]]},
            }
            return
        case = CASES[script["case"]]
        if script.get("die") and not self.died.exists():
            self.died.touch()
            await self.post(body, case.bodies[1])
            os._exit(1)
        if script.get("history", True):
            self.history[prompt_id] = history(case)
        await self.play(body, script, case)

    async def play(self, body: dict[str, Any], script: dict[str, Any], case: Recorded) -> None:
        urls = {}
        if script.get("uploads", True):
            urls = {name: await self.upload(body, name) for name in case.put}
        bodies = [readdressed(one, body["prompt_id"], urls) for one in case.bodies]
        dice = random.Random(script.get("seed", 0))
        bodies = [one for one in bodies if dice.random() >= script.get("drop", 0)]
        if script.get("double"):
            bodies += dice.choices(bodies, k=len(bodies)) if bodies else []
        if script.get("order") == "shuffled":
            dice.shuffle(bodies)
        for one in bodies:
            await self.post(body, one)

    async def upload(self, body: dict[str, Any], name: str) -> str:
        query = {"file_name": name, "run_id": body["prompt_id"], "type": "image/png", "version": "v2"}
        headers = {"Authorization": f"Bearer {body['cd_token']}"}
        async with self.session.get(body["file_upload_endpoint"], params=query, headers=headers) as answer:
            granted = await answer.json()
        sent = {"Content-Type": "image/png"}
        async with self.session.put(granted["url"], data=PNG + name.encode(), headers=sent) as answer:
            self.answers.append(answer.status)
        return granted["download_url"]

    async def post(self, body: dict[str, Any], callback: dict[str, Any]) -> None:
        callback = {**callback, "run_id": body["prompt_id"]}
        headers = {"Authorization": f"Bearer {body['cd_token']}"}
        async with self.session.post(body["status_endpoint"], json=callback, headers=headers) as answer:
            self.answers.append(answer.status)

    async def stats(self, _: web.Request) -> web.Response:
        return web.json_response({"system": {"comfyui_version": "0.3.64"}, "devices": []})

    async def object_info(self, _: web.Request) -> web.Response:
        return web.json_response({name: {} for name in CLASSES})

    async def folders(self, _: web.Request) -> web.Response:
        return web.json_response(["checkpoints"])

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response(["a.safetensors"])

    async def queue(self, _: web.Request) -> web.Response:
        running = [[0, self.running, {}, {}, []]] if self.running else []
        pending = [[1, prompt_id, {}, {}, []] for prompt_id, _, _ in self.pending]
        return web.json_response(
            {"queue_running": [*running, [0, "somebody's own", {}, {}, []]], "queue_pending": pending}
        )

    async def edit_queue(self, request: web.Request) -> web.Response:
        gone = (await request.json())["delete"]
        self.pending = [one for one in self.pending if one[0] not in gone]
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        assert (await request.json())["prompt_id"] == self.running
        self.interrupted.set()
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        return web.json_response({wanted: self.history[wanted]} if wanted in self.history else {})

    async def check_status(self, request: web.Request) -> web.Response:
        status = self.status.get(request.query["prompt_id"])
        return web.json_response({"status": status} if status else {"message": "prompt_id not found"})

    async def view(self, request: web.Request) -> web.Response:
        return web.Response(body=PNG + request.query["filename"].encode(), content_type="image/png")

    async def seen(self, _: web.Request) -> web.Response:
        return web.json_response({"orders": self.orders, "answers": self.answers})

    async def nothing(self, _: web.Request) -> web.Response:
        return web.json_response({"message": "ok"})


async def main(port_file: Path, port: int) -> None:
    """Serve until killed."""
    machine, app = Machine(port_file.with_name("died")), web.Application(client_max_size=2**26)
    app.router.add_post("/comfyui-deploy/run", machine.run)
    app.router.add_post("/comfyui-deploy/interrupt", machine.nothing)
    app.router.add_get("/comfyui-deploy/check-status", machine.check_status)
    app.router.add_get("/system_stats", machine.stats)
    app.router.add_get("/object_info", machine.object_info)
    app.router.add_get("/models", machine.folders)
    app.router.add_get("/models/{folder}", machine.models)
    app.router.add_get("/queue", machine.queue)
    app.router.add_post("/queue", machine.edit_queue)
    app.router.add_post("/interrupt", machine.interrupt)
    app.router.add_get("/history/{id}", machine.get_history)
    app.router.add_get("/view", machine.view)
    app.router.add_get("/seen", machine.seen)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    number = runner.addresses[0][1]
    port_file.with_suffix(".new").write_text(str(number))
    port_file.with_suffix(".new").rename(port_file)
    await machine.work()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(main(options.port_file, options.port))
