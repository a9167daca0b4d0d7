"""Section 1, general rules, and 1.6: a server with many flags at once, over TLS. Each test names its rule."""

from __future__ import annotations

import asyncio
import gzip
import io
import ssl
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.executor.process import Executor, n

pytestmark = pytest.mark.anyio
ORIGIN = "https://pages.example"
MIB = 1024 * 1024
GOODBYE_S = 5.0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """An executor with TLS, CORS, compression, several users, a small limit and a front end of two files."""
    base = tmp_path_factory.mktemp("guarded")
    key, certificate = base / "key.pem", base / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    front = base / "front"
    (front / "assets").mkdir(parents=True)
    for name in ("index.html", "assets/a.js", "assets/a.css", "assets/a.png", "assets/index.x.json", "assets/a.woff2"):
        (front / name).write_text(name)
    flags = ["--tls-keyfile", str(key), "--tls-certfile", str(certificate), "--enable-cors-header", ORIGIN]
    flags += [
        "--enable-compress-response-body",
        "--multi-user",
        "--max-upload-size",
        "1",
        "--fp16-unet",
        "--log-stdout",
    ]
    running = Executor(base, *flags, "--front-end-root", str(front), "--user-directory", str(base / "people"))
    running.url = running.url.replace("http", "https")
    yield running
    running.stop()


@pytest.fixture
async def session(guarded: Executor) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that trusts the server's own certificate only."""
    trust = ssl.create_default_context(cafile=str(guarded.base / "certificate.pem"))
    trust.check_hostname = False
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(guarded.url, connector=connector) as made:
        yield made
    until = time.monotonic() + GOODBYE_S
    while _open_sockets(guarded.port) and time.monotonic() < until:
        await asyncio.sleep(0.002)  # sockets under TLS are let go of some turns of the loop after they are closed


def _open_sockets(port: int) -> bool:
    return any(one.raddr and one.raddr.port == port for one in psutil.Process().net_connections("tcp"))


async def test_tls_serves_sockets_too(session: aiohttp.ClientSession) -> None:
    """1.6 --tls-keyfile, --tls-certfile: https and wss."""
    async with session.ws_connect("/ws?clientId=secure") as socket:
        assert (await socket.receive_json())["data"]["sid"] == "secure"


async def test_pages_of_the_origin_are_let_in(session: aiohttp.ClientSession) -> None:
    """1 --enable-cors-header: four headers on every answer, refusals included; OPTIONS is 200 and empty."""
    for method, path, status in (
        ("GET", "/prompt", 200),
        ("OPTIONS", "/prompt", 200),
        ("OPTIONS", "/none", 200),
        ("GET", "/none", 404),
        ("PUT", "/prompt", 405),
        ("POST", "/prompt", 400),
    ):
        async with session.request(method, path, headers={"Origin": "https://other.example"}) as answer:
            assert answer.status == status
            told = {key: answer.headers[f"Access-Control-Allow-{key}"] for key in ("Origin", "Methods", "Headers")}
            assert told == {
                "Origin": ORIGIN,
                "Methods": "POST, GET, DELETE, PUT, OPTIONS",
                "Headers": "Content-Type, Authorization",
            }
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert method != "OPTIONS" or await answer.read() == b""


async def test_json_is_packed_for_those_who_take_it(session: aiohttp.ClientSession) -> None:
    """1 --enable-compress-response-body: gzip for JSON and text when asked for, for nothing else."""
    for path, offer, packed in (
        ("/object_info/EmptyImage", "gzip", True),
        ("/prompt", "br, gzip;q=0.5", True),
        ("/prompt", "gzip;q=0", False),
        ("/prompt", "deflate", False),
        ("/assets/a.js", "gzip", False),
    ):
        async with session.get(path, headers={"Accept-Encoding": offer}) as answer:
            assert (answer.headers.get("Content-Encoding") == "gzip") == packed, (path, offer)


async def test_what_browsers_may_keep(session: aiohttp.ClientSession) -> None:
    """1 cache headers: scripts, styles and index files never, pictures a day, missing ones an hour, the page never."""
    for path, said in (
        ("/", "no-cache"),
        ("/assets/a.js", "no-cache"),
        ("/assets/a.css", "no-cache"),
        ("/assets/index.x.json", "no-cache"),
        ("/none.js", "no-cache"),
        ("/assets/a.png", "public, max-age=86400"),
        ("/none.png", "public, max-age=3600"),
        ("/assets/a.woff2", None),
        ("/prompt", None),
    ):
        async with session.get(path) as answer:
            assert answer.headers.get("Cache-Control") == said, path


async def test_the_front_end_is_the_root(session: aiohttp.ClientSession) -> None:
    """1.2 GET /: index.html of --front-end-root; its files beside, no list of them, HEAD as well as GET."""
    for path, status, text in (("/", 200, "index.html"), ("/assets/a.js", 200, "assets/a.js"), ("/assets/", 403, None)):
        async with session.get(path) as answer:
            assert answer.status == status
            assert text is None or await answer.text() == text
        async with session.head(path) as answer:
            assert answer.status == status


