"""Bad input, interrupts and signals: an error within a second, and the server lives on."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from PIL import Image

from tests.executor.process import ROOT, Client, Executor, n, nearest_upscaler, picture, upscale

pytestmark = pytest.mark.anyio
SOON_S = 5.0
"""A second on a machine with nothing else to do; the tests share two cores with each other."""


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def film(side: int, frames: int) -> bytes:
    """A small GIF of many large frames."""
    out = io.BytesIO()
    first, *rest = (Image.new("P", (side, side), index) for index in range(frames))
    first.save(out, format="GIF", save_all=True, append_images=rest)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("bomb.png", bomb(50_000), "too many pixels", id="bomb"),
        pytest.param("film.gif", film(3_000, 20), "pixels, at most", id="film"),
        pytest.param("text.png", b"hello", "is not an image", id="text"),
        pytest.param("empty.png", b"", "is not an image", id="empty"),
        pytest.param("cut.png", None, "damaged image", id="cut"),
    ],
)
async def test_files_that_are_no_good_images(
    client: Client, inputs: Path, name: str, content: bytes | None, message: str
) -> None:
    """A bomb, a text, nothing, half a file: the run fails with the reason, at once."""
    whole = (inputs / "small.png").read_bytes()
    (inputs / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    started = time.monotonic()
    entry, _ = await client.run({"l": n("LoadImage", image=name), "o": n("PreviewImage", images=["l", 0])})
    assert message in entry["status"]["messages"][-1][1]["exception_message"]
    assert time.monotonic() - started < SOON_S


@pytest.mark.parametrize("name", ["../log", "/etc/passwd", "a\x00b", "x" * 5000, "", ".", "small.png/.."])
async def test_names_that_lead_out_are_refused(client: Client, name: str) -> None:
    """LoadImage says that the file is invalid, before anything runs."""
    status, body = await client.post("/prompt", {"prompt": {"l": n("LoadImage", image=name), **shown("l")}})
    assert status == 400
    assert body["node_errors"]["l"]["errors"][0]["type"] == "custom_validation_failed"


def shown(source: str) -> dict[str, Any]:
    """A PreviewImage of a node."""
    return {"o": n("PreviewImage", images=[source, 0])}


async def test_a_prefix_that_leads_out_is_refused(client: Client, executor: Executor) -> None:
    """SaveImage writes nothing outside the output folder."""
    prompt = {"l": n("LoadImage", image="small.png")}
    prompt["s"] = n("SaveImage", images=["l", 0], filename_prefix="../../escaped")
    entry, _ = await client.run(prompt)
    assert "outside its folder" in entry["status"]["messages"][-1][1]["exception_message"]
    assert not list(executor.base.parent.glob("escaped*"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"3",
        b'{"prompt": []}',
        b'{"prompt": null}',
        b'{"prompt": {"a": []}}',
        b'{"prompt": {"a": {"class_type": []}}}',
        b'{"prompt": {"o": {"class_type": "PreviewAny", "inputs": {"source": NaN}}}}',
        b'{"prompt": ' + b"[" * 100_000,
        b'{"prompt": {}, "number": "x"}',
        b'{"prompt": {}, "client_id": 5}',
        b'{"prompt": {}, "extra_data": [1]}',
        b'{"prompt": {}, "partial_execution_targets": "all"}',
        b"\xff\xfe\x00",
    ],
)
async def test_bodies_that_are_no_prompt(client: Client, executor: Executor, body: bytes) -> None:
    """Each is a 400 within a second."""
    started = time.monotonic()
    async with client.session.post(f"{executor.url}/prompt", data=body) as answer:
        assert answer.status == 400, await answer.text()
    assert time.monotonic() - started < SOON_S


async def test_a_body_that_is_too_large_is_refused(executor: Executor, client: Client) -> None:
    """Over the upload limit: 413, not memory."""

    async def endless() -> Any:
        for _ in range(110):
            yield b" " * (1 << 20)

    async with client.session.post(f"{executor.url}/prompt", data=endless()) as answer:
        assert answer.status == 413
    assert (await client.get("/fleet/health"))["ok"]


async def test_more_memory_than_there_is_is_refused(client: Client) -> None:
    """A batch of terabytes fails as out of memory and the process lives."""
    huge = {"e": n("EmptyImage", width=16384, height=16384, batch_size=4096, color=0), **shown("e")}
    entry, _ = await client.run(huge)
    error = entry["status"]["messages"][-1][1]
    assert error["exception_type"] == "comfy_core.errors.OutOfMemory"
    assert "Memory ran out" in error["exception_message"]


async def test_models_that_cannot_be_used_say_why(client: Client) -> None:
    """A name that is none of the models' and a damaged file fail the run in words; nothing outside is looked at."""
    entry, _ = await client.run(upscale("small.png", "../x.safetensors"))
    assert "../x.safetensors" in entry["status"]["messages"][-1][1]["exception_message"]
    entry, _ = await client.run(upscale("small.png", "damaged.safetensors"))
    assert "not a readable weights file" in entry["status"]["messages"][-1][1]["exception_message"]


