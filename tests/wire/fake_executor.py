"""A tiny executor in its own process that speaks as much of ComfyUI's API as the agent uses, for tests of the agent.

Nodes: LoadFile (file) and SaveFile (copy of a LoadFile's file), Wait (until the file `go` exists beside the
output folder), Raise (type, message), Say (text), Steps (progress, previews), Text (ui value), Extra (the prompt's
extra_data as a ui value). It computes no images.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
from pathlib import Path

from aiohttp import WSMsgType, web

CLASSES = ["Extra", "LoadFile", "Raise", "SaveFile", "Say", "Steps", "Text", "Wait"]


class Executor:
    def __init__(self, options: argparse.Namespace) -> None:
        self.input = Path(options.input_directory)
        self.output = Path(options.output_directory)
        self.history: dict[str, dict] = {}
        self.pending: list[tuple[str, dict, dict]] = []
        self.running: str | None = None
        self.extra: dict = {}
        self.interrupted = asyncio.Event()
        self.wake = asyncio.Event()
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.cached: dict[str, dict] = {}
        self.runs = 0

    async def stats(self, _: web.Request) -> web.Response:
        return web.json_response({"system": {"comfyui_version": "fake", "python_version": "3"}, "devices": []})

    async def object_info(self, _: web.Request) -> web.Response:
        return web.json_response({name: {"name": name} for name in CLASSES})

    async def prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        for node_id, node in body["prompt"].items():
            if node["class_type"] not in CLASSES:
                error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
                bad = {"type": "x", "message": "No such node", "details": node["class_type"], "extra_info": {}}
                errors = {node_id: {"errors": [bad], "dependent_outputs": [], "class_type": node["class_type"]}}
                return web.json_response({"error": error, "node_errors": errors}, status=400)
        self.pending.append((body["prompt_id"], body["prompt"], body.get("extra_data", {})))
        self.wake.set()
        return web.json_response({"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}})

    async def queue(self, _: web.Request) -> web.Response:
        running = [[0, self.running, {}, {}, []]] if self.running else []
        pending = [[1, prompt_id, {}, {}, []] for prompt_id, _, _ in self.pending]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def edit_queue(self, request: web.Request) -> web.Response:
        gone = set((await request.json()).get("delete", []))
        self.pending = [item for item in self.pending if item[0] not in gone]
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        if (await request.json()).get("prompt_id") == self.running:
            self.interrupted.set()
        return web.Response()

    async def free(self, _: web.Request) -> web.Response:
        self.cached.clear()
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        return web.json_response({prompt_id: self.history[prompt_id]} if prompt_id in self.history else {})

    async def edit_history(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json()).get("delete", []):
            self.history.pop(prompt_id, None)
        return web.Response()

    async def ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query["clientId"]
        self.sockets[client] = socket
        await socket.send_json({"type": "status", "data": {"sid": client}})
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                break
        self.sockets.pop(client, None)
        return socket

    async def tell(self, prompt_id: str, name: str, **data: object) -> None:
        socket = self.sockets.get(prompt_id)
        if socket is not None:
            await socket.send_json({"type": name, "data": {"prompt_id": prompt_id, **data}})

    async def work(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.pending:
                self.running, prompt, self.extra = self.pending.pop(0)
                self.interrupted.clear()
                entry = await self.execute(self.running, prompt)
                self.history[self.running] = entry
                prompt_id, self.running = self.running, None
                await self.tell(prompt_id, "executing", node=None)

    async def execute(self, prompt_id: str, prompt: dict) -> dict:
        key = json.dumps(prompt, sort_keys=True)
        if key in self.cached:
            return self.cached[key]
        outputs: dict[str, dict] = {}
        messages: list = []
        for node_id, node in prompt.items():
            await self.tell(prompt_id, "executing", node=node_id)
            problem = await self.node(prompt_id, prompt, node_id, node, outputs)
            if node_id in outputs:
                await self.tell(prompt_id, "executed", node=node_id, output=outputs[node_id])
            if self.interrupted.is_set():
                messages.append(["execution_interrupted", {"prompt_id": prompt_id, "node_id": node_id}])
                return _entry(outputs, "error", messages)
            if problem is not None:
                about = {"prompt_id": prompt_id, "node_id": node_id, "node_type": node["class_type"], **problem}
                return _entry(outputs, "error", [["execution_error", about]])
        self.cached[key] = _entry(outputs, "success", messages)
        return self.cached[key]

    async def node(self, prompt_id: str, prompt: dict, node_id: str, node: dict, outputs: dict) -> dict | None:
        inputs = node["inputs"]
        match node["class_type"]:
            case "Raise":
                return {
                    "exception_type": inputs["type"],
                    "exception_message": inputs["message"],
                    "traceback": ["line\n"],
                }
            case "Say":
                print(inputs["text"], end="", flush=True)
            case "Extra" | "Text" as kind:
                outputs[node_id] = {"extra": [self.extra]} if kind == "Extra" else {"text": [inputs["text"]]}
            case "SaveFile":
                outputs[node_id] = self.save(prompt, inputs)
            case "Steps":
                for step in range(1, inputs["steps"] + 1):
                    await self.tell(prompt_id, "progress", value=step, max=inputs["steps"], node=node_id)
                    if prompt_id in self.sockets:
                        await self.sockets[prompt_id].send_bytes(bytes([0, 0, 0, 1, 0, 0, 0, 1]) + b"jpeg")
                    await asyncio.sleep(inputs.get("pause", 0))
            case "Wait":
                while not (self.output.parent / "go").exists() and not self.interrupted.is_set():
                    await asyncio.sleep(0.02)
        return None

    def save(self, prompt: dict, inputs: dict) -> dict:
        self.runs += 1
        source = self.input / prompt[inputs["file"][0]]["inputs"]["file"]
        name = f"out_{self.runs:05}{source.suffix}"
        shutil.copyfile(source, self.output / name)
        preview = {"filename": "preview.png", "subfolder": "", "type": "temp"}
        return {"images": [{"filename": name, "subfolder": "", "type": "output"}, preview]}


def _entry(outputs: dict, status: str, messages: list) -> dict:
    about = {"status_str": status, "completed": status == "success", "messages": messages}
    return {"prompt": [], "outputs": outputs, "meta": {}, "status": about}


async def serve(options: argparse.Namespace) -> None:
    executor = Executor(options)
    app = web.Application()
    app.add_routes(
        [
            web.get("/system_stats", executor.stats),
            web.get("/object_info", executor.object_info),
            web.post("/prompt", executor.prompt),
            web.get("/queue", executor.queue),
            web.post("/queue", executor.edit_queue),
            web.post("/interrupt", executor.interrupt),
            web.post("/free", executor.free),
            web.get("/history/{id}", executor.get_history),
            web.post("/history", executor.edit_history),
            web.get("/ws", executor.ws),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port).start()
    await executor.work()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--input-directory")
    parser.add_argument("--output-directory")
    asyncio.run(serve(parser.parse_args()))
