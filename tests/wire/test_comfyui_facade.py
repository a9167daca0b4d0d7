"""The ComfyUI facade at its border: who is let in, links, names, history and what a front end keeps. No machine."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import shutil
from typing import Any

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from drivers.wire import AskObjectInfo, Inventory
from tests.wire.conftest import start_orchestrator
from tests.wire.fake_agent import connected, register
from tests.wire.strangers import client_with, stranger_of

pytestmark = pytest.mark.anyio

GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 7}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


async def _sender(api: httpx.AsyncClient, role: str = "developer") -> str:
    """A new key: a sender of its own."""
    return (await api.post("/api/v1/api-keys", json={"name": secrets.token_hex(4), "role": role})).json()["key"]


@pytest.fixture
async def tool(api, orchestrator):
    """A ComfyUI client of a sender of its own."""
    async with client_with(orchestrator, await _sender(api)) as client:
        yield client


async def _queue(client: httpx.AsyncClient, **more: Any) -> str:
    answer = await client.post("/comfy/prompt", json={"prompt": GRAPH, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["prompt_id"]


async def test_a_key_is_taken_from_the_header_or_the_address(api, nobody, orchestrator):
    """Both ways let in, under both prefixes; without a key nothing is told."""
    key = await _sender(api)
    for prefix in ("/comfy", "/comfy/api"):
        headers = {"Authorization": f"Bearer {key}"}
        assert (await nobody.get(f"{prefix}/features", headers=headers)).status_code == 200
        assert (await nobody.get(f"{prefix}/features?token={key}")).status_code == 200
        assert (await nobody.get(f"{prefix}/features?token=cf_wrong")).status_code == 401
        assert (await nobody.get(f"{prefix}/features")).status_code == 401
    assert (await nobody.get(f"/api/v1/auth/me?token={key}")).status_code == 401


async def test_a_link_opens_the_facade_once_and_nothing_else(tool, orchestrator):
    """The link's cookie acts for its maker under /comfy only; the link is spent, and other sites' pages may not act."""
    link = (await tool.post("/api/v1/comfyui-links")).json()["url"]
    prompt_id = await _queue(tool)
    async with httpx.AsyncClient(base_url=orchestrator.url) as browser:
        entered = await browser.get(link)
        assert (entered.status_code, entered.headers["location"]) == (303, "/comfy/")
        cookie = entered.headers["set-cookie"]
        assert all(part in cookie for part in ("HttpOnly", "Path=/comfy", "SameSite=lax"))
        pending = (await browser.get("/comfy/queue")).json()["queue_pending"]
        assert [item[1] for item in pending] == [prompt_id]
        assert (await browser.get("/api/v1/runs")).status_code == 401
        own = {"Origin": orchestrator.url}
        other = {"Origin": "https://elsewhere.example"}
        assert (await browser.post("/comfy/prompt", json={"prompt": GRAPH}, headers=own)).status_code == 200
        assert (await browser.post("/comfy/prompt", json={"prompt": GRAPH}, headers=other)).status_code == 403
    async with httpx.AsyncClient(base_url=orchestrator.url) as late:
        assert (await late.get(link)).status_code == 410
        assert (await late.get("/comfy/enter?code=made-up")).status_code == 410


async def test_a_link_gives_no_more_than_its_maker_has(api, orchestrator):
    """The browser of a key with scopes has these and no others."""
    wanted = {"name": "narrow", "scopes": ["runs:read", "runs:write"]}
    key = (await api.post("/api/v1/api-keys", json=wanted)).json()["key"]
    async with client_with(orchestrator, key) as maker:
        link = (await maker.post("/api/v1/comfyui-links")).json()["url"]
    async with httpx.AsyncClient(base_url=orchestrator.url) as browser:
        await browser.get(link)
        assert (await browser.get("/comfy/queue")).status_code == 200
        assert (await browser.get("/comfy/object_info")).status_code == 403
        assert (await browser.get("/comfy/settings")).status_code == 403


async def test_a_link_ends_with_the_key_that_made_it(api, orchestrator):
    """A revoked key's links and their cookies let nobody in."""
    made = (await api.post("/api/v1/api-keys", json={"name": "short-lived"})).json()
    async with client_with(orchestrator, made["key"]) as maker:
        link = (await maker.post("/api/v1/comfyui-links")).json()["url"]
    async with httpx.AsyncClient(base_url=orchestrator.url) as browser:
        await browser.get(link)
        assert (await browser.get("/comfy/queue")).status_code == 200
        assert (await api.delete(f"/api/v1/api-keys/{made['id']}")).status_code == 204
        assert (await browser.get("/comfy/queue")).status_code == 401


