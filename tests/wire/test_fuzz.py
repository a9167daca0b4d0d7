"""Bodies, ids, cursors and frames made up by a grammar, against the real server: refused in its words, never a fault.

A fault shows as a 5xx or as a line `request failed` or a traceback in the server's log.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.wire import Hello, Inventory
from tests.system import coloured
from tests.wire.conftest import Orchestrator
from tests.wire.permissions import entries

EXAMPLES = settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
JSON = {"Content-Type": "application/json"}
FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def client(orchestrator: Orchestrator) -> Iterator[httpx.Client]:
    """A client with the administrator's key."""
    with httpx.Client(base_url=orchestrator.url, headers=orchestrator.headers, timeout=30) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_fault(orchestrator: Orchestrator) -> Iterator[None]:
    """After each test the server lives, and its log tells of no fault."""
    log = orchestrator.data / "orchestrator.log"
    before = log.stat().st_size
    yield
    assert httpx.get(f"{orchestrator.url}/health/ready", timeout=20).status_code == 200
    faults = [line for line in _new_lines(log, before) if "request failed" in line or "Traceback" in line]
    assert not faults, "\n".join(faults)[:3000]


def _new_lines(log: Path, before: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(before)
        return file.read().decode(errors="replace").splitlines()


# JSON

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["\0", "\ud800", "\udfff\ud800", "a" * 3000, "1e999", "${x}", "../..", "\u202e"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
TEMPLATES: dict[str, dict[str, Any]] = {
    "/api/v1/auth/login": {"email": "a@example.org", "password": "x", "organisation": "default"},
    "/api/v1/workflows": {"name": "w", "api_graph": coloured(), "ui_graph": {"nodes": [], "links": []}},
    "/api/v1/runs": {"deployment_id": str(uuid.uuid4()), "inputs": {"colour": 1}, "pool": {"a": "b"}, "priority": 1},
    "/api/v1/runs/batch": {"deployment_id": str(uuid.uuid4()), "inputs": [{"colour": 1}]},
    "/api/v1/machines": {"name": "m", "labels": {"a": "b"}, "endpoint": None},
    "/api/v1/webhooks": {"url": "https://example.org/hook", "events": ["run.updated"]},
    "/api/v1/api-keys": {"name": "k", "scopes": ["runs:read"], "deployment_ids": [], "expires_at": None},
    "/api/run": {"deployment_id": str(uuid.uuid4()), "inputs": {}, "batch_number": 1, "webhook": "https://e.org"},
    "/api/workflow": {"workflow_name": "w", "workflow": {"nodes": []}, "workflow_api": coloured(), "snapshot": {}},
    "/api/v2/jobs": {"workflow": coloured(), "metadata": {"a": "b"}},
    "/comfy/prompt": {"prompt": coloured(), "client_id": "me", "extra_data": {}},
    "/comfy/settings": {"Comfy.A": 1},
}


def _encoded(value: Any) -> bytes:
    """As a careless client writes it: NaN, halves of surrogates and all."""
    return json.dumps(value, ensure_ascii=True).encode()


@st.composite
def bodies(draw: Any, template: dict[str, Any]) -> bytes:
    """A body near a right one: a value exchanged, a name twice, bytes cut or put in, nested without end."""
    body = dict(template)
    for name in draw(st.lists(st.sampled_from(sorted(body)), max_size=2)):
        body[name] = draw(VALUES)
    data = bytearray(_encoded(body))
    kind = draw(st.sampled_from(["as it is", "cut", "bytes", "twice", "deep", "wide", "tail"]))
    place = draw(st.integers(0, max(0, len(data) - 1)))
    if kind == "cut":
        del data[place:]
    elif kind == "bytes":
        data[place:place] = draw(st.binary(min_size=1, max_size=6))
    elif kind == "twice":
        name = draw(st.sampled_from(sorted(body)))
        data[1:1] = _encoded({name: draw(SCALARS)})[1:-1] + b","
    elif kind == "deep":
        depth = draw(st.sampled_from([50, 199, 201, 5000]))
        data[-1:] = b',"x":' + b"[" * depth + b"]" * depth + b"}"
    elif kind == "wide":
        data[-1:] = b',"x":[' + b"0," * draw(st.sampled_from([10, 20_000])) + b"0]}"
    elif kind == "tail":
        data += draw(st.sampled_from([b"\0", b"{}", b"\xef\xbb\xbf", b" " * 100, b"//"]))
    return bytes(data)


@pytest.mark.parametrize("path", TEMPLATES)
def test_a_body_that_is_nearly_right_is_no_fault(client: httpx.Client, path: str) -> None:
    """Whatever stands in it: done, or refused with a body that says why."""

    @EXAMPLES
    @given(bodies(TEMPLATES[path]))
    def sent(body: bytes) -> None:
        answer = client.post(path, content=body, headers=JSON)
        assert answer.status_code < 500, (body, answer.text)
        if answer.status_code >= 400 and path.startswith("/api/v1/"):
            problem = answer.json()
            assert problem["status"] == answer.status_code, body
            assert problem["code"], body

    sent()


# Multipart

NAMES = st.one_of(
    st.text(min_size=1, max_size=40),
    st.sampled_from(
        [
            "../../etc/passwd",
            "..\\..\\a",
            "/abs",
            "C:\\a",
            "..",
            ".",
            "a\0b",
            "a\r\nX-Evil: 1",
            'a"; name="b',
            "%2e%2e%2f",
        ]
    ),
    st.sampled_from(
        ["\u202egpj.exe", "e\u0301.png", "\U0001f642.png", "CON", "x" * 5000, "~root", "-rf", "a;b", "＿．．／"]
    ),
)
UPLOADS = {
    "/api/v1/files": "file",
    "/api/file/upload": "file",
    "/api/v2/assets": "file",
    "/comfy/upload/image": "image",
    "/comfy/upload/mask": "image",
}


@st.composite
def forms(draw: Any, field: str) -> tuple[bytes, str, str]:
    """A multipart body, its boundary and the name it gives its file; sometimes broken as clients break it."""
    boundary = draw(st.sampled_from(["b", "----x", "a" * 70, "'quoted'", "b b"]))
    name = draw(NAMES)
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        other = draw(st.sampled_from(["overwrite", "subfolder", "tags", "original_ref", field, "", "file[]", "\0"]))
        parts.append(_part(boundary, other, draw(st.text(max_size=30)).encode("utf-8", "surrogatepass")))
    header = draw(
        st.sampled_from(["", "Content-Type: image/png\r\n", "Content-Type: \0\r\n", "X: " + "y" * 9000 + "\r\n"])
    )
    parts.insert(draw(st.integers(0, len(parts))), _part(boundary, field, draw(st.binary(max_size=64)), name, header))
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    broken = draw(st.sampled_from(["no", "no", "cut", "bytes", "no end", "bare"]))
    place = draw(st.integers(0, len(body)))
    if broken == "cut":
        body = body[:place]
    elif broken == "bytes":
        body = body[:place] + draw(st.binary(min_size=1, max_size=8)) + body[place:]
    elif broken == "no end":
        body = body.rpartition(b"--")[0]
    elif broken == "bare":
        body = body.replace(b"\r\n", b"\n")
    return body, boundary, name


def _part(boundary: str, field: str, value: bytes, file: str | None = None, header: str = "") -> bytes:
    named = f'Content-Disposition: form-data; name="{field}"' + (f'; filename="{file}"' if file is not None else "")
    return f"--{boundary}\r\n{named}\r\n{header}\r\n".encode("utf-8", "surrogatepass") + value + b"\r\n"


@pytest.mark.parametrize("path", UPLOADS)
def test_an_upload_that_is_nearly_right_is_no_fault(
    client: httpx.Client, orchestrator: Orchestrator, path: str
) -> None:
    """No name leads out of its place, no header comes of one, and what was refused leaves no draft."""

    @EXAMPLES
    @given(forms(UPLOADS[path]))
    def sent(form: tuple[bytes, str, str]) -> None:
        body, boundary, _ = form
        kind = {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}
        answer = client.post(path, content=body, headers=kind)
        assert answer.status_code < 500, (body, answer.text)
        if answer.is_success:
            _is_harmless(answer.json())

    sent()
    assert list((orchestrator.data / "files" / "drafts").iterdir()) == []


def _is_harmless(told: dict[str, Any]) -> None:
    for member in ("name", "file_name"):
        name = told.get(member)
        if name is not None:
            assert not FORBIDDEN.search(name), told
            assert name not in ("", ".", ".."), told
            assert len(name.encode()) <= 255, told


# Ids and cursors

IDS = [
    "0", "-1", "9" * 400, "null", "%2e%2e", "%00", "%0d%0aX:1", "a%2Fb", "%FF", "%ED%A0%80", "🙂", "%22", "{id}",
    "ffffffff-ffff-ffff-ffff-ffffffffffff", "01890000-0000-7000-8000-00000000000g", "x" * 4000, "' or 1=1 --",
]  # fmt: skip


def test_ids_that_are_none_name_nothing(client: httpx.Client) -> None:
    """Every route with a parameter, asked for a third of these in turn: no fault; of what is ours, nothing is found."""
    wrong = []
    asked = [entry for entry in entries() if "{" in entry.path and not entry.path.startswith("/comfy/api/")]
    targets = [entry for entry in asked if entry.method in ("GET", "HEAD", "DELETE")]
    for number, entry in enumerate(targets):
        for value in IDS[number % 3 :: 3]:
            path = re.sub(r"\{\w+(:\w+)?\}", lambda _match, value=value: value, entry.path)
            with client.stream(entry.method, path, follow_redirects=False) as answer:
                found = answer.is_success and entry.path.startswith("/api/v1/")
                if answer.status_code in (500, 502, 503) or found:
                    wrong.append(f"{entry.name} with {value[:40]}: {answer.status_code}")
    assert len(targets) > 60
    assert not wrong, "\n".join(wrong)


def _lists() -> list[str]:
    """The routes that take a cursor."""
    listed = [entry for entry in entries() if entry.in_schema and entry.scopes and entry.method == "GET"]
    return [entry.path for entry in listed if "cursor" in entry.handler.parsed_fn_signature.parameters]


CURSORS = st.one_of(
    st.text(max_size=40),
    st.binary(min_size=18, max_size=18).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
    st.sampled_from(["AAAA", "=", "====", "A" * 5000, "-_-_", "AZ+/", "%00", "🙂", "null"]),
)


def test_a_made_up_cursor_is_refused_by_every_list(client: httpx.Client) -> None:
    """422 that names it, or the list as it is when it is empty; a list of something that is not there is 404."""
    paths = _lists()
    assert len(paths) > 15

    @EXAMPLES
    @given(st.sampled_from(paths), CURSORS)
    def asked(path: str, cursor: str) -> None:
        path = re.sub(r"\{\w+(:\w+)?\}", lambda _match: str(uuid.uuid4()), path)
        try:
            answer = client.get(path, params={"cursor": cursor})
        except (httpx.InvalidURL, UnicodeEncodeError):
            return  # no client can send it
        told = {200} if cursor == "" else {422}
        assert answer.status_code in {404, *told}, (path, cursor, answer.text)
        assert answer.status_code != 422 or answer.json()["errors"][0]["path"] == "cursor"

    asked()


def test_a_cursor_of_one_list_opens_nothing_in_another(client: httpx.Client) -> None:
    """It is a place in the order of ids and no right: another list answers with its own things, or none."""
    for number in range(3):
        assert client.post("/api/v1/machines", json={"name": f"cursor {number}"}).status_code == 201
    cursor = client.get("/api/v1/machines", params={"limit": 1}).json()["next_cursor"]
    own = {item["id"] for item in client.get("/api/v1/machines", params={"limit": 100}).json()["items"]}
    for path in ("/api/v1/api-keys", "/api/v1/members", "/api/v1/audit", "/api/v1/workflows"):
        answer = client.get(path, params={"cursor": cursor})
        assert answer.status_code == 200
        assert own.isdisjoint(item["id"] for item in answer.json()["items"])


# The agents' line

FRAMES: list[dict[str, Any]] = [
    {"type": "beat", "used": 0, "attempts": ["x"]},
    {"type": "inventory", "slots": 1, "inventory": {"node_classes": ["A"], "ram": 1, "object_info": "0" * 64}},
    {"type": "progress", "run_id": "x", "attempt_id": "x", "value": 0.5, "text": "busy"},
    {"type": "preview", "run_id": "x", "attempt_id": "x", "content_type": "image/png", "image": "AAAA"},
    {"type": "node_done", "run_id": "x", "attempt_id": "x", "node_id": "1", "outputs": []},
    {"type": "declined", "attempt_id": "x", "reason": "busy"},
    {"type": "log", "run_id": "x", "attempt_id": "x", "lines": ["a line"]},
    {"type": "agent_log", "lines": ["a line"]},
    {"type": "object_info", "hash": "0" * 64, "body": "AAAA"},
    {"type": "live_output", "attempt_id": "x", "number": 1, "images": []},
]


@st.composite
def frames(draw: Any) -> str | bytes:
    """A frame near a right one, or noise."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.one_of(st.binary(max_size=40), st.text(max_size=40)))
    known = dict(draw(st.sampled_from(FRAMES)))
    for name in draw(st.lists(st.sampled_from(sorted(known)), max_size=2)):
        known[name] = draw(VALUES)
    text = json.dumps(known)
    place = draw(st.integers(0, len(text)))
    kind = draw(st.sampled_from(["as it is", "as it is", "cut", "deep"]))
    if kind == "cut":
        return text[:place]
    return text[:-1] + ', "x": ' + "[" * 3000 + "]" * 3000 + "}" if kind == "deep" else text


EVENT = {
    "run_id": str(uuid.uuid4()),
    "attempt_id": str(uuid.uuid4()),
    "token": "t",
    "seq": 1,
    "status": "failed",
    "failure": {"kind": "node_error", "message": "it failed"},
    "outputs": [{"node_id": "1", "kind": "text", "value": "x"}],
    "timings": {"run_s": 1.0},
}
ASKED = {"attempt_id": str(uuid.uuid4()), "name": "a", "content_type": "image/png", "size": 1, "sha256": "0" * 64}


def _enrolled(client: httpx.Client) -> str:
    """The credential of a new machine."""
    machine = client.post("/api/v1/machines", json={"name": f"fuzzed {uuid.uuid4()}"}).json()
    token = client.post(f"/api/v1/machines/{machine['id']}/enrol-token").json()["token"]
    return str(client.post("/api/v1/agent/enrol", json={"token": token}).json()["credential"])


@pytest.mark.parametrize(
    ("path", "template"), [("/api/update-run", {"events": [EVENT]}), ("/api/upload-grants", ASKED)]
)
def test_reports_that_are_nearly_right_are_no_fault(client: httpx.Client, path: str, template: dict[str, Any]) -> None:
    """Of a machine that is known: taken, answered with a verdict, or refused."""
    bearer = {"Authorization": f"Bearer {_enrolled(client)}"}

    @st.composite
    def reports(draw: Any) -> bytes:
        if "events" not in template:
            return draw(bodies(template))
        event = dict(EVENT)
        for name in draw(st.lists(st.sampled_from(sorted(event)), max_size=2)):
            event[name] = draw(VALUES)
        return draw(st.one_of(st.just(_encoded({"events": [event]})), bodies({"events": [event]})))

    @EXAMPLES
    @given(reports())
    def sent(body: bytes) -> None:
        answer = client.post(path, content=body, headers={**JSON, **bearer})
        assert answer.status_code < 500, (body, answer.text)

    sent()


def test_an_agent_that_talks_nonsense_harms_nobody(client: httpx.Client, orchestrator: Orchestrator) -> None:
    """Each frame is taken, or ends the line with a code; the machine may dial again, and its hello is taken."""
    credential = _enrolled(client)
    address = orchestrator.url.replace("http", "ws", 1) + "/api/v1/agent/link"
    hello = msgspec.json.encode(Hello(1, "fuzz", 1, Inventory(), [])).decode()

    async def talk(said: list[str | bytes], *, greet: bool) -> None:
        headers = {"Authorization": f"Bearer {credential}"}
        async with websockets.connect(address, additional_headers=headers, proxy=None) as socket:
            with suppress(websockets.ConnectionClosed):
                if greet:
                    await socket.send(hello)
                    assert json.loads(await socket.recv())["type"] == "welcome"
                for frame in said:
                    await socket.send(frame)
                await asyncio.wait_for(await socket.ping(), 20)
        assert socket.close_code in (None, 1000, 1001, 1002, 1003, 1007, 1012, 1013), socket.close_code

    @EXAMPLES
    @given(st.lists(frames(), min_size=1, max_size=4), st.booleans())
    def sent(said: list[str | bytes], greet: bool) -> None:
        asyncio.run(talk(said, greet=greet))

    sent()
    asyncio.run(talk([], greet=True))


@pytest.mark.parametrize("change", [{"run_id": ""}, {"attempt_id": "x"}, {"run_id": "\0"}, {"seq": 2**63}])
def test_a_report_with_an_id_that_is_none_is_refused(client: httpx.Client, change: dict[str, Any]) -> None:
    """422, so that its agent lays it aside: it would never be taken."""
    bearer = {"Authorization": f"Bearer {_enrolled(client)}"}
    answer = client.post("/api/update-run", json={"events": [{**EVENT, **change}]}, headers=bearer)
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        assert answer.json()["results"][0]["verdict"] in ("unknown", "foreign")


@pytest.mark.parametrize(
    "frame",
    ["x", b"\xff", '{"type": "beat", "used": 0, "attempts": ["x"]}', '{"type": "beat", "used": "\\ud800"}', "[" * 9000],
)
def test_a_line_with_nonsense_ends_by_a_code(
    client: httpx.Client, orchestrator: Orchestrator, frame: str | bytes
) -> None:
    """1002, a breach of the protocol: before the hello and after it."""
    headers = {"Authorization": f"Bearer {_enrolled(client)}"}
    address = orchestrator.url.replace("http", "ws", 1) + "/api/v1/agent/link"
    hello = msgspec.json.encode(Hello(1, "fuzz", 1, Inventory(), [])).decode()

    async def ended(said: list[str | bytes]) -> int | None:
        async with websockets.connect(address, additional_headers=headers, proxy=None) as socket:
            with suppress(websockets.ConnectionClosed):
                for one in said:
                    await socket.send(one)
                async with asyncio.timeout(20):
                    while True:
                        await socket.recv()
        return socket.close_code

    assert asyncio.run(ended([frame])) == 1002
    assert asyncio.run(ended([hello, frame])) == 1002
