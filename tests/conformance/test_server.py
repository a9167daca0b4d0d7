"""What only a whole server shows: queue and history as clients read them, files that are saved, bodies that are odd."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.executor.process import Client, Executor, n

pytestmark = pytest.mark.anyio
WORKFLOW = {"workflow": {"nodes": [{"id": 1}]}, "more": [1, "ü"]}
SOON_S = 10.0


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """One executor for this module."""
    base = tmp_path_factory.mktemp("conformance")
    (base / "models/embeddings/more").mkdir(parents=True)
    for name in ("one.pt", "more/two.safetensors"):
        (base / "models/embeddings" / name).touch()
    running = Executor(base)
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
async def client(executor: Executor) -> AsyncIterator[Client]:
    """A client that is connected and has read its greeting."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        one = Client(executor.url, session, uuid.uuid4().hex)
        await one.connect()
        yield one
        await one.socket.close()


def image(width: int = 6, color: int = 0x336699) -> dict[str, Any]:
    """A picture of one colour, 4 high."""
    return n("EmptyImage", width=width, height=4, batch_size=1, color=color)


def saves(prefix: str, class_type: str = "SaveImage", **more: int) -> dict[str, Any]:
    """A prompt that saves a picture."""
    given = {"filename_prefix": prefix} if class_type == "SaveImage" else {}
    return {"i": image(**more), "s": n(class_type, images=["i", 0], **given)}


async def saved(client: Client, prompt: dict[str, Any], **more: Any) -> list[dict[str, str]]:
    """The files that `s` says it saved."""
    entry, _ = await client.run(prompt, **more)
    assert entry["status"]["status_str"] == "success", entry["status"]
    shown: list[dict[str, str]] = entry["outputs"]["s"]["images"]
    return shown


async def test_the_queue_lists_whole_prompts(client: Client) -> None:
    """1.1 GET /queue: number, id, prompt, extra_data and outputs, of the running and the waiting."""
    slow = {"i": image(width=4000), "u": n("ImageScaleBy", image=["i", 0], upscale_method="lanczos", scale_by=8.0)}
    slow["s"] = n("PreviewImage", images=["u", 0])
    running = [await client.queue(slow | {"i": image(4000, color)}) for color in (1, 2, 3)]
    waiting = {"v": n("PrimitiveInt", value=5), "s": n("PreviewAny", source=["v", 0]), "t": n("PreviewAny", source="x")}
    last = await client.queue(waiting, number=700.5, extra_data={"mine": 1}, partial_execution_targets=["t"])
    while not (queue := await client.get("/queue"))["queue_running"]:
        await asyncio.sleep(0.01)  # a worker that has just started is not ready at once
    (found,) = [item for item in queue["queue_pending"] if item[1] == last]
    assert isinstance(found[3].pop("create_time"), int)
    assert found == [700.5, last, waiting, {"mine": 1, "client_id": client.client_id}, ["t"]]
    assert [len(item) for item in queue["queue_running"]] == [5]
    await client.post("/queue", {"delete": running[1:]})
    await client.post("/interrupt", {"prompt_id": running[0]})
    await client.until_end(last)
    assert await client.get("/queue") == {"queue_running": [], "queue_pending": []}


async def test_windows_of_the_history(client: Client) -> None:
    """1.1 GET /history: the oldest first; the last ones without an offset; one by its id; nothing for another."""
    await client.post("/history", {"clear": True})
    ids = [
        (await client.run({"v": n("PrimitiveInt", value=value), "s": n("PreviewAny", source=["v", 0])}))[0]["prompt"][1]
        for value in range(5)
    ]
    assert list(await client.get("/history")) == ids
    assert list(await client.get("/history?max_items=2")) == ids[-2:]
    assert list(await client.get("/history?max_items=2&offset=1")) == ids[1:3]
    assert list(await client.get("/history?offset=4")) == ids[4:]
    assert list(await client.get(f"/history/{ids[2]}")) == [ids[2]]
    assert await client.get("/history/nobody") == {}


