"""The answers that clients know from ComfyUI 0.3.64, compared with recordings of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.executor.process import Client, Executor, n

pytestmark = pytest.mark.anyio
GOLDEN = Path(__file__).parent / "golden"
ERRORS = json.loads((GOLDEN / "validation_errors.json").read_text())
NODES = json.loads((GOLDEN / "object_info.json").read_text())
ANY_FILES = {"image": 0, "model_name": 1}


def comparable(body: Any) -> Any:
    """Error lists in one order and without tracebacks, which are whoever wrote the code's own."""
    if isinstance(body, list):
        return sorted((comparable(one) for one in body), key=lambda one: json.dumps(one, sort_keys=True))
    if isinstance(body, dict):
        return {key: comparable(value) for key, value in body.items() if key != "traceback"}
    return body


@pytest.mark.parametrize("case", ERRORS)
async def test_bad_prompts_are_answered_as_recorded(client: Client, case: str) -> None:
    """1.4 prompt, 1.4 nodes: status and body of each bad prompt are ComfyUI's."""
    recorded = ERRORS[case]
    status, body = await client.post("/prompt", recorded["request"])
    assert status == recorded["status"]
    assert comparable({key: body[key] for key in recorded["body"]}) == comparable(recorded["body"])
    if status == 200:
        assert isinstance(body["number"], int)


def inputs_of(described: dict[str, Any]) -> Any:
    """Declared inputs in one form: a type without options has empty ones; file lists are whoever's files."""
    out: dict[str, Any] = {}
    for group, names in described["input"].items():
        for name, config in names.items():
            kind, options = (config, {}) if isinstance(config, str) else (config[0], (*config[1:], {})[0])
            if name == "image" and isinstance(kind, list):
                kind = []
            out[f"{group}.{name}"] = (kind, {**options, "options": []} if name == "model_name" else options)
    return out


@pytest.mark.parametrize("class_type", NODES)
async def test_nodes_declare_what_comfyuis_do(client: Client, class_type: str) -> None:
    """1.2 /object_info: names, types, defaults, ranges, order, outputs and category are the recorded ones."""
    ours = (await client.get(f"/object_info/{class_type}"))[class_type]
    recorded = NODES[class_type]
    assert inputs_of(ours) == inputs_of(recorded)
    for key in ("input_order", "output", "output_is_list", "output_name", "name", "category", "output_node"):
        assert ours[key] == recorded[key], key
    assert ours["display_name"] == recorded["display_name"]


async def test_all_routes_have_a_twin_under_api(client: Client) -> None:
    """What is asked for with and without /api is the same."""
    for path in ("/prompt", "/queue", "/features", "/models", "/embeddings", "/object_info/EmptyImage"):
        assert await client.get(path) == await client.get(f"/api{path}")


async def test_the_informational_routes(client: Client, executor: Executor) -> None:
    """1.2 /features, 1.2 /models, 1.2 /system_stats: these and our own health have the shapes clients read."""
    assert await client.get("/features") == {"supports_preview_metadata": True, "max_upload_size": 104857600}
    assert "upscale_models" in await client.get("/models")
    assert "nearest2.safetensors" in await client.get("/models/upscale_models")
    assert (await client.session.get(f"{executor.url}/models/none")).status == 404
    assert await client.get("/object_info/None") == {}
    assert "LoadImage" in await client.get("/object_info")
    stats = await client.get("/system_stats")
    assert stats["system"]["comfyui_version"] == "0.3.64"
    assert stats["devices"][0]["type"] == "cpu"
    assert stats["devices"][0]["vram_total"] > 0
    health = await client.get("/fleet/health")
    assert (health["ok"], health["pid"]) == (True, executor.process.pid)