async def test_the_socket_says_who_it_is_and_what_waits(tool, orchestrator):
    """The first message has the client's id and the queue; a prompt changes it; features are agreed on."""
    token = tool.headers["authorization"].removeprefix("Bearer ")
    url = orchestrator.url.replace("http", "ws", 1) + f"/comfy/ws?clientId=me&token={token}"
    async with connect(url, proxy=None) as socket:
        first = json.loads(await socket.recv())
        status = {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"}
        assert first == {"type": "status", "data": status}
        await socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        assert json.loads(await socket.recv())["data"]["supports_preview_metadata"] is True
        prompt_id = await _queue(tool, client_id="me")
        assert json.loads(await socket.recv())["data"]["status"]["exec_info"]["queue_remaining"] == 1
        await tool.post("/comfy/queue", json={"delete": [prompt_id]})
        kinds = [json.loads(await socket.recv())["type"] for _ in range(3)]
        assert kinds == ["execution_interrupted", "status", "executing"]


async def test_a_socket_needs_a_key(orchestrator):
    """Without one the handshake is refused."""
    url = orchestrator.url.replace("http", "ws", 1) + "/comfy/ws"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, proxy=None):
            pass
    assert refused.value.response.status_code in (401, 403)


async def test_a_queue_is_its_senders(tool, api, orchestrator):
    """A sender sees, deletes and forgets its own prompts, in ComfyUI's form; another sender sees none of them."""
    first, second = await _queue(tool, extra_data={"api_key_comfy_org": "secret"}), await _queue(tool, front=True)
    pending = (await tool.get("/comfy/queue")).json()["queue_pending"]
    assert {item[1] for item in pending} == {first, second}
    assert all(item[2] == GRAPH for item in pending)
    assert "secret" not in json.dumps(pending)
    assert pending[0][0] < pending[1][0]
    async with client_with(orchestrator, await _sender(api)) as other:
        assert (await other.get("/comfy/queue")).json()["queue_pending"] == []
        await other.post("/comfy/queue", json={"clear": True})
        assert (await other.get("/comfy/history")).json() == {}
    assert (await tool.get("/comfy/prompt")).json() == {"exec_info": {"queue_remaining": 2}}
    await tool.post("/comfy/queue", json={"clear": True})
    assert list((await tool.get("/comfy/history")).json()) == [first, second]
    assert list((await tool.get("/comfy/history?max_items=1")).json()) == [second]
    assert list((await tool.get("/comfy/history?max_items=1&offset=0")).json()) == [first]
    assert list((await tool.get("/comfy/history?offset=1")).json()) == [second]
    assert (await tool.get("/comfy/history?offset=2")).json() == {}
    assert (await tool.post("/comfy/free", json={"unload_models": True})).content == b""
    await tool.post("/comfy/history", json={"delete": [first, "no id"]})
    assert list((await tool.get("/comfy/history")).json()) == [second]
    await tool.post("/comfy/history", json={"clear": True})
    assert (await tool.get("/comfy/history")).json() == {}


async def test_another_organisation_is_another_world(tool, orchestrator):
    """Prompts, uploads and files of one organisation are not there for another."""
    prompt_id = await _queue(tool)
    await tool.post("/comfy/upload/image", files={"image": ("mine.png", b"x", "image/png")})
    async with stranger_of(orchestrator) as stranger:
        assert (await stranger.get("/comfy/queue")).json()["queue_pending"] == []
        assert (await stranger.get(f"/comfy/history/{prompt_id}")).json() == {}
        assert (await stranger.get("/comfy/view?filename=mine.png&type=input")).status_code == 404
        assert (await stranger.get("/comfy/object_info")).json() == {}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"", 400),
        (b"{}", 400),
        (b'{"prompt": 3}', 400),
        (b'{"prompt": {}}', 400),
        (b'{"prompt": {"1": 5}}', 400),
        (b'{"prompt": {"1": {"class_type": "A", "inputs": []}}}', 400),
    ],
)
async def test_a_body_without_a_prompt_is_refused(tool, content: bytes, status: int):
    """No graph, no run."""
    assert (await tool.post("/comfy/prompt", content=content)).status_code == status
    assert (await tool.get("/comfy/prompt")).json()["exec_info"]["queue_remaining"] == 0


