"""What every answer carries and every request is held to: limits, headers, other origins, bodies made to hurt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
import websockets

from tests.wire.conftest import Orchestrator, start_orchestrator

pytestmark = pytest.mark.anyio
FRIEND = "https://app.example.org"


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Iterator[Orchestrator]:
    """A server with a small limit that admits pages of one other origin."""
    running = start_orchestrator(
        tmp_path_factory.mktemp("orchestrator"),
        module_database_url,
        rate_limit="1",
        rate_burst="40",
        cors_origins=f"{FRIEND}, https://other.example.org/",
    )
    try:
        yield running
    finally:
        running.stop()


async def _key(api: httpx.AsyncClient, name: str) -> dict[str, str]:
    made = await api.post("/api/v1/api-keys", json={"name": name, "role": "owner"})
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['key']}"}


async def test_a_key_has_its_limit_and_is_told(api, nobody):
    """About forty of sixty requests pass, the others are 429 with Retry-After; another key is not touched."""
    first, second = await _key(api, "busy"), await _key(api, "calm")
    answers = await asyncio.gather(*(nobody.get("/api/v1/auth/me", headers=first) for _ in range(60)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 18 <= len(refused) <= 20
    assert {answer.json()["code"] for answer in refused} == {"too_many_requests"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused[0].headers["ratelimit-policy"] == '"requests";q=40;w=40'
    assert refused[0].headers["ratelimit"].startswith('"requests";r=0;t=')
    calm = await nobody.get("/api/v1/auth/me", headers=second)
    assert calm.status_code == 200
    assert calm.headers["ratelimit"] == '"requests";r=39;t=1'


async def test_an_address_without_a_credential_has_its_limit(nobody):
    """Guessing keys, and trading refresh tokens, ends in 429."""
    guesses = [await nobody.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {i}"}) for i in range(30)]
    assert {answer.status_code for answer in guesses} == {401}
    trades = [await nobody.post("/api/v1/auth/refresh", json={"refresh_token": str(i)}) for i in range(30)]
    assert [answer.status_code for answer in trades][-5:] == [429] * 5


@pytest.mark.parametrize("path", ["/health/live", "/api/v1/auth/me", "/nowhere", "/login", "/openapi.json"])
async def test_every_answer_has_the_headers_of_safety(nobody, path):
    """API, errors, unknown paths and pages: no sniffing, no frames, a policy that allows no foreign script."""
    headers = (await nobody.get(path)).headers
    policy = headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "strict-transport-security" not in headers
    assert len(headers.get_list("content-security-policy")) == 1


async def test_pages_of_a_named_origin_may_use_the_api(nobody):
    """The preflight and the answer name the origin; headers a client needs are readable; no cookies."""
    ask = {"Origin": FRIEND, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = await nobody.options("/api/v1/runs", headers=ask)
    assert preflight.status_code in (200, 204)
    assert preflight.headers["access-control-allow-origin"] == FRIEND
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    answer = await nobody.get("/health/live", headers={"Origin": FRIEND})
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers


async def test_pages_of_other_origins_may_not(nobody):
    """No header lets an unnamed origin read an answer."""
    for origin in ("https://evil.example.org", "null", f"{FRIEND}.evil.org", "http://app.example.org"):
        ask = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for answer in (
            await nobody.options("/api/v1/runs", headers=ask),
            await nobody.get("/health/live", headers={"Origin": origin}),
        ):
            assert answer.headers.get("access-control-allow-origin") is None, origin


def _nested(depth: int, kind: str) -> bytes:
    if kind == "list":
        return b'{"name": ' + b"[" * depth + b"]" * depth + b"}"
    return b'{"name": ' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"name": "a", "name": "b"}', "duplicate_key"),
        (b'{"name": NaN}', "malformed_json"),
        (b'{"name": Infinity}', "malformed_json"),
        (b'{"name": -Infinity}', "malformed_json"),
        (rb'{"name": "\ud800"}', "malformed_json"),
        (rb'{"name": "\udc00\ud800"}', "malformed_json"),
        (b'{"name": "\xff"}', "malformed_json"),
        (b'{"name": "\xed\xa0\x80"}', "malformed_json"),
        (b'{"name": 01}', "malformed_json"),
        (b'{"name": "a",}', "malformed_json"),
        (b'{"name": "a"} {}', "malformed_json"),
        (b"", "malformed_json"),
        (_nested(300, "list"), "malformed_json"),
        (_nested(300, "object"), "malformed_json"),
        (_nested(50_000, "list"), "malformed_json"),
        (_nested(50_000, "object"), "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
    ],
)
async def test_bodies_that_are_not_quite_json_are_bad_requests(orchestrator, body, code):
    """Names twice, numbers that are none, halves of surrogates, depth without end: 400, never 500."""
    async with httpx.AsyncClient(base_url=orchestrator.url, timeout=20) as client:
        answer = await client.post("/api/v1/auth/login", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text


async def test_brackets_in_text_are_no_depth(nobody):
    """A string may hold as many brackets as it likes."""
    body = json.dumps({"email": "[" * 500 + '"{' * 300, "password": "x"})
    answer = await nobody.post("/api/v1/auth/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


async def test_a_page_of_another_site_opens_no_socket_and_changes_nothing(orchestrator):
    """With the dashboard's cookie a foreign origin is refused; our own page may."""
    cookie = await _cookie(orchestrator)
    url = orchestrator.url.replace("http", "ws", 1) + "/comfy/ws"
    for origin in ("https://evil.example.org", "null", orchestrator.url + ".evil.org"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url, origin=websockets.Origin(origin), additional_headers=cookie, proxy=None)
        assert refused.value.response.status_code == 403, origin
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=cookie, timeout=20) as client:
        foreign = await client.post("/api/v1/workflows", json={"name": "x"}, headers={"Origin": FRIEND})
        ours = await client.post("/api/v1/workflows", json={"name": "x"}, headers={"Origin": orchestrator.url})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "cross_site")
    assert ours.status_code == 201


async def _cookie(orchestrator: Orchestrator) -> dict[str, str]:
    form = {"email": orchestrator.email, "password": orchestrator.password}
    async with httpx.AsyncClient(base_url=orchestrator.url, headers={"Origin": orchestrator.url}) as client:
        answer = await client.post("/login", data=form)
    return {"Cookie": f"cf_session={answer.cookies['cf_session']}"}
