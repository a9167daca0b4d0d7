"""What tests of the whole system say to it: a team's calls to the public API, and small graphs to run.

It speaks HTTP only; the answers are plain JSON. It does not know which processes serve it.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import httpx
from PIL import Image

from tests.fleet_process import NotInTime

ENDED = ("success", "failed", "timeout", "cancelled")
EXTERNAL = "ComfyUIDeployExternal"
_numbers = count(1)


class Team:
    """One organisation's caller, with its API key."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {api_key}"}
        self.http = httpx.AsyncClient(base_url=f"{url}/api/v1", headers=self.headers, timeout=30)
        self.anybody = httpx.AsyncClient(base_url=url, timeout=30)

    async def __aenter__(self) -> Team:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        await self.anybody.aclose()

    async def call(self, method: str, path: str, status: int, **options: Any) -> Any:
        """The decoded answer of a call that must have this status."""
        answer = await self.http.request(method, path, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def upload(self, name: str, data: bytes, content_type: str = "image/png") -> dict[str, Any]:
        return await self.call("POST", "/files", 201, files={"file": (name, data, content_type)})

    async def version(self, graph: dict[str, Any], name: str = "a workflow") -> dict[str, Any]:
        """A new workflow's first version."""
        made = await self.call("POST", "/workflows", 201, json={"name": name})
        return await self.call("POST", f"/workflows/{made['id']}/versions", 201, json={"api_graph": graph})

    async def deploy(self, graph: dict[str, Any], **placement: Any) -> str:
        """Deploy a graph as a workflow of its own; the deployment's id."""
        version = await self.version(graph)
        made = await self.call("POST", "/deployments", 201, json={"version_id": version["id"], **placement})
        return made["id"]

    async def start(self, deployment_id: str, inputs: dict[str, Any] | None = None, **options: Any) -> str:
        """Start a run; its id."""
        body = {"deployment_id": deployment_id, "inputs": inputs or {}, **options}
        return (await self.call("POST", "/runs", 202, json=body))["id"]

    async def look(self, run_id: str) -> dict[str, Any]:
        return await self.call("GET", f"/runs/{run_id}", 200)

    async def until(self, run_id: str, good: Callable[[dict[str, Any]], Any], timeout: float = 60) -> dict[str, Any]:
        """The run, once it is as wanted."""
        return await until(lambda: self.look(run_id), good, timeout)

    async def until_status(self, run_id: str, *wanted: str, timeout: float = 60) -> dict[str, Any]:
        """The run in one of these statuses; one that ended otherwise is an error at once."""
        run = await self.until(run_id, lambda run: run["status"] in (*wanted, *ENDED), timeout)
        assert run["status"] in wanted, run
        return run

    async def succeed(self, run_id: str, timeout: float = 60) -> dict[str, Any]:
        return await self.until_status(run_id, "success", timeout=timeout)

    async def machine(self, name: str) -> dict[str, Any]:
        page = await self.call("GET", "/machines?limit=100", 200)
        return next(machine for machine in page["items"] if machine["name"] == name)

    async def picture(self, run: dict[str, Any], place: int = 0) -> Image.Image:
        """The run's output, fetched by its signed URL without any credential."""
        answer = await self.anybody.get(run["outputs"][place]["url"])
        assert answer.status_code == 200, answer.text
        with Image.open(io.BytesIO(answer.content)) as image:
            return image.convert("RGB")

    async def events(self, run_id: str, after: int | None = None) -> AsyncIterator[tuple[str, str | None, dict]]:
        """(event, id, data) from the run's stream until it ends or is left."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        async with self.http.stream("GET", f"/runs/{run_id}/events", headers=headers, timeout=60) as answer:
            assert answer.status_code == 200, await answer.aread()
            fields: dict[str, str] = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name in ("id", "event", "data"):
                    fields[name] = value
                elif line == "" and "data" in fields:
                    yield fields["event"], fields.get("id"), json.loads(fields["data"])
                    fields = {}


async def until(
    look: Callable[[], Awaitable[dict[str, Any]]], good: Callable[[dict[str, Any]], Any], timeout: float = 60
) -> dict[str, Any]:
    """What look() answers, once it is good. Raises NotInTime with the last answer."""
    deadline = time.monotonic() + timeout
    while not good(seen := await look()):
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {timeout:g} s: {seen}")
        await asyncio.sleep(0.05)
    return seen


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def scaled_picture(width: int, height: int, method: str = "area") -> dict[str, Any]:
    """The external image `picture`, scaled and saved."""
    return {
        "1": node(f"{EXTERNAL}Image", input_id="picture"),
        "2": node("ImageScale", image=["1", 0], upscale_method=method, width=width, height=height, crop="disabled"),
        "3": node("SaveImage", images=["2", 0], filename_prefix="scaled"),
    }


def coloured(side: int = 64) -> dict[str, Any]:
    """A square of the colour that the input `colour` (0xRRGGBB) gives."""
    return {
        "1": node(f"{EXTERNAL}NumberInt", input_id="colour", default_value=0),
        "2": node("EmptyImage", width=side, height=side, batch_size=1, color=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="colour"),
    }


def laborious(steps: int, side: int = 1536) -> dict[str, Any]:
    """The square of `coloured`, 64 pixels wide in the end, after so many enlargements and reductions on the way.

    A step takes some 0.1 s of a CPU core, and between two of them a run can be stopped.
    """
    graph = coloured(64)
    last = "2"
    for step in range(steps):
        for suffix, width in (("up", side), ("down", 64)):
            name = f"{suffix}{step}"
            graph[name] = node(
                "ImageScale", image=[last, 0], upscale_method="lanczos", width=width, height=width, crop="disabled"
            )
            last = name
    graph["3"]["inputs"]["images"] = [last, 0]
    return graph


def new_colour() -> dict[str, int]:
    """Inputs that no run had before, so that no executor answers from its cache."""
    return {"colour": next(_numbers) * 0x10203 % 0x1000000}


def rgb(colour: int) -> tuple[int, int, int]:
    return colour >> 16, colour >> 8 & 0xFF, colour & 0xFF


def is_square_of(image: Image.Image, colour: int, side: int = 64) -> bool:
    """Whether every pixel is of that colour."""
    return image.size == (side, side) and image.getcolors() == [(side * side, rgb(colour))]
