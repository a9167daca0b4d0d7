"""A real server that runs short of memory, and prompts that have directories of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.executor.process import Client, Executor, n, nearest_upscaler, picture, upscale

pytestmark = pytest.mark.anyio
PACK = '''
import torch

class Starved:
    """Runs out of memory the first `times` times it is called."""
    calls = {}
    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING",), "times": ("INT", {}), "of": (["device", "main"],)},
                "optional": {"after": ("*",)}}
    def go(self, name, times, of, after=None):
        held = torch.zeros(1 << 20)
        count = self.calls[name] = self.calls.get(name, 0) + 1
        if count <= times:
            raise torch.OutOfMemoryError("no room") if of == "device" else MemoryError("no room")
        return (f"{name} {count}",)

NODE_CLASS_MAPPINGS = {"Starved": Starved}
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    base = tmp_path_factory.mktemp("room")
    (base / "models/upscale_models").mkdir(parents=True)
    nearest_upscaler(base / "models/upscale_models/nearest2.safetensors")
    (base / "input").mkdir()
    picture(base / "input/small.png")
    (base / "custom_nodes/starving").mkdir(parents=True)
    (base / "custom_nodes/starving/__init__.py").write_text(PACK)
    running = Executor(base)
    yield running
    running.stop()


@pytest.fixture
async def client(server: Executor) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        one = Client(server.url, session, "one")
        await one.connect()
        yield one
        await one.socket.close()


def starved(name: str, times: int, of: str = "main") -> dict[str, Any]:
    """Load a model, so that there is something to free, then run out of memory."""
    prompt = upscale("small.png")
    prompt["starved"] = n("Starved", name=name, times=times, of=of, after=["up", 0])
    prompt["out"] = n("PreviewAny", source=["starved", 0])
    return prompt


@pytest.mark.parametrize("of", ["main", "device"])
async def test_a_node_that_runs_out_of_memory_is_tried_once_more(client: Client, of: str) -> None:
    """Models are dropped and the node's second try counts: the run succeeds, and the upscaler works again."""
    entry, heard = await client.run(starved(f"once-{of}", 1, of))
    assert entry["status"]["status_str"] == "success", entry["status"]
    assert entry["outputs"]["out"]["text"] == [f"once-{of} 2"]
    ended = next(message["data"] for message in heard if message["type"] == "execution_success")
    assert ended["peak_ram"] > 50_000_000
    assert ended["peak_vram"] == 0
    assert (await client.run(upscale("small.png")))[0]["status"]["status_str"] == "success"


async def test_a_node_that_runs_out_of_memory_twice_fails_the_run(client: Client) -> None:
    """2.9.2: the error keeps its class and says what may help; the server lives on."""
    entry, _ = await client.run(starved("twice", 2))
    kind, error = entry["status"]["messages"][-1]
    assert kind == "execution_error"
    assert (error["exception_type"], error["node_id"]) == ("MemoryError", "starved")
    assert "Memory ran out" in error["exception_message"]
    assert error["peak_ram"] > 50_000_000
    entry, _ = await client.run(starved("twice", 2))  # the third call is well
    assert entry["outputs"]["out"]["text"] == ["twice 3"]


async def run_in(client: Client, directory: str, prompt: dict[str, Any]) -> dict[str, Any]:
    """Run a prompt in a directory; its history entry."""
    entry, _ = await client.run(prompt, extra_data={"fleet": {"directory": directory}})
    return entry


async def upload(client: Client, directory: str, name: str, content: bytes) -> dict[str, Any]:
    form = aiohttp.FormData()
    form.add_field("image", content, filename=name)
    url = f"{client.url}/upload/image?directory={directory}"
    async with client.session.post(url, data=form) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def seen(client: Client, name: str, query: str = "") -> int:
    """The status of /view."""
    async with client.session.get(f"{client.url}/view?filename={name}&type=output{query}") as answer:
        return answer.status