async def test_names_of_embeddings(client: Client) -> None:
    """1.2 /embeddings: of every folder below, without their ending."""
    assert sorted(await client.get("/embeddings")) == ["more/two", "one"]


async def test_pictures_carry_prompt_and_workflow(client: Client, executor: Executor) -> None:
    """2.12.1: as text chunks of JSON; values are cut to 8 bits, not rounded."""
    prompt = saves("meta")
    (file,) = await saved(client, prompt, extra_data={"extra_pnginfo": WORKFLOW})
    assert file == {"filename": "meta_00001_.png", "subfolder": "", "type": "output"}
    with Image.open(executor.base / "output" / file["filename"]) as picture:
        assert (picture.size, picture.mode, picture.getpixel((0, 0))) == ((6, 4), "RGB", (0x33, 0x66, 0x99))
        assert {key: json.loads(value) for key, value in picture.info.items()} == {"prompt": prompt} | WORKFLOW


async def test_file_names_count_on_from_what_is_there(client: Client, executor: Executor) -> None:
    """2.12.1: from the highest of the same prefix, whatever its ending; folders and tokens in the prefix."""
    folder = executor.base / "output" / "sub"
    folder.mkdir()
    for name in ("cat_00041_.webp", "cat_00007_.png", "cats_00090_.png", "cat_x_.png"):
        (folder / name).touch()
    for width, counter in ((1, 42), (2, 43)):
        (file,) = await saved(client, saves("sub/cat", width=width))
        assert (file["filename"], file["subfolder"]) == (f"cat_{counter:05}_.png", "sub")
    (file,) = await saved(client, saves("t/%width%x%height% %year%-%month%-%day% %none%"))
    assert re.fullmatch(r"6x4 20\d\d-[01]\d-[0-3]\d %none%_00001_\.png", file["filename"])
    batch = saves("b%batch_num%")
    batch["i"]["inputs"]["batch_size"] = 2
    assert [file["filename"] for file in await saved(client, batch)] == ["b0_00001_.png", "b1_00002_.png"]


@pytest.mark.parametrize("prefix", ["../out", "a/../../out", "/tmp/out", "sub/../../output2/out"])
async def test_nothing_is_saved_outside(client: Client, executor: Executor, prefix: str) -> None:
    """2.12.1: a prefix that leaves the output folder is an error of the node."""
    before = sorted(executor.base.parent.rglob("out*.png"))
    entry, _ = await client.run(saves(prefix))
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["messages"][-1][1]["node_id"] == "s"
    assert sorted(executor.base.parent.rglob("out*.png")) == before
    assert not Path("/tmp/out_00001_.png").exists()


async def test_previews_have_letters_of_their_nodes_own(client: Client, executor: Executor) -> None:
    """2.12.2, 2.4.1: the same five as long as the node is there, and counted; another node has others."""
    names = []
    for width in (1, 2, 3):
        prompt = saves("", "PreviewImage", width=width)
        prompt |= {"j": image(width + 10), "t": n("PreviewImage", images=["j", 0])}
        entry, _ = await client.run(prompt)
        for node_id in ("s", "t"):
            (file,) = entry["outputs"][node_id]["images"]
            assert (file["type"], file["subfolder"]) == ("temp", "")
            assert (executor.base / "temp" / file["filename"]).is_file()
            names.append(file["filename"])
    parts = [re.fullmatch(r"ComfyUI_temp_([a-z]{5})_(0000\d)_\.png", name) for name in names]
    assert all(parts)
    letters = [part[1] for part in parts if part]
    assert [part[2] for part in parts if part] == ["00001", "00001", "00002", "00002", "00003", "00003"]
    assert letters == letters[:2] * 3
    assert letters[0] != letters[1]


