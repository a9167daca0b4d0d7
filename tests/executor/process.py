"""A real executor process for tests, and a client that speaks to it as any ComfyUI client does."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import torch
from PIL import Image
from safetensors.torch import save_file

from comfy_core.models.srvgg import SRVGGNetCompact

ROOT = Path(__file__).resolve().parents[2]
START_S = 120
RUN_S = 60


class Executor:
    """`python -m comfy_core` in a folder of its own, on a free port."""

    def __init__(self, base: Path, *flags: str) -> None:
        self.base = base
        self.log = base / "log"
        argv = [
            sys.executable,
            "-m",
            "comfy_core",
            "--port",
            "0",
            "--cpu",
            "--threads",
            "2",
            "--base-directory",
            str(base),
            *flags,
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=ROOT, stderr=log, stdout=log)
        self.port = self._wait_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def _wait_port(self) -> int:
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            for line in self.lines():
                if line.get("event") == "listening":
                    return int(line["port"])
            time.sleep(0.02)
        raise AssertionError(f"the executor did not start:\n{self.log.read_text()}")

    def lines(self) -> list[dict[str, Any]]:
        """The log so far; every whole line is one JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send a signal and wait for the end; the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=10)
        return time.monotonic() - started


def nearest_upscaler(path: Path, scale: int = 2) -> None:
    """Weights whose learned part is nothing: the result is the image enlarged by repetition, to be checked exactly."""
    net = SRVGGNetCompact(3, 3, features=8, convolutions=2, scale=scale)
    state = {key: tensor * 0 if key.startswith("body.6.") else tensor for key, tensor in net.state_dict().items()}
    save_file(state, path)


def picture(path: Path, width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """A file of noise that is the same every time."""
    bands = len(mode)
    values = torch.randint(0, 256, (height, width, bands), generator=torch.Generator().manual_seed(5))
    made = Image.fromarray(values.to(torch.uint8).numpy().squeeze())
    made.save(path)
    return made


class Client:
    """One WebSocket and an HTTP session, as one ComfyUI client has them."""

    def __init__(self, url: str, session: aiohttp.ClientSession, client_id: str) -> None:
        self.url, self.session, self.client_id = url, session, client_id
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    @property
    def socket(self) -> aiohttp.ClientWebSocketResponse:
        assert self._socket is not None
        return self._socket

    async def connect(self) -> dict[str, Any]:
        """Open the socket; its first message."""
        self._socket = await self.session.ws_connect(f"{self.url}/ws?clientId={self.client_id}")
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        """The next text message. The timeout that aiohttp offers begins anew with every ping of the server."""
        async with asyncio.timeout(RUN_S):
            said: dict[str, Any] = json.loads(await self.socket.receive_str())
        return said

    async def get(self, path: str) -> Any:
        """A JSON answer."""
        async with self.session.get(self.url + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and answer, JSON where it is."""
        async with self.session.post(self.url + path, data=io.BytesIO(json.dumps(body).encode())) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text

    async def queue(self, prompt: dict[str, Any], **more: Any) -> str:
        """Queue a prompt that is sound; its id."""
        status, body = await self.post("/prompt", {"prompt": prompt, "client_id": self.client_id, **more})
        assert status == 200, body
        return str(body["prompt_id"])

    async def run(self, prompt: dict[str, Any], **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Queue a prompt and listen to its end: (history entry, messages)."""
        prompt_id = await self.queue(prompt, **more)
        messages = await self.until_end(prompt_id)
        return (await self.get(f"/history/{prompt_id}"))[prompt_id], messages

    async def until_end(self, prompt_id: str) -> list[dict[str, Any]]:
        """All messages up to `executing: null` of this prompt."""
        heard: list[dict[str, Any]] = []
        while True:
            heard.append(await self.hear())
            data = heard[-1]["data"]
            if heard[-1]["type"] == "executing" and data["node"] is None and data.get("prompt_id") == prompt_id:
                return heard


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def upscale(image: str, model: str = "nearest2.safetensors") -> dict[str, Any]:
    """LoadImage -> ImageUpscaleWithModel -> SaveImage."""
    return {
        "load": n("LoadImage", image=image),
        "model": n("UpscaleModelLoader", model_name=model),
        "up": n("ImageUpscaleWithModel", upscale_model=["model", 0], image=["load", 0]),
        "save": n("SaveImage", images=["up", 0], filename_prefix="up"),
    }
