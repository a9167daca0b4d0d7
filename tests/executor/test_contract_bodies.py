"""Section 1, bad input: whatever is sent, an answer comes within a second, and the server lives on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.executor.process import Client, Executor, n

pytestmark = pytest.mark.anyio
SOON_S = 5.0
"""A second on a machine with nothing else to do; the tests share two cores with each other."""
JSON_ROUTES = ("/prompt", "/queue", "/interrupt", "/free", "/history", "/settings", "/settings/x", "/users")
BODIES: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"a": ',
    "list": b"[]",
    "null": b"null",
    "text": b'"x"',
    "number": b"5",
    "nan": b'{"prompt": NaN}',
    "deep": b"[" * 200_000,
    "deep-and-closed": b"[" * 3_000 + b"]" * 3_000,
    "surrogate": b'{"\\ud800": "\\ud800"}',
    "not-utf8": b'{"a": "\xff\xfe"}',
    "huge-number": b'{"number": ' + b"9" * 4_000 + b', "prompt": {}, "a": 1e999}',
    "longer-number": b'{"number": ' + b"9" * 5_000 + b"}",
    "wrong-types": b'{"prompt": 5, "delete": 5, "clear": [], "prompt_id": [1], "unload_models": "x", "username": {}}',
}


@pytest.mark.parametrize("route", JSON_ROUTES)
async def test_bodies_of_every_kind_are_answered(client: Client, route: str) -> None:
    """1: no body makes a handler fail, and none takes long."""
    for name, body in BODIES.items():
        started = time.perf_counter()
        async with client.session.post(client.url + route, data=body) as answer:
            assert answer.status in (200, 400), (name, answer.status)
            if answer.status == 400 and answer.content_type == "application/json":
                assert "error" in await answer.json()
        assert time.perf_counter() - started < SOON_S, name
    assert (await client.get("/prompt"))["exec_info"]["queue_remaining"] >= 0


@pytest.mark.parametrize("route", ["/prompt", "/userdata/packed.txt", "/settings"])
@pytest.mark.parametrize("packing", ["gzip", "deflate"])
async def test_bodies_that_cannot_be_unpacked_are_refused(client: Client, route: str, packing: str) -> None:
    """1: a body that is not packed as it says is a bad request."""
    headers = {"Content-Encoding": packing, "Connection": "close"}
    async with client.session.post(client.url + route, data=b"not packed at all", headers=headers) as answer:
        assert answer.status == 400


async def test_parts_with_broken_headers_are_refused(client: Client) -> None:
    """1.3: a NUL in the name that a form gives its file is a bad request."""
    body = b'--X\r\nContent-Disposition: form-data; name="image"; filename="a\x00b.png"\r\n\r\nabc\r\n--X--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=X"}
    async with client.session.post(f"{client.url}/upload/image", data=body, headers=headers) as answer:
        assert answer.status == 400


async def test_charsets_nobody_knows_are_refused(client: Client) -> None:
    """1: a body in an unknown encoding is a bad request."""
    headers = {"Content-Type": "application/json; charset=klingon"}
    async with client.session.post(f"{client.url}/prompt", data=b"{}", headers=headers) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    ("change", "status", "number"),
    [
        ({"number": "5"}, 200, 5.0),
        ({"number": 1.5}, 200, 1.5),
        ({"number": -7}, 200, -7),
        ({"number": "x"}, 400, None),
        ({"number": None}, 400, None),
        ({"number": True}, 400, None),
        ({"number": "inf"}, 400, None),
        ({"extra_data": None}, 200, None),
        ({"extra_data": 5}, 400, None),
        ({"client_id": 5}, 400, None),
        ({"prompt_id": 5}, 200, None),
        ({"partial_execution_targets": None}, 200, None),
        ({"partial_execution_targets": []}, 400, None),
        ({"partial_execution_targets": ["none"]}, 400, None),
        ({"partial_execution_targets": 5}, 400, None),
        ({"prompt": []}, 400, None),
        ({"prompt": {"1": 5}}, 400, None),
        ({"prompt": {"1": {"class_type": 5, "inputs": {}}}}, 400, None),
        ({"prompt": {"1": {"class_type": "EmptyImage", "inputs": 5}}}, 400, None),
    ],
)
async def test_fields_of_a_prompt(client: Client, change: dict[str, Any], status: int, number: float | None) -> None:
    """1.1 POST /prompt: each field in the forms it may have; anything else is 400 in ComfyUI's shape."""
    got, body = await client.post("/prompt", {"prompt": {"1": n("PreviewAny", source="x")}} | change)
    assert got == status
    if status == 200:
        assert set(body) == {"prompt_id", "number", "node_errors"}
        assert number is None or body["number"] == number
    else:
        assert set(body["error"]) == {"type", "message", "details", "extra_info"}
        assert "node_errors" in body