async def test_messages_of_a_run_come_in_comfyuis_order(client: Client) -> None:
    """1.5 order, 1.1 history entry, 2.2.2: status, start, cached, nodes, success, status, executing null."""
    prompt = {"a": n("EmptyImage", width=8, height=8, batch_size=1, color=11), "o": n("PreviewImage", images=["a", 0])}
    entry, heard = await client.run(prompt, extra_data={"extra_pnginfo": {"workflow": {}}, "api_key_comfy_org": "k"})
    kinds = [message["type"] for message in heard if message["type"] != "progress_state"]
    assert kinds == [
        *("status", "status", "execution_start", "execution_cached"),
        *("executing", "executing", "executed", "execution_success", "status", "executing"),
    ]
    states = [message["data"]["nodes"] for message in heard if message["type"] == "progress_state"]
    assert {node_id: state["state"] for node_id, state in states[-1].items()} == {"a": "finished", "o": "finished"}
    prompt_id = entry["prompt"][1]
    assert [message["data"]["prompt_id"] for message in heard if message["type"] != "status"] == [prompt_id] * (
        len(heard) - 3
    )
    assert set(entry) == {"prompt", "outputs", "meta", "status"}
    assert entry["status"]["status_str"] == "success"
    assert [name for name, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]
    assert "api_key_comfy_org" not in entry["prompt"][3]
    assert entry["prompt"][3]["client_id"] == client.client_id
    assert entry["meta"]["o"] == {"node_id": "o", "display_node": "o", "parent_node": None, "real_node_id": "o"}


async def test_a_cached_run_calls_nothing_and_still_tells_its_output(client: Client) -> None:
    """1.5 order, 2.3.3: no executing for a cached node, executed for a cached output."""
    prompt = {"a": n("PrimitiveInt", value=41), "o": n("PreviewAny", source=["a", 0])}
    await client.run(prompt)
    entry, heard = await client.run(prompt)
    assert [m["data"]["node"] for m in heard if m["type"] == "executing"] == [None]
    assert [m["data"]["output"] for m in heard if m["type"] == "executed"] == [{"text": ["41"]}]
    cached = next(m for m in heard if m["type"] == "execution_cached")
    assert sorted(cached["data"]["nodes"]) == ["a", "o"]
    assert entry["outputs"] == {"o": {"text": ["41"]}}


async def test_a_failing_node_is_reported_in_full(client: Client) -> None:
    """1.5 execution_error: it carries node, class, message, inputs; the history says error."""
    prompt = {"a": n("PreviewImage", images="not an image")}
    entry, heard = await client.run(prompt)
    error = next(m["data"] for m in heard if m["type"] == "execution_error")
    assert (error["node_id"], error["node_type"], error["executed"]) == ("a", "PreviewImage", [])
    assert error["exception_type"] == "comfy_core.errors.InputRefused"
    assert error["exception_message"].endswith("\n")
    assert error["current_inputs"]["images"] == ["not an image"]
    assert error["traceback"]
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["completed"] is False


async def test_features_are_negotiated_by_the_first_message(client: Client) -> None:
    """1.5 feature_flags: the answer names what the server can do."""
    await client.socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    said = await client.hear()
    assert said == {"type": "feature_flags", "data": await client.get("/features")}


async def test_the_queue_can_be_read_reordered_and_emptied(client: Client) -> None:
    """1.1 POST /queue, 1.1 POST /history, 1.1 GET /prompt, 2.2.1: front runs first; the history forgets on demand."""
    big = {"a": n("EmptyImage", width=3000, height=3000, batch_size=1, color=3)}
    big["s"] = n("ImageScaleBy", image=["a", 0], upscale_method="lanczos", scale_by=1.5)
    big["o"] = n("PreviewImage", images=["s", 0])
    running = await client.queue(big)
    while not (await client.get("/queue"))["queue_running"]:
        await asyncio.sleep(0.01)
    small = {"a": n("PrimitiveInt", value=1), "o": n("PreviewAny", source=["a", 0])}
    last = await client.queue(small)
    first = await client.queue(small, front=True)
    gone = await client.queue(small)
    assert (await client.get("/prompt"))["exec_info"]["queue_remaining"] >= 3
    await client.post("/queue", {"delete": [gone, 5, None]})
    order = []
    for prompt_id in (running, first, last):
        order.append(prompt_id)
        await client.until_end(prompt_id)
    history = await client.get("/history")
    assert [key for key in history if key in order] == order
    assert gone not in history
    assert list(await client.get("/history?max_items=1")) == [last]
    await client.post("/history", {"delete": [first]})
    assert await client.get(f"/history/{first}") == {}
    await client.post("/queue", {"clear": True})
    assert await client.get("/queue") == {"queue_running": [], "queue_pending": []}


async def test_pages_of_other_sites_are_kept_out(client: Client, executor: Executor) -> None:
    """A foreign Origin at a loopback address is refused; its own is not."""
    for origin, status in (("http://evil.example", 403), (executor.url, 200)):
        async with client.session.get(f"{executor.url}/queue", headers={"Origin": origin}) as answer:
            assert answer.status == status
