"""Bad input against the real server: each a 4xx problem with a stable code that names the field."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from orchestrator.errors import Problem

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
MACHINES = "/api/v1/machines"
WORKFLOWS = "/api/v1/workflows"


def _problem(answer: Any, status: int, code: str) -> Problem:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = msgspec.json.decode(answer.content, type=Problem)
    assert (problem.status, problem.code) == (status, code)
    assert problem.type.endswith(code)
    assert problem.request_id == answer.headers["x-request-id"]
    return problem


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b'{"name": NaN}', "malformed_json"),
        (b'{"name": "\xff"}', "malformed_json"),
        (b'{"name": "\\ud800"}', "malformed_json"),
        (b'{"name": "a", "name": "b"}', "duplicate_key"),
        (b'{"name": "a", "labels": {"x": "1", "x": "2"}}', "duplicate_key"),
    ],
)
async def test_what_is_not_json_is_a_400(api, body, code):
    """Truncated, not UTF-8, NaN, a lone surrogate or a name that stands twice."""
    _problem(await api.post(MACHINES, content=body, headers=JSON), 400, code)


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"name": "a", "colour": "red"}, "colour", "unknown_field"),
        ({"kind": "classic"}, "name", "missing_field"),
        ({"name": ""}, "name", "invalid"),
        ({"name": 5}, "name", "invalid"),
        ({"name": "a", "kind": "toaster"}, "kind", "invalid"),
        ({"name": "a", "labels": {"pool": 5}}, "labels[...]", "invalid"),
        ({"name": "a", "endpoint": "ftp://x"}, "endpoint", "invalid"),
        ({"name": "a\0b"}, "", "invalid"),
        ([1], "", "invalid"),
    ],
)
async def test_a_wrong_field_is_a_422_that_names_it(api, body, path, code):
    """The error's path is the field's, its code says what is wrong."""
    answer = await api.post(MACHINES, json=body)
    problem = _problem(answer, 422, "unknown_field" if code == "unknown_field" else "invalid")
    assert [(error.path, error.code) for error in problem.errors] == [(path, code)]


async def test_a_body_that_is_not_json_by_its_type_is_a_415(api):
    """The content type decides, not what the bytes look like."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = await api.post(MACHINES, content=b'{"name":"a"}', headers={"Content-Type": kind})
        _problem(answer, 415, "unsupported_content_type")


async def test_a_50_mb_body_is_refused_before_it_is_read(orchestrator, api):
    """With a length the answer comes before the body; without one, as soon as the limit is passed."""
    parts = urlsplit(orchestrator.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (
        f"POST {WORKFLOWS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {orchestrator.api_key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 52428800\r\n\r\n"
    )
    writer.write(head.encode() + b"{")
    await writer.drain()
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 10)
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b'"code":"too_large"' in answer
    writer.close()

    async def flood():
        for _ in range(50):
            yield b" " * 1_000_000

    try:
        streamed = await api.post(WORKFLOWS, content=flood(), headers=JSON)
    except httpx.TransportError:
        streamed = None  # the server closed while we were still sending
    if streamed is not None:
        _problem(streamed, 413, "too_large")
    assert (await api.get("/health/live")).status_code == 200


async def test_unknown_paths_and_methods_are_problems_too(api, nobody):
    """404 and 405 have the same form; an id that is no UUID is a 404."""
    _problem(await api.get("/api/v1/nothing"), 404, "not_found")
    _problem(await api.get(f"{MACHINES}/42"), 404, "not_found")
    _problem(await api.get(f"{MACHINES}/../../etc/passwd"), 404, "not_found")
    _problem(await api.put(MACHINES, json={}), 405, "method_not_allowed")
    _problem(await nobody.get(MACHINES), 401, "unauthorized")


async def test_bad_query_parameters_are_named(api):
    """A limit out of range, a made-up cursor: 422, naming the parameter."""
    for limit in ("0", "101", "many"):
        problem = _problem(await api.get(MACHINES, params={"limit": limit}), 422, "invalid")
        assert problem.errors[0].path == "limit"
    for cursor in ("x", "AAAA", "%00", "🙂"):
        _problem(await api.get(MACHINES, params={"cursor": cursor}), 422, "bad_cursor")


