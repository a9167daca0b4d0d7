"""The image loop on the whole fleet: pictures in, pictures out, on one machine for as long as the socket is open."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.fleet_process import FleetProcess
from tests.system import EXTERNAL, Team, node

pytestmark = pytest.mark.anyio
PATIENCE_S = 60
GRAPH = {
    "1": node("ComfyDeployWebscoketImageInput", input_id="camera", seed=0),
    "2": node(f"{EXTERNAL}Boolean", input_id="inverted", default_value=True),
    "3": node("ImageInvert", image=["1", 0]),
    "4": node("ComfyDeployWebscoketImageOutput", output_id="screen", images=["3", 0], file_type="PNG", quality=80),
}


def _frame(colour: tuple[int, int, int], size: int = 32, name: str = "camera") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "PNG")
    head = (0).to_bytes(4, "little") + (2).to_bytes(4, "little") + name.encode().ljust(24, b" ")
    return head + buffer.getvalue()


def _next(socket: ClientConnection, wanted: str) -> Any:
    """The next picture (`image`) or message of an event; others are passed over."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        message = socket.recv(timeout=PATIENCE_S)
        if isinstance(message, bytes):
            if wanted == "image":
                return message
        elif json.loads(message)["event"] == wanted:
            return json.loads(message)["data"]
    raise AssertionError(f"no {wanted}")


def _colour(frame: bytes) -> tuple[int, int, int]:
    assert (int.from_bytes(frame[:4], "big"), frame[8:32]) == (1, b"screen".ljust(24, b"\0"))
    with Image.open(io.BytesIO(frame[32:])) as image:
        return image.convert("RGB").getpixel((0, 0))


def _open(fleet: FleetProcess, deployment_id: str) -> ClientConnection:
    url = f"{fleet.url.replace('http', 'ws', 1)}/api/v1/realtime/{deployment_id}?token={fleet.api_key}"
    return connect(url, max_size=64_000_000, proxy=None)


async def test_pictures_go_round_until_the_client_leaves(fleet: FleetProcess, team: Team) -> None:
    """Each picture comes back inverted with its latency; when the socket closes the run ends well, on one machine."""
    deployment_id = await team.deploy(GRAPH)
    with _open(fleet, deployment_id) as socket:
        run_id = _next(socket, "status")["sid"]
        for sent, back in (((255, 0, 0), (0, 255, 255)), ((0, 0, 255), (255, 255, 0)), ((255, 255, 255), (0, 0, 0))):
            socket.send(_frame(sent))
            assert _colour(_next(socket, "image")) == back
            latency = _next(socket, "latency")
            assert 0 < latency["machine_ms"] <= latency["total_ms"]
        socket.send(json.dumps({"event": "input", "inputs": {"inverted": False}}))
        assert _colour(_next(socket, "image")) == (0, 0, 0)
    run = await team.succeed(run_id)
    assert len(run["attempt_list"]) == 1


async def test_old_pictures_are_dropped_when_the_machine_is_behind(fleet: FleetProcess, team: Team) -> None:
    """Of many pictures at once the machine gets some and the newest; the others are counted as dropped."""
    deployment_id = await team.deploy(GRAPH)
    with _open(fleet, deployment_id) as socket:
        socket.send(_frame((1, 1, 1)))
        _next(socket, "image")
        dropped = _next(socket, "latency")["dropped"]
        for shade in range(2, 200):
            socket.send(_frame((shade, 0, 0), 64))
        socket.send(_frame((0, 0, 255)))
        answers = 0
        while _colour(_next(socket, "image")) != (255, 255, 0):
            dropped += _next(socket, "latency")["dropped"]
            answers += 1
        dropped += _next(socket, "latency")["dropped"]
    assert answers < 190
    assert answers + dropped >= 190


async def test_a_workflow_that_fails_ends_the_loop(fleet: FleetProcess, team: Team) -> None:
    """The client is told, the socket is closed, and the run failed."""
    loaded = node("LoadImage", image="nowhere.png")
    blend = node("ImageBlend", image1=["1", 0], image2=["5", 0], blend_factor=0.5, blend_mode="normal")
    deployment_id = await team.deploy({**GRAPH, "5": loaded, "3": blend})
    with _open(fleet, deployment_id) as socket:
        run_id = _next(socket, "status")["sid"]
        socket.send(_frame((1, 2, 3)))
        assert _next(socket, "failed") == {"prompt_id": run_id}
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=PATIENCE_S)
    assert (await team.look(run_id))["status"] == "failed"


async def test_what_cannot_be_run_closes_the_socket(fleet: FleetProcess, team: Team) -> None:
    """A deployment that is not there: the reason is in the close frame."""
    with (
        pytest.raises(ConnectionClosed) as closed,
        _open(fleet, "01a1fddb-9153-7016-a067-11f141b29d4e") as socket,
    ):
        socket.recv(timeout=PATIENCE_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.reason.startswith("deployment_not_found")