async def test_uploads_are_viewed_by_name(tool):
    """A name in a folder, with an annotation too; names that lead elsewhere are refused or lose their folders."""
    form = {"subfolder": "a/b", "overwrite": "true"}
    for data in (b"one", b"two"):
        answer = await tool.post("/comfy/upload/image", data=form, files={"image": ("../x.png", data, "image/png")})
        assert answer.json() == {"name": "x.png", "subfolder": "a/b", "type": "input"}
    for query in ("filename=x.png&subfolder=a/b&type=input", "filename=a/b/x.png [input]"):
        answer = await tool.get(f"/comfy/view?{query}")
        assert answer.status_code == 302
        assert (await tool.get(answer.headers["location"])).content == b"two"
    for query, status in (
        ("filename=../x.png&type=input", 400), ("filename=x.png&type=models", 400), ("", 400),
        ("filename=y.png&type=input", 404), ("filename=x.png&subfolder=no-run", 404),
    ):  # fmt: skip
        assert (await tool.get(f"/comfy/view?{query}")).status_code == status
    outside = await tool.post("/comfy/upload/image", data={"subfolder": "../b"}, files={"image": ("x.png", b"x")})
    assert outside.status_code == 400
    assert (await tool.post("/comfy/upload/image", files={"other": ("x.png", b"x")})).status_code == 400