@pytest.mark.parametrize(
    ("graph", "code", "path"),
    [
        ({}, "empty_graph", "api_graph"),
        ({"nodes": [], "links": []}, "ui_graph", "api_graph"),
        ({"1": 5}, "not_a_node", "nodes.1"),
        ({"1": {"inputs": {}}}, "missing_class_type", "nodes.1.class_type"),
        ({"1": {"class_type": "A", "inputs": []}}, "not_a_node", "nodes.1.inputs"),
        ({"1": {"class_type": "A", "inputs": {"x": ["9", 0]}}}, "missing_node", "nodes.1.inputs.x"),
        ({"1": {"class_type": "A", "inputs": {"x": ["1", 0]}}}, "cycle", "nodes.1"),
    ],
)
async def test_a_workflow_that_is_no_api_graph_is_a_422_that_names_the_node(api, graph, code, path):
    """The editor's graph, dangling links and cycles are told apart; no workflow is left behind."""
    before = len((await api.get(WORKFLOWS, params={"limit": 100})).json()["items"])
    problem = _problem(await api.post(WORKFLOWS, json={"name": "bad", "api_graph": graph}), 422, code)
    assert problem.errors[0].path == path
    after = len((await api.get(WORKFLOWS, params={"limit": 100})).json()["items"])
    assert before == after


async def test_a_graph_of_many_nodes_is_taken_and_too_many_are_not(api):
    """A chain of 20,000 nodes passes; 100,001 nodes are refused."""

    def chain(length: int) -> dict[str, Any]:
        nodes: dict[str, Any] = {"0": {"class_type": "A", "inputs": {}}}
        for number in range(1, length):
            nodes[str(number)] = {"class_type": "A", "inputs": {"x": [str(number - 1), 0]}}
        return nodes

    fine = await api.post(WORKFLOWS, json={"name": "long", "api_graph": chain(20_000)})
    assert fine.status_code == 201
    many = {str(number): {"class_type": "A"} for number in range(100_001)}
    _problem(await api.post(WORKFLOWS, json={"name": "x", "api_graph": many}), 422, "too_many_nodes")


async def test_a_depth_bomb_is_a_400(api):
    """100,000 nested objects, arrays, or a bomb that never closes: malformed, and the server goes on."""
    for opened, closed in ((b'{"a":', b"1" + b"}" * 100_000), (b"[", b"]" * 100_000), (b'{"a":', b"")):
        body = b'{"name":"n","api_graph":{"1":' + opened * 100_000 + closed + (b"}}" if closed else b"")
        _problem(await api.post(WORKFLOWS, content=body, headers=JSON), 400, "malformed_json")


async def test_deeply_nested_values_and_huge_numbers_do_no_harm(api):
    """A value nested deeper than 100 is a 422, a number of 400 digits a 4xx, and neither a 500."""
    deep: Any = 1
    for _ in range(150):
        deep = {"x": deep}
    graph = {"1": {"class_type": "A", "inputs": {"x": deep}}}
    _problem(await api.post(WORKFLOWS, json={"name": "x", "api_graph": graph}), 422, "too_deep")
    for number in (b"1" * 400, b"1" * 5000, b"1e999", b"-0", b"12345678901234567890123"):
        body = b'{"name":"n","api_graph":{"1":{"class_type":"A","inputs":{"x":' + number + b"}}}}"
        answer = await api.post(WORKFLOWS, content=body, headers=JSON)
        assert answer.status_code in (201, 400, 422), answer.text


async def test_a_sane_request_id_is_kept_and_another_replaced(api):
    """The caller's X-Request-Id comes back when it is harmless."""
    assert (await api.get("/health/live", headers={"X-Request-Id": "abc-123"})).headers["x-request-id"] == "abc-123"
    strange = (await api.get("/health/live", headers={"X-Request-Id": "a b<script>"})).headers["x-request-id"]
    assert len(strange) == 36


async def test_broken_http_does_not_end_the_server(orchestrator, api):
    """Noise on the socket and a request that breaks off leave the server well."""
    parts = urlsplit(orchestrator.url)
    for noise in (b"\x16\x03\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"POST /api/v1/auth/login HTTP/1.1\r\nContent-Le"):
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(noise)
    assert (await api.get("/health/ready")).status_code == 200