async def test_a_chain_of_20000_nodes_runs(client: Client) -> None:
    """Deep graphs are only longer; no message grows beyond what a client takes."""
    prompt = {"0": n("PrimitiveInt", value=5)}
    prompt |= {str(i): n("PrimitiveInt", value=[str(i - 1), 0]) for i in range(1, 20_000)}
    prompt["o"] = n("PreviewAny", source=["19999", 0])
    entry, heard = await client.run(prompt)
    assert entry["outputs"] == {"o": {"text": ["5"]}}
    assert sum(m["type"] == "executing" for m in heard) == 20_002


async def test_an_upscale_is_interrupted_between_tiles(client: Client, inputs: Path) -> None:
    """1.5 execution_interrupted, 2.2.4: the run ends long before its work is done, and the next one runs."""
    picture(inputs / "wide.png", 2600, 1000)
    prompt_id = await client.queue(upscale("wide.png", "realesr-animevideov3-x4.safetensors"))
    while (await client.hear())["type"] != "progress":
        pass
    assert await client.post("/interrupt", {"prompt_id": "another"}) == (200, "")
    assert await client.post("/interrupt", {"prompt_id": prompt_id}) == (200, "")
    heard = await client.until_end(prompt_id)
    ended = next(m["data"] for m in heard if m["type"] == "execution_interrupted")
    assert (ended["node_id"], ended["node_type"]) == ("up", "ImageUpscaleWithModel")
    entry = (await client.get(f"/history/{prompt_id}"))[prompt_id]
    assert entry["status"]["status_str"] == "error"
    entry, _ = await client.run(upscale("small.png"))
    assert entry["status"]["status_str"] == "success"


async def test_free_drops_results_and_models(client: Client) -> None:
    """1.1 POST /free, 2.2.3: after it the same prompt is executed again."""
    prompt = {"a": n("PrimitiveInt", value=77), "o": n("PreviewAny", source=["a", 0])}
    await client.run(prompt)
    assert await client.post("/free", {"unload_models": True, "free_memory": True}) == (200, "")
    await client.run({"o": n("PreviewAny", source="in between")})
    _, heard = await client.run(prompt)
    assert [m["data"]["node"] for m in heard if m["type"] == "executing"] == ["a", "o", None]


async def test_a_second_socket_of_the_same_client_takes_over(client: Client, executor: Executor) -> None:
    """Messages go to the newest socket with the id."""
    async with aiohttp.ClientSession() as session:
        other = Client(executor.url, session, client.client_id)
        assert (await other.connect())["data"]["sid"] == client.client_id
        entry, _ = await other.run({"o": n("PreviewAny", source="x")})
        assert entry["status"]["completed"]
        await other.socket.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_at_once_even_in_the_middle_of_a_node(tmp_path: Path, number: int) -> None:
    """No waiting for the node; the temp folder is gone; the exit status is 0."""
    (tmp_path / "models/upscale_models").mkdir(parents=True)
    (tmp_path / "input").mkdir()
    nearest_upscaler(tmp_path / "models/upscale_models/nearest2.safetensors")
    picture(tmp_path / "input/wide.png", 4000, 3000)
    own = Executor(tmp_path)
    async with aiohttp.ClientSession() as session:
        client = Client(own.url, session, "one")
        await client.connect()
        await client.queue(upscale("wide.png"))
        while (await client.hear())["type"] != "progress":
            pass
        assert own.stop(number) < 3
    assert own.process.returncode == 0
    assert not (tmp_path / "temp").exists()


async def test_it_dies_with_its_parent_when_told_to(tmp_path: Path) -> None:
    """The parent is killed without a chance to clean up; the executor goes too."""
    flags = ["--port", "0", "--cpu", "--die-with-parent", "--base-directory", str(tmp_path)]
    script = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'comfy_core', *sys.argv[1:]],"
        " stderr=subprocess.PIPE); print(p.pid, p.stderr.readline() and '', flush=True); p.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, *flags], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    child.wait(timeout=10)


async def test_a_port_in_use_is_said_and_ends_it(executor: Executor, tmp_path: Path) -> None:
    """Exit status 2 and a log line that names the address."""
    argv = [sys.executable, "-m", "comfy_core", "--port", str(executor.port), "--base-directory", str(tmp_path)]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "cannot listen" in ended.stderr
    assert ended.stdout == ""


async def test_every_log_line_is_json_and_the_server_still_answers(client: Client, executor: Executor) -> None:
    """After all that the log is whole and the executor works."""
    assert all("event" in line for line in executor.lines())
    entry, _ = await client.run(upscale("small.png"))
    assert entry["status"]["status_str"] == "success"