@pytest.mark.parametrize("route", ["/prompt", "/settings", "/userdata/a.txt", "/upload/image", "/upload/mask"])
async def test_bodies_over_the_limit_are_refused(session: aiohttp.ClientSession, route: str) -> None:
    """1 --max-upload-size: 413 with the limit in words, also for a body that does not say its size."""
    user = await _add(session, f"limit {uuid.uuid4()}")
    form = {"Content-Type": "multipart/form-data; boundary=X", "comfy-user": user}
    head = b'--X\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    content = head + b"a" * (2 * MIB)

    async def unsized() -> AsyncIterator[bytes]:
        yield content

    for body in (io.BytesIO(content), unsized()):
        async with session.post(route, data=body, headers=form) as answer:
            assert answer.status == 413
            assert str(MIB) in await answer.text()
    async with session.get("/features") as answer:
        assert (await answer.json())["max_upload_size"] == MIB


async def test_packed_bodies_count_by_what_they_hold(session: aiohttp.ClientSession) -> None:
    """1 --max-upload-size: gzip of more than the limit is refused, however small it travels."""
    packed = gzip.compress(b"[" + b" " * (3 * MIB) + b"]")
    assert len(packed) < MIB
    async with session.post("/prompt", data=packed, headers={"Content-Encoding": "gzip"}) as answer:
        assert answer.status == 413


async def _add(session: aiohttp.ClientSession, name: str) -> str:
    async with session.post("/users", json={"username": name}) as answer:
        assert answer.status == 200
        return str(await answer.json())


async def test_users_are_kept_apart(session: aiohttp.ClientSession, guarded: Executor) -> None:
    """1.2 /users: several; 400 for a name that is taken, settings and files of the header's user only."""
    one, two = await _add(session, "one"), await _add(session, "../two ü")
    async with session.get("/users") as answer:
        said = await answer.json()
    assert (said["storage"], said["users"][one], said["users"][two]) == ("server", "one", "../two ü")
    assert one.startswith("one_")
    async with session.post("/users", json={"username": "one"}) as answer:
        assert (answer.status, await answer.json()) == (400, {"error": "Duplicate username."})
    await session.post("/settings", json={"mine": 1}, headers={"comfy-user": one})
    await session.post("/userdata/a.txt", data=b"mine", headers={"comfy-user": one})
    assert (guarded.base / "people" / one / "a.txt").read_text() == "mine"
    for user, settings, files in ((one, {"mine": 1}, ["a.txt", "comfy.settings.json"]), (two, {}, None)):
        async with session.get("/settings", headers={"comfy-user": user}) as answer:
            assert await answer.json() == settings
        async with session.get("/userdata?dir=.", headers={"comfy-user": user}) as answer:
            assert (await answer.json() if answer.status == 200 else None) == files


@pytest.mark.parametrize("user", [None, "nobody", "../x", "default"])
async def test_unknown_users_get_nothing(session: aiohttp.ClientSession, user: str | None) -> None:
    """1.2 /users: with --multi-user, 401 for a user nobody added, 403 from the tree."""
    headers = {} if user is None else {"comfy-user": user}
    for method, path in (("GET", "/settings"), ("POST", "/settings"), ("GET", "/userdata/a"), ("POST", "/userdata/a")):
        async with session.request(method, path, headers=headers, json={} if method == "POST" else None) as answer:
            assert answer.status == 401
    async with session.get("/v2/userdata", headers=headers) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("body", [b"{}", b"[]", b"5", b'{"username": 5}', b'{"username": " "}', b"{", b""])
async def test_users_without_a_name_are_refused(session: aiohttp.ClientSession, body: bytes) -> None:
    """1.2 POST /users: 400 for what is no name."""
    async with session.post("/users", data=body) as answer:
        assert answer.status == 400


async def test_flags_without_a_meaning_are_named(guarded: Executor) -> None:
    """1.6: a flag that means nothing here is taken with a warning; the log goes where --log-stdout says."""
    warned: list[dict[str, Any]] = [line for line in guarded.lines() if "flags" in line]
    assert [line["flags"] for line in warned] == [["--fp16-unet"]]


async def test_prompts_run_behind_all_of_it(session: aiohttp.ClientSession) -> None:
    """1: the rules leave the work alone: a prompt is queued and ends."""
    async with session.ws_connect("/ws?clientId=worker") as socket:
        await session.post("/prompt", json={"prompt": {"o": n("PreviewAny", source="x")}, "client_id": "worker"})
        while (await socket.receive_json(timeout=20))["type"] != "execution_success":
            pass


def test_certificates_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    """1.6 --tls-*: a key without its certificate ends the start with the reason."""
    from comfy_core.config import read_settings
    from comfy_core.errors import InputRefused

    with pytest.raises(InputRefused, match="belong together"):
        read_settings(["--tls-keyfile", str(tmp_path / "key.pem")])