def _png(mode: str, size: tuple[int, int], colour: Any, **more: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG", **more)
    return buffer.getvalue()


async def _shown(tool: httpx.AsyncClient, query: str) -> Image.Image:
    answer = await tool.get(f"/comfy/view?{query}", follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


async def test_a_masks_alpha_is_laid_over_a_picture(tool):
    """Colours and text are the picture's, the alpha the mask's; what names no picture, or another size, is refused."""
    text = PngInfo()
    text.add_text("prompt", "{}")
    picture = _png("RGB", (4, 2), (10, 20, 30), pnginfo=text)
    await tool.post("/comfy/upload/image", files={"image": ("below.png", picture, "image/png")})
    mask = _png("RGBA", (4, 2), (99, 99, 99, 7))
    reference = json.dumps({"filename": "below.png", "subfolder": "", "type": "input"})

    async def laid(name: str, data: bytes, reference: str) -> httpx.Response:
        form = {"original_ref": reference, "subfolder": "clipspace"}
        return await tool.post("/comfy/api/upload/mask", data=form, files={"image": (name, data, "image/png")})

    made = await laid("masked.png", mask, reference)
    assert made.json() == {"name": "masked.png", "subfolder": "clipspace", "type": "input"}
    shown = await _shown(tool, "filename=masked.png&subfolder=clipspace&type=input")
    assert (shown.mode, shown.getpixel((0, 0)), shown.text) == ("RGBA", (10, 20, 30, 7), {"prompt": "{}"})
    for name, data, named, status in (
        ("m.png", mask, "{", 400),
        ("m.png", mask, json.dumps({"filename": "none.png", "type": "input"}), 400),
        ("m.png", mask, json.dumps({"filename": "../below.png", "type": "input"}), 403),
        ("m.png", _png("RGBA", (2, 2), 0), reference, 400),
        ("m.png", b"no picture", reference, 400),
        ("m.jpg", mask, reference, 400),
    ):
        assert (await laid(name, data, named)).status_code == status, (name, named)


async def test_a_picture_is_shown_smaller_and_by_its_channels(tool):
    """preview re-encodes, channel leaves out colours or alpha; no picture, or too many pixels: refused."""
    picture = _png("RGBA", (8, 4), (200, 100, 50, 60))
    await tool.post("/comfy/upload/image", files={"image": ("seen.png", picture, "image/png")})
    named = "filename=seen.png&type=input"
    for preview, form, mode in (("webp;90", "WEBP", "RGBA"), ("jpeg;80", "JPEG", "RGB"), ("odd;x", "WEBP", "RGBA")):
        shown = await _shown(tool, f"{named}&preview={preview}")
        assert (shown.format, shown.mode, shown.size) == (form, mode, (8, 4))
    colours = await _shown(tool, f"{named}&channel=rgb")
    assert (colours.format, colours.getpixel((0, 0))) == ("PNG", (200, 100, 50))
    assert (await _shown(tool, f"{named}&channel=a")).getpixel((0, 0)) == (0, 0, 0, 60)
    assert (await _shown(tool, f"{named}&channel=rgba")).getpixel((0, 0)) == (200, 100, 50, 60)
    for name, data in (("t.png", b"text"), ("huge.png", _png("1", (10_000, 5_001), 0))):
        await tool.post("/comfy/upload/image", files={"image": (name, data, "image/png")})
        assert (await tool.get(f"/comfy/view?filename={name}&type=input&preview=webp")).status_code == 400


async def test_settings_and_files_of_a_user_are_kept(tool, api, orchestrator):
    """Settings merge; files are written, listed, read and removed under the sender's own paths."""
    await tool.post("/comfy/api/settings", json={"a": 1, "b": 2})
    await tool.post("/comfy/api/settings/b", json=[3])
    assert (await tool.get("/comfy/settings")).json() == {"a": 1, "b": [3]}
    assert (await tool.get("/comfy/settings/none")).json() is None
    path = "/comfy/userdata/workflows%2Fmine.json"
    assert (await tool.post(path, content=b"{}")).json() == "workflows/mine.json"
    assert (await tool.post(f"{path}?overwrite=false", content=b"1")).status_code == 409
    listed = await tool.get("/comfy/userdata?dir=workflows&recurse=true&full_info=true")
    assert [(one["path"], one["size"]) for one in listed.json()] == [("mine.json", 2)]
    assert (await tool.get(path)).content == b"{}"
    async with client_with(orchestrator, await _sender(api)) as other:
        assert (await other.get(path)).status_code == 404
        assert (await other.get("/comfy/settings")).json() == {}
    assert (await tool.post(f"{path}/move/workflows%2Fdeep%2Fother.json")).json() == "workflows/deep/other.json"
    assert (await tool.post(f"{path}/move/workflows%2Fother.json")).status_code == 404
    inner = (await tool.get("/comfy/v2/userdata?path=workflows")).json()
    assert inner == [{"name": "deep", "path": "workflows/deep", "type": "directory"}]
    deep = (await tool.get("/comfy/v2/userdata?path=workflows/deep")).json()
    assert [(one["name"], one["path"], one["type"]) for one in deep] == [
        ("other.json", "workflows/deep/other.json", "file")
    ]
    assert (await tool.post("/comfy/userdata/workflows%2Fdeep%2Fother.json/move/workflows%2Fmine.json")).is_success
    assert (await tool.delete(path)).status_code == 204
    assert (await tool.delete(path)).status_code == 404
    assert (await tool.get("/comfy/userdata?dir=workflows")).status_code == 404
    assert (await tool.get("/comfy/userdata")).status_code == 400
    assert (await tool.get("/comfy/userdata/..%2Fx")).status_code in (400, 404)


async def test_the_front_end_waits_for_a_machine(orchestrator, tmp_path):
    """On its own host: a page for who was not let in, one for a team without machines, then the front end."""
    shutil.copy(orchestrator.data / "up.json", tmp_path)
    running = start_orchestrator(tmp_path, orchestrator.database_url, comfyui_host="comfy.test")
    try:
        async with stranger_of(running) as team, httpx.AsyncClient(base_url=running.url) as nobody:
            host = {"Host": "comfy.test"}
            stranger = await nobody.get("/", headers=host)
            assert (stranger.status_code, "comfyui-links" in stranger.text) == (401, True)
            page = await team.get("/", headers=host)
            assert (page.status_code, "No machine" in page.text, "refresh" in page.text) == (200, True, True)
            node = f"Node{secrets.token_hex(8)}"
            declared = {node: {"input": {"required": {}}}}
            async with connected(running.url, await register(team), Inventory(node_classes=[node]), declared) as agent:
                await agent.has(AskObjectInfo)
                async with asyncio.timeout(20):
                    while "No machine" in (page := await team.get("/", headers=host)).text:
                        await asyncio.sleep(0.05)
            assert (page.status_code, "<script" in page.text) == (200, True)
    finally:
        running.stop()


async def test_a_viewer_looks_and_starts_nothing(api, orchestrator):
    """Reading needs the role viewer, a prompt the role developer."""
    async with client_with(orchestrator, await _sender(api, "viewer")) as viewer:
        for path in ("/queue", "/history", "/system_stats", "/models", "/embeddings", "/extensions", "/users"):
            assert (await viewer.get(f"/comfy{path}")).status_code == 200, path
        assert (await viewer.post("/comfy/prompt", json={"prompt": GRAPH})).status_code == 403
        assert (await viewer.post("/api/v1/comfyui-links")).status_code == 403
