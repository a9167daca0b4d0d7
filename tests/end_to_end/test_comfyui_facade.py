"""A plain ComfyUI client (urllib and a WebSocket, as ComfyUI's own example does it) on the whole fleet."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from tests.fleet_process import FleetProcess, until
from tests.system import laborious, node

PATIENCE_S = 60


class Tool:
    """A tool that knows ComfyUI's API, an address, and the key that it puts into it."""

    def __init__(self, fleet: FleetProcess) -> None:
        self.client_id = uuid4().hex
        self._address = f"{fleet.url.removeprefix('http://')}/comfy"
        self._token = urllib.parse.urlencode({"token": fleet.api_key})

    def url(self, path: str, **query: str) -> str:
        return f"http://{self._address}{path}?{self._token}&{urllib.parse.urlencode(query)}"

    def get(self, path: str, **query: str) -> Any:
        return json.loads(self.raw(path, **query))

    def raw(self, path: str, **query: str) -> bytes:
        with urllib.request.urlopen(self.url(path, **query), timeout=PATIENCE_S) as answer:
            return answer.read()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """As the example posts: without a word on what the body is."""
        request = urllib.request.Request(self.url(path), data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def queue(self, graph: dict[str, Any], **more: Any) -> str:
        return self.post("/prompt", {"prompt": graph, "client_id": self.client_id, **more})["prompt_id"]

    def socket(self) -> ClientConnection:
        url = f"ws://{self._address}/ws?clientId={self.client_id}&{self._token}"
        return connect(url, max_size=64_000_000, proxy=None)


@pytest.fixture
def tool(fleet: FleetProcess) -> Iterator[Tool]:
    tool = Tool(fleet)
    until(lambda: "SaveImage" in tool.get("/object_info"), "machines tell what their classes take")
    return tool


def _square(colour: int, output: str = "SaveImage") -> dict[str, Any]:
    saved = {"filename_prefix": "square"} if output == "SaveImage" else {}
    return {
        "1": node("EmptyImage", width=16, height=16, batch_size=1, color=colour),
        "9": node(output, images=["1", 0], **saved),
    }


def _until_done(socket: ClientConnection, prompt_id: str) -> list[dict[str, Any]]:
    """The messages of a prompt, to its `executing` without a node."""
    seen = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        frame = socket.recv(timeout=PATIENCE_S)
        if isinstance(frame, bytes):
            continue
        message = json.loads(frame)
        if message["data"].get("prompt_id") == prompt_id:
            seen.append(message)
            if message["type"] == "executing" and message["data"]["node"] is None:
                return seen
    raise AssertionError(f"no end of {prompt_id}: {seen}")


@pytest.mark.parametrize("output", ["SaveImage", "PreviewImage"])
def test_a_prompt_is_queued_followed_and_fetched(tool: Tool, output: str) -> None:
    """Queue, listen, look into the history, view the image: the example's way, for saved images and for previews."""
    with tool.socket() as socket:
        first = json.loads(socket.recv(timeout=PATIENCE_S))
        assert (first["type"], first["data"]["sid"]) == ("status", tool.client_id)
        prompt_id = tool.queue(_square(0x123456, output), extra_data={"extra_pnginfo": {"workflow": {"a": 1}}})
        seen = _until_done(socket, prompt_id)
    assert [message["type"] for message in seen].count("executed") == 1
    messages = [message for message in seen if message["type"] != "progress_state"]
    kinds = [message["type"] for message in messages]
    assert kinds[:2] == ["execution_start", "execution_cached"]
    assert kinds[-3:] == ["executed", "execution_success", "executing"]
    entry = tool.get(f"/history/{prompt_id}")[prompt_id]
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("success", True)
    assert entry["prompt"][1:4] == [prompt_id, _square(0x123456, output), {"extra_pnginfo": {"workflow": {"a": 1}}}]
    (item,) = entry["outputs"]["9"]["images"]
    assert messages[-3]["data"]["output"] == {"images": [item]}
    with Image.open(io.BytesIO(tool.raw("/view", **item))) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (0x12, 0x34, 0x56)
        assert json.loads(image.info["workflow"]) == {"a": 1}


def test_an_uploaded_image_is_loaded_by_its_name(tool: Tool, fleet: FleetProcess) -> None:
    """An upload's name in LoadImage stands for its bytes; another content gets another name; outputs are inputs too."""
    names = []
    for colour in ((255, 0, 0), (0, 255, 0), (255, 0, 0)):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
        answer = httpx.post(tool.url("/upload/image"), files={"image": ("tint.png", buffer.getvalue(), "image/png")})
        names.append(answer.json()["name"])
    assert names == ["tint.png", "tint (1).png", "tint.png"]
    assert names[1] in tool.get("/object_info/LoadImage")["LoadImage"]["input"]["required"]["image"][0]
    graph = {"1": node("LoadImage", image="tint (1).png"), "2": node("SaveImage", images=["1", 0], filename_prefix="t")}
    with tool.socket() as socket:
        prompt_id = tool.queue(graph)
        _until_done(socket, prompt_id)
        item = tool.get(f"/history/{prompt_id}")[prompt_id]["outputs"]["2"]["images"][0]
        again = f"{item['subfolder']}/{item['filename']} [output]"
        second = tool.queue({**graph, "1": node("LoadImage", image=again)})
        _until_done(socket, second)
    for each in (prompt_id, second):
        item = tool.get(f"/history/{each}")[each]["outputs"]["2"]["images"][0]
        with Image.open(io.BytesIO(tool.raw("/view", **item))) as image:
            assert image.convert("RGB").getpixel((0, 0)) == (0, 255, 0)


def test_progress_names_the_node_at_work(tool: Tool) -> None:
    """While it runs, `executing` and `progress_state` name nodes of the graph."""
    graph = laborious(12)
    graph["1"]["inputs"] = {"input_id": "colour", "default_value": 4711}
    with tool.socket() as socket:
        messages = _until_done(socket, tool.queue(graph))
    named = {message["data"]["node"] for message in messages if message["type"] == "executing"} - {None}
    assert named
    assert named <= set(graph)


def test_only_the_senders_own_prompt_is_interrupted(tool: Tool, fleet: FleetProcess) -> None:
    """An interrupt stops the sender's prompt, which ends as interrupted; another sender's goes on."""
    headers = {"Authorization": f"Bearer {fleet.api_key}"}
    made = httpx.post(f"{fleet.url}/api/v1/api-keys", headers=headers, json={"name": "another tool"}).json()
    graph = laborious(400)
    graph["1"]["inputs"] = {"input_id": "colour", "default_value": 99}
    other_headers = {"Authorization": f"Bearer {made['key']}"}
    with tool.socket() as socket, httpx.Client(base_url=f"{fleet.url}/comfy", headers=other_headers) as other:
        prompt_id = tool.queue(graph)
        until(lambda: [item[1] for item in tool.get("/queue")["queue_running"]] == [prompt_id], "it runs")
        assert other.get("/queue").json() == {"queue_running": [], "queue_pending": []}
        assert other.post("/interrupt", json={"prompt_id": prompt_id}).status_code == 200
        assert other.get(f"/history/{prompt_id}").json() == {}
        assert [item[1] for item in tool.get("/queue")["queue_running"]] == [prompt_id]
        tool.post("/interrupt", {})
        messages = _until_done(socket, prompt_id)
    assert messages[-2]["type"] == "execution_interrupted"
    assert tool.get(f"/history/{prompt_id}")[prompt_id]["status"]["status_str"] == "error"
    assert tool.get("/prompt")["exec_info"]["queue_remaining"] == 0


def test_a_graph_that_cannot_begin_is_refused_as_comfyui_does(tool: Tool) -> None:
    """Unknown classes and graphs without outputs: 400, with ComfyUI's names for it."""
    for graph, kind in (
        ({"1": node("ThereIsNoSuchNode")}, "invalid_prompt"),
        ({"1": node("EmptyImage", width=16, height=16, batch_size=1, color=0)}, "prompt_no_outputs"),
        ({"1": node("SaveImage", images=["7", 0])}, "prompt_outputs_failed_validation"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            tool.queue(graph)
        body = json.loads(refused.value.read())
        assert (refused.value.code, body["error"]["type"]) == (400, kind)


def test_object_info_says_which_machines_have_a_class(tool: Tool) -> None:
    """Both machines have the built-in classes; what they take is described as the executor describes it."""
    info = tool.get("/object_info/EmptyImage")["EmptyImage"]
    assert sorted(info["availability"]["machines"]) == ["alpha", "beta"]
    assert info["input"]["required"]["width"][0] == "INT"
    assert len(tool.get("/system_stats")["devices"]) == 2


def test_a_node_that_fails_is_an_execution_error(tool: Tool) -> None:
    """The message and the history name the error of a prompt that a machine refused or failed."""
    graph = {"1": node("LoadImage", image="nowhere.png"), "2": node("SaveImage", images=["1", 0], filename_prefix="t")}
    with tool.socket() as socket:
        prompt_id = tool.queue(graph)
        messages = _until_done(socket, prompt_id)
    error = messages[-2]
    assert error["type"] == "execution_error"
    assert error["data"]["exception_message"]
    assert tool.get(f"/history/{prompt_id}")[prompt_id]["status"]["messages"][-1][0] == "execution_error"