async def test_what_savers_show(client: Client) -> None:
    """2.12.3: files of latents and animations under the names that clients look for, text as text."""
    prompt = {
        "l": n("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sl": n("SaveLatent", samples=["l", 0], filename_prefix="lat"),
        "i": image(),
        "sa": n("SaveAnimatedPNG", images=["i", 0], filename_prefix="ani", fps=4.0, compress_level=4),
        "t": n("PreviewAny", source="words"),
    }
    entry, _ = await client.run(prompt)
    assert entry["outputs"] == {
        "sl": {"latents": [{"filename": "lat_00001_.latent", "subfolder": "", "type": "output"}]},
        "sa": {
            "images": [{"filename": "ani_00001_.png", "subfolder": "", "type": "output"}],
            "animated": [True],
        },
        "t": {"text": ["words"]},
    }


NESTED = '{"prompt": {"a": {"class_type": "PreviewAny", "inputs": {"source": %s}}}}'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (NESTED % ("[" * 100_000 + "]" * 100_000), 400),
        (NESTED % ('{"__value__":' * 100_000 + "1" + "}" * 100_000), 400),
        ('{"prompt": ' * 50_000 + "1" + "}" * 50_000, 400),
        (NESTED % ("9" * 100_000), 400),
        (NESTED % "NaN", 400),
        (NESTED % "-Infinity", 400),
        (NESTED % "1e999", 200),
        (NESTED % '"\\ud800"', 200),
        (NESTED % '"a\\u0000b"', 200),
        ('{"prompt": {"a": {"class_type": "Nope"}, "a": {"class_type": "PreviewAny", "inputs": {"source": 1}}}}', 200),
        ('{"prompt": {"": {"class_type": "PreviewAny", "inputs": {"source": 1}}}}', 200),
        ('{"prompt": {"%s": {"class_type": "PreviewAny", "inputs": {"source": 1}}}}' % ("x" * 200_000), 200),
        ('{"prompt": {"a": {"class_type": "EmptyImage", "inputs": {"width": NaN}}}}', 400),
    ],
)
async def test_bodies_that_make_no_sense(client: Client, body: str, status: int) -> None:
    """1.1 POST /prompt: too deep, too large or odd; an answer soon, and what was queued runs to an end."""
    started = time.perf_counter()
    text = json.dumps({"client_id": client.client_id})[1:-1] + ", " + body[1:]
    async with client.session.post(f"{client.url}/prompt", data=io.BytesIO(f"{{{text}".encode())) as answer:
        assert answer.status == status, (await answer.text())[:300]
        told = await answer.json() if status == 200 else {}
    if told:
        await client.until_end(told["prompt_id"])
        assert told["prompt_id"] in await client.get(f"/history/{told['prompt_id']}")
    assert time.perf_counter() - started < SOON_S
    assert (await client.run(saves("after")))[0]["status"]["status_str"] == "success"


async def test_a_circle_of_100000_outputs_that_are_all_wrong(client: Client) -> None:
    """1.1 POST /prompt: refused with the errors of some of them, and without the memory that all would take."""
    circle = {str(index): n("PreviewAny", source=[str((index + 1) % 100_000), 0]) for index in range(100_000)}
    status, told = await client.post("/prompt", {"prompt": circle, "client_id": client.client_id})
    assert (status, told["error"]["type"]) == (400, "prompt_outputs_failed_validation")
    assert told["node_errors"]
    assert (await client.run(saves("after")))[0]["status"]["status_str"] == "success"


async def test_a_prompt_of_100000_nodes(client: Client) -> None:
    """1.1 POST /prompt, 2.1.2: all unsound but one; the answer names them once, and the one runs."""
    prompt = {str(index): n("PreviewAny", source=["bad", 0]) for index in range(100_000)}
    prompt |= {"bad": n("PrimitiveInt", value="x"), "good": n("PreviewAny", source="fine")}
    started = time.perf_counter()
    status, told = await client.post("/prompt", {"prompt": prompt, "client_id": client.client_id})
    assert status == 200
    assert list(told["node_errors"]) == ["bad"]
    assert len(told["node_errors"]["bad"]["dependent_outputs"]) == 100_000
    await client.until_end(told["prompt_id"])
    assert time.perf_counter() - started < 6 * SOON_S
    await client.post("/history", {"clear": True})
