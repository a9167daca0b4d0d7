"""Section 1.5: the WebSocket, over a server whose pack has a node that can be watched. Each test names its rule."""

from __future__ import annotations

import io
import json
import struct
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.executor.process import ROOT, RUN_S, Client, Executor, n

pytestmark = pytest.mark.anyio
WATCHED = ROOT / "tests/browser/packs/watched"
FACTS = {"node_id", "prompt_id", "display_node_id", "parent_node_id", "real_node_id"}


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """An executor with the pack whose node shows pictures as it works."""
    running = Executor(tmp_path_factory.mktemp("watching"), "--custom-nodes", str(WATCHED))
    yield running
    running.stop()


@pytest.fixture
async def client(watching: Executor) -> AsyncIterator[Client]:
    """A client that is connected and has read its greeting."""
    async with aiohttp.ClientSession() as session:
        one = Client(watching.url, session, uuid.uuid4().hex)
        await one.connect()
        yield one
        await one.socket.close()


def steps(**inputs: Any) -> dict[str, Any]:
    """A prompt whose first node is watched."""
    told = {"steps": 3, "seconds": 0.05, "form": "JPEG", "largest": 128} | inputs
    return {"w": n("WatchedSteps", **told), "o": n("PreviewImage", images=["w", 0])}


async def hear_all(client: Client, prompt: dict[str, Any]) -> list[Any]:
    """Queue a prompt and listen to its end: text messages as dicts, binary ones as bytes."""
    prompt_id = await client.queue(prompt)
    heard: list[Any] = []
    while True:
        message = await client.socket.receive(timeout=RUN_S)
        heard.append(message.data if message.type is aiohttp.WSMsgType.BINARY else json.loads(message.data))
        match heard[-1]:
            case {"type": "executing", "data": {"node": None, "prompt_id": ended}} if ended == prompt_id:
                return heard


def kind(message: Any) -> Any:
    """A binary message's number, a text message's type."""
    return struct.unpack(">I", message[:4])[0] if isinstance(message, bytes) else message["type"]


async def test_previews_of_clients_that_negotiated_nothing(client: Client) -> None:
    """1.5 binary 1: image type 1, JPEG, scaled to fit; in colours that advance, each before its node's end."""
    heard = await hear_all(client, steps())
    pictures = [message for message in heard if kind(message) == 1]
    assert 1 <= len(pictures) <= 3
    assert not [message for message in heard if kind(message) == 4]
    for message in pictures:
        assert struct.unpack(">I", message[4:8]) == (1,)
        with Image.open(io.BytesIO(message[8:])) as shown:
            assert (shown.format, shown.size) == ("JPEG", (128, 64))
    with Image.open(io.BytesIO(pictures[-1][8:])) as last:
        assert all(abs(a - b) <= 3 for a, b in zip(last.getpixel((5, 5)), (250, 30, 200), strict=True))
    kinds = [kind(message) for message in heard]
    assert max(index for index, one in enumerate(kinds) if one == 1) < kinds.index("executed")


async def test_previews_of_clients_that_negotiated_facts(client: Client) -> None:
    """1.5 binary 4: the node's facts as JSON, then the image; PNG where the node hands one, whole without a size."""
    await client.socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    assert (await client.hear())["type"] == "feature_flags"
    heard = await hear_all(client, steps(form="PNG", largest=0, seconds=0.0, steps=4))
    pictures = [message for message in heard if kind(message) == 4]
    assert len(pictures) == 4
    assert not [message for message in heard if kind(message) == 1]
    for message in pictures:
        length = struct.unpack(">I", message[4:8])[0]
        facts = json.loads(message[8 : 8 + length])
        assert set(facts) == FACTS | {"image_type"}
        assert (facts["node_id"], facts["image_type"], facts["parent_node_id"]) == ("w", "image/png", None)
        with Image.open(io.BytesIO(message[8 + length :])) as shown:
            assert (shown.format, shown.size) == ("PNG", (64, 32))


async def test_text_of_a_node(client: Client) -> None:
    """1.5 binary 3: length of the node's id, the id, the text in UTF-8."""
    heard = await hear_all(client, steps(seconds=0.0))
    assert [message for message in heard if kind(message) == 3] == [
        struct.pack(">II", 3, 1) + b"w" + "höchstens".encode()
    ]


async def test_progress_of_a_node(client: Client) -> None:
    """1.5 progress: value, max, prompt_id and node for every step."""
    heard = await hear_all(client, steps())
    told = [message["data"] for message in heard if kind(message) == "progress"]
    assert [(one["value"], one["max"], one["node"]) for one in told] == [(1, 3, "w"), (2, 3, "w"), (3, 3, "w")]
    assert all(set(one) == {"value", "max", "prompt_id", "node"} for one in told)