async def test_each_directory_has_its_own_files_and_results(client: Client, server: Executor) -> None:
    """The same name is another picture in another directory; results are found in their own; nothing crosses over."""
    small, wide = (server.base / "input/small.png").read_bytes(), server.base / "wide.png"
    picture(wide, 64, 16)
    for directory, content in (("org-a", small), ("org-b", wide.read_bytes())):
        assert (await upload(client, directory, "mine.png", content))["name"] == "mine.png"
    prompt = {"l": n("LoadImage", image="mine.png"), "s": n("SaveImage", images=["l", 0], filename_prefix="x")}
    sizes = {}
    for directory in ("org-a", "org-b", "org-a"):
        entry = await run_in(client, directory, prompt)
        (file,) = entry["outputs"]["s"]["images"]
        sizes[directory] = (server.base / "output" / directory / file["filename"]).stat().st_size
        assert await seen(client, file["filename"], f"&directory={directory}") == 200
        assert await seen(client, file["filename"]) == 404
    assert sizes["org-a"] != sizes["org-b"]
    status, _ = await client.post("/prompt", {"prompt": prompt})
    assert status == 400  # the common folder has no mine.png
    spying = {"l": n("LoadImage", image="../org-b/mine.png"), "s": n("PreviewImage", images=["l", 0])}
    status, _ = await client.post("/prompt", {"prompt": spying, "extra_data": {"fleet": {"directory": "org-a"}}})
    assert status == 400


async def test_a_cached_result_is_not_shown_in_another_directory(client: Client, server: Executor) -> None:
    """Equal prompts in two directories: what was computed is shared, files are written for each."""
    prompt = {"e": n("EmptyImage", width=8, height=8, batch_size=1, color=7), "s": n("PreviewImage", images=["e", 0])}
    for directory in ("first", "second"):
        entry = await run_in(client, directory, prompt)
        (file,) = entry["outputs"]["s"]["images"]
        assert (server.base / "temp" / directory / file["filename"]).is_file()


async def test_a_directory_goes_when_told_to(client: Client, server: Executor) -> None:
    """Input, output and temp of that name, and nothing else."""
    await upload(client, "leaving", "a.png", (server.base / "input/small.png").read_bytes())
    await run_in(client, "leaving", {"l": n("LoadImage", image="a.png"), "s": n("PreviewImage", images=["l", 0])})
    for status in (204, 204):
        async with client.session.delete(f"{client.url}/fleet/directories/leaving") as answer:
            assert answer.status == status
    assert not list(server.base.glob("*/leaving"))
    assert (server.base / "input/small.png").exists()


@pytest.mark.parametrize("directory", ["..", "a/b", "", "/etc", ".hidden", "x" * 300, 5, ["a"]])
async def test_directories_of_no_plain_name_are_refused(client: Client, directory: Any) -> None:
    """400 in ComfyUI's shape, for prompts; 400 for uploads and downloads."""
    body = {"prompt": {"o": n("PreviewAny", source="x")}, "extra_data": {"fleet": {"directory": directory}}}
    status, answer = await client.post("/prompt", body)
    assert (status, answer["error"]["type"]) == (400, "invalid_prompt")
    if isinstance(directory, str):
        assert await seen(client, "x.png", f"&directory={directory}") == 400


async def test_freeing_makes_the_next_run_read_its_model_again(client: Client, server: Executor) -> None:
    """1.1 POST /free, 2.2.3: after it with both flags the same prompt is computed anew, with the same picture."""
    first, _ = await client.run(upscale("small.png"))
    assert await client.post("/free", {"unload_models": True, "free_memory": True}) == (200, "")
    await client.run({"o": n("PreviewAny", source="between")})
    again, heard = await client.run(upscale("small.png"))
    assert [m["data"]["node"] for m in heard if m["type"] == "executing"][:-1] == ["load", "model", "up", "save"]
    names = [entry["outputs"]["save"]["images"][0]["filename"] for entry in (first, again)]
    assert (server.base / "output" / names[0]).read_bytes() == (server.base / "output" / names[1]).read_bytes()