async def test_interrupts_need_no_body(client: Client) -> None:
    """1.1 POST /interrupt: `{}`, nothing and no JSON are the same; the answer is empty."""
    for body in (b"", b"{}", b"not json"):
        async with client.session.post(f"{client.url}/api/interrupt", data=body) as answer:
            assert (answer.status, await answer.read()) == (200, b"")


async def test_addresses_of_every_kind_are_answered(client: Client) -> None:
    """1: odd paths and queries are not found or refused; 405 names what a path takes; HEAD answers as GET."""
    for path in ("/none", "/%00", "/%ff%fe", "/..%2f..%2fetc%2fpasswd", "/" + "a" * 7000, "/object_info/%ED%A0%80"):
        async with client.session.get(URL(client.url + path, encoded=True)) as answer:
            assert answer.status in (200, 400, 403, 404), path
    for query in ("max_items=x", "max_items=9e9", "offset=--1", "max_items=" + "9" * 5000):
        async with client.session.get(f"{client.url}/history?{query}") as answer:
            assert answer.status in (200, 400), query
    async with client.session.put(f"{client.url}/prompt") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD,POST")
    async with client.session.head(f"{client.url}/object_info") as answer:
        assert answer.status == 200


async def test_requests_that_are_no_http_do_not_matter(client: Client, executor: Executor) -> None:
    """1: garbage, a cut request and a client that hangs up in its body leave the server as it was."""
    for sent in (
        b"\x16\x03\x01garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost",
        b"POST /prompt HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
        b"POST /upload/image HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n"
        b"Content-Type: multipart/form-data; boundary=X\r\n\r\n--X\r\n"
        b'Content-Disposition: form-data; name="image"; filename="hung.png"\r\n\r\nabc',
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", executor.port)
        writer.write(sent)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert "queue_running" in await client.get("/queue")
    until = time.monotonic() + 5
    while left := [path.name for path in (executor.base / "input").iterdir() if path.name.startswith(".upload")]:
        assert time.monotonic() < until, left
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", 200),
        ("localhost:{port}", "http://localhost:{port}", 200),
        ("LOCALHOST:{port}", "http://localhost:{port}", 200),
        ("127.0.0.1:{port}", "http://localhost:{port}", 403),
        ("127.0.0.1:{port}", "http://127.0.0.1:1", 403),
        ("127.0.0.1:{port}", "http://evil.example", 403),
        ("127.0.0.1:{port}", "null", 403),
        ("127.0.0.1:{port}", "http://[::1", 403),
        ("[::1]:{port}", "http://evil.example", 403),
        ("fleet.example", "http://evil.example", 200),
        ("[bad", "http://evil.example", 200),
        ("127.0.0.1:{port}", "", 200),
    ],
)
async def test_pages_of_other_sites(client: Client, executor: Executor, host: str, origin: str, status: int) -> None:
    """1 origin guard: at a loopback name an Origin must be the very address; without one, all may ask."""
    headers = {"Host": host.format(port=executor.port), "Origin": origin.format(port=executor.port)}
    async with aiohttp.ClientSession() as session:
        for method, expected in (("GET", status), ("OPTIONS", status)):
            async with session.request(method, f"{client.url}/prompt", headers=headers) as answer:
                assert answer.status == expected
                assert "Access-Control-Allow-Origin" not in answer.headers