async def test_only_the_first_message_negotiates(client: Client) -> None:
    """1.5 feature_flags: a second one, and anything that is no message, is passed over and breaks nothing."""
    for said in ("not json", "[1]", "5", "[" * 100_000, json.dumps({"type": "feature_flags", "data": {}})):
        await client.socket.send_str(said)
    await client.socket.send_bytes(b"\x00\x01")
    heard = await hear_all(client, steps(seconds=0.0))
    assert "feature_flags" not in [kind(message) for message in heard]
    assert heard[-1]["data"]["node"] is None


@pytest.mark.parametrize("data", [5, None, [], {"supports_preview_metadata": "x" * 1000}])
async def test_odd_features_are_answered(client: Client, data: Any) -> None:
    """1.5 feature_flags: whatever a client says it can do, it learns what the server can."""
    await client.socket.send_json({"type": "feature_flags", "data": data})
    assert await client.hear() == {"type": "feature_flags", "data": await client.get("/features")}


async def test_messages_up_to_4_mib_are_taken(client: Client) -> None:
    """1.5: a message of 4 MiB is read; a larger one ends that socket with 1009 and nothing else."""
    await client.socket.send_str("x" * ((4 << 20) - 100))
    assert (await hear_all(client, steps(seconds=0.0)))[-1]["data"]["node"] is None
    async with client.session.ws_connect(f"{client.url}/ws") as other:
        await other.receive()
        try:
            await other.send_str("x" * (5 << 20))
            closed = await other.receive(timeout=10)
            assert closed.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        except ConnectionError:
            pass
    assert (await hear_all(client, steps(seconds=0.0)))[-1]["data"]["node"] is None


async def test_a_client_that_comes_back_learns_what_runs(client: Client) -> None:
    """1.5 greeting: a second socket with the same id is greeted with the running node and hears the rest."""
    await client.queue(steps(steps=10, seconds=0.1))
    while True:
        message = await client.socket.receive(timeout=RUN_S)
        if message.type is aiohttp.WSMsgType.TEXT and json.loads(message.data)["type"] == "progress":
            break
    async with client.session.ws_connect(f"{client.url}/ws?clientId={client.client_id}") as again:
        greeting = [await again.receive_json(timeout=RUN_S) for _ in range(2)]
        assert greeting[0]["data"]["sid"] == client.client_id
        assert greeting[1] == {"type": "executing", "data": {"node": "w"}}
        while True:
            message = await again.receive(timeout=RUN_S)
            if message.type is aiohttp.WSMsgType.TEXT and json.loads(message.data)["type"] == "execution_success":
                break


async def test_an_id_is_made_for_whoever_has_none(watching: Executor) -> None:
    """1.5 greeting: without clientId the greeting names one in hexadecimal."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{watching.url}/ws") as socket:
        assert int((await socket.receive_json())["data"]["sid"], 16) >= 0


async def test_others_hear_of_the_queue_only(client: Client) -> None:
    """1.5 receivers: status goes to everyone, everything else to the client that queued."""
    async with client.session.ws_connect(f"{client.url}/ws?clientId=other") as other:
        assert (await other.receive_json())["type"] == "status"
        await hear_all(client, steps(seconds=0.0))
        await client.session.post(f"{client.url}/queue", json={"clear": True})
        heard = [await other.receive_json(timeout=RUN_S) for _ in range(3)]
        assert {message["type"] for message in heard} == {"status"}
        assert "sid" not in heard[0]["data"]


async def test_the_log_goes_to_those_who_follow_it(client: Client) -> None:
    """1.2 /internal/logs/subscribe: lines as they are logged, what packs print among them, until it is ended."""

    async def follow(wanted: bool) -> None:
        body = {"clientId": client.client_id, "enabled": wanted}
        async with client.session.patch(f"{client.url}/internal/logs/subscribe", json=body) as answer:
            assert answer.status == 200

    await follow(wanted=True)
    heard = await hear_all(client, steps(seconds=0.0, steps=6))
    lines = [entry["m"] for message in heard if kind(message) == "logs" for entry in message["data"]["entries"]]
    assert any("watched 6 steps" in line for line in lines)
    await follow(wanted=False)
    heard = await hear_all(client, steps(seconds=0.0, steps=8))
    assert not [message for message in heard if kind(message) == "logs" and "8 steps" in str(message)]
    for body in (b"", b"{}", b"[]", b'{"clientId": 5}'):
        async with client.session.patch(f"{client.url}/internal/logs/subscribe", data=body) as answer:
            assert answer.status == 400


async def test_what_packs_print_is_logged_as_json(client: Client, watching: Executor) -> None:
    """1.6: every line of the log stays one JSON object, printed ones too."""
    await hear_all(client, steps(seconds=0.0, steps=7))
    assert any(line["event"] == "watched 7 steps" and line["printed"] == "stdout" for line in watching.lines())
