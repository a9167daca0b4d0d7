"""Requests and answers of every route, on an application of their own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from litestar import Litestar, Response, get, post
from litestar.datastructures import Cookie
from litestar.testing import AsyncTestClient
from msgspec import Struct

from orchestrator.api.exchange import Answer, Asked
from orchestrator.api.problems import HANDLERS

pytestmark = pytest.mark.anyio


class Thing(Struct):
    """What is answered."""

    name: str


@post("/twice", status_code=200)
async def twice(request: Asked) -> dict[str, Any]:
    """The body by another object of the same request, and as a stream after that."""
    first = await Asked(request.scope, request.receive).body()
    rest = b"".join([part async for part in request.stream()])
    return {"length": len(first), "same": first == rest == await request.body()}


@get("/thing", response_headers={"X-Route": "yes"})
async def thing() -> Response[Thing]:
    """A header of its own beside the route's."""
    return Answer(Thing("é"), headers={"Location": "/there"}, status_code=202)


@get("/cookie")
async def cookie() -> Response[Thing]:
    """What the short way does not do."""
    return Answer(Thing("a"), cookies=[Cookie(key="c", value="1")])


@get("/text", media_type="text/plain")
async def text() -> str:
    """No JSON."""
    return "plain"


@get("/nothing", status_code=204)
async def nothing() -> None:
    """No body."""


def client(most: int = 1000) -> AsyncTestClient[Litestar]:
    return AsyncTestClient(
        Litestar(
            [twice, thing, cookie, text, nothing],
            request_class=Asked,
            response_class=Answer,
            request_max_body_size=most,
            exception_handlers=HANDLERS,
        )
    )


async def told(http: AsyncTestClient[Litestar], *pieces: bytes, gone: bool = False) -> tuple[int, Any]:
    """POST /twice, the body in these pieces. gone: the caller goes away in place of the last."""
    coming = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    coming[-1] = {"type": "http.disconnect"} if gone else coming[-1] | {"more_body": False}
    answered: list[Any] = []

    async def receive() -> Any:
        return coming.pop(0)

    async def send(message: Any) -> None:
        answered.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": "/twice", "raw_path": b"/twice", "headers": []}
    scope |= {"query_string": b"", "scheme": "http", "server": ("a", 1), "client": ("b", 2), "root_path": ""}
    await http.app(scope, receive, send)
    return answered[0]["status"], msgspec.json.decode(answered[1]["body"])


async def test_a_body_is_read_once_however_it_came() -> None:
    """Whole, in pieces, and not at all."""
    async with client() as http:
        assert (await http.post("/twice", content=b"x" * 70)).json() == {"length": 70, "same": True}
        assert await told(http, b"x" * 100, b"", b"y" * 200) == (200, {"length": 300, "same": True})
        assert (await http.post("/twice")).json() == {"length": 0, "same": True}


async def test_a_body_that_is_too_large_is_refused() -> None:
    """By what it says of itself, and by what comes."""
    async with client(most=100) as http:
        announced = await http.post("/twice", content=b"x" * 101)
        assert (announced.status_code, announced.json()["detail"]) == (413, "the body is larger than 100 bytes")
        assert (await told(http, b"x" * 60, b"x" * 60))[0] == 413
        assert (await http.post("/twice", content=b"x" * 100)).status_code == 200


async def test_a_caller_that_goes_away_is_no_fault_of_ours() -> None:
    """The body ends before its end."""
    async with client() as http:
        status, problem = await told(http, b"x", b"y", gone=True)
    assert (status, problem["detail"]) == (400, "the caller went away before the end of the body")


async def test_answers_of_every_kind() -> None:
    """JSON the short way, with the route's own headers; the rest as the framework has it."""
    async with client() as http:
        short = await http.get("/thing")
        assert (short.status_code, short.json()) == (202, {"name": "é"})
        expected = {"location": "/there", "x-route": "yes", "content-type": "application/json", "content-length": "13"}
        assert expected.items() <= dict(short.headers).items()
        assert (await http.get("/cookie")).cookies["c"] == "1"
        assert (await http.get("/text")).text == "plain"
        empty = await http.get("/nothing")
        assert (empty.status_code, empty.content) == (204, b"")
