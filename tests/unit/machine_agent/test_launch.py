"""How executors are started, and what is said when one ends: real processes, a file for the kernel's counter."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from machine_agent.errors import Refused
from machine_agent.launch import COMFY_CORE, Checkout, Place, Program, Server, extra_model_paths, how
from machine_agent.memory_kills import MemoryKills, sources
from machine_agent.process import ExecutorProcess, ProcessSettings, Recycling

FAKE = Path(__file__).resolve().parents[2] / "wire" / "fake_executor.py"
TEMPLATE = f"{sys.executable} {FAKE} --port {{port}} --input-directory {{input}} --output-directory {{output}}"


def place(tmp_path: Path, on_gpu: bool = False) -> Place:
    return Place(8188, tmp_path / "home", tmp_path / "models", 4, on_gpu)


def test_the_setting_says_what_is_started(tmp_path: Path) -> None:
    """Ours, a checkout with the Python of its venv or ours, a server, or a command with more arguments."""
    (tmp_path / "main.py").touch()
    assert how("comfy_core") == Program(COMFY_CORE)
    assert how("x {port}", None, "--a 'b c'") == Program("x {port}", ("--a", "b c"))
    assert how("http://gpu:8188/") == Server("http://gpu:8188")
    assert how(f"comfyui:{tmp_path}") == Checkout(tmp_path, Path(sys.executable))
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").touch()
    assert how(f"comfyui:{tmp_path}") == Checkout(tmp_path, tmp_path / ".venv/bin/python")
    assert how(f"comfyui:{tmp_path}", Path("/py"), "--fast") == Checkout(tmp_path, Path("/py"), ("--fast",))


@pytest.mark.parametrize(
    ("setting", "python", "more", "words"),
    [
        ("comfyui:/nowhere", None, "", "no ComfyUI checkout"),
        ("http://gpu:8188", Path("/py"), "", "runs already"),
        ("https://gpu", None, "--fast", "runs already"),
        ("comfy_core", Path("/py"), "", "applies to comfyui"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting: str, python: Path | None, more: str, words: str) -> None:
    """In words, before anything is started."""
    with pytest.raises(Refused, match=words):
        how(setting, python, more)


def test_a_command_keeps_arguments_whole(tmp_path: Path) -> None:
    """A folder with a blank stays one argument."""
    told = Place(1, tmp_path / "a b", tmp_path, 1, on_gpu=False)
    assert Program("x --in {input} 'a b'", ("--z",)).command(told).arguments == [
        *("x", "--in", str(tmp_path / "a b" / "input"), "a b", "--z")
    ]


def test_a_checkouts_command(tmp_path: Path) -> None:
    """ComfyUI's own flags, in the checkout, --cpu only without a GPU, the owner's arguments last."""
    checkout = Checkout(tmp_path, Path("/py"), ("--fast",))
    command = checkout.command(place(tmp_path))
    assert command.folder == tmp_path
    assert command.arguments[:6] == ["/py", "main.py", "--listen", "127.0.0.1", "--port", "8188"]
    assert command.arguments[-2:] == ["--cpu", "--fast"]
    assert "--cpu" not in checkout.command(place(tmp_path, on_gpu=True)).arguments


def test_comfyui_is_told_where_the_models_are(tmp_path: Path) -> None:
    """Every kind of ComfyUI by its folders, and what else lies there as a kind of its own."""
    for name in ("loras", "ultralytics", "custom_nodes", "clip"):
        (tmp_path / name).mkdir()
    told = json.loads(extra_model_paths(tmp_path))["fleet"]
    assert told["base_path"] == str(tmp_path)
    assert (told["loras"], told["text_encoders"], told["ultralytics"]) == (
        "loras",
        "text_encoders\nclip",
        "ultralytics",
    )
    assert not {"custom_nodes", "clip"} & set(told)


def test_the_kernels_counter(tmp_path: Path) -> None:
    """A rise since the look before the last counts; no counter at all never does."""
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 3\noom_kill 2\n")
    kills = MemoryKills([tmp_path / "absent", counter])
    assert not kills.risen()
    counter.write_text("oom_kill 3\n")
    assert kills.risen()
    kills.look()
    assert kills.risen()  # it may have been noticed just before the process's end was
    kills.look()
    assert not kills.risen()
    assert not MemoryKills([tmp_path / "absent"]).risen()
    assert sources()[-1] == Path("/proc/vmstat")


@asynccontextmanager
async def executor(tmp_path: Path, **changes: object) -> AsyncIterator[ExecutorProcess]:
    """A supervised executor that is up."""
    told = ProcessSettings(Program(TEMPLATE), tmp_path / "home", tmp_path / "models", 1, dict(os.environ), **changes)
    async with aiohttp.ClientSession() as session:
        one = ExecutorProcess(0, told, session)
        task = asyncio.create_task(one.supervise())
        try:
            await one.ready(30)
            yield one
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("counted", "number", "words", "out_of_memory"),
    [
        (1, signal.SIGKILL, "the machine ran out of memory", True),
        (0, signal.SIGKILL, "was killed by SIGKILL", False),
        (1, signal.SIGSEGV, "was killed by SIGSEGV", False),
    ],
)
async def test_the_kernels_kill_is_told_from_a_crash(
    tmp_path: Path, counted: int, number: int, words: str, out_of_memory: bool
) -> None:
    """SIGKILL while the counter rose is the kernel's; without that, or another signal, it is a crash."""
    counter = tmp_path / "counter"
    counter.write_text("oom_kill 7\n")
    async with executor(tmp_path, kills=[counter]) as one:
        assert one._process is not None
        gone = asyncio.create_task(one.gone())
        counter.write_text(f"oom_kill {7 + counted}\n")
        os.kill(one._process.pid, number)
        said = await gone
        assert words in str(said)
        assert said.out_of_memory == out_of_memory


@pytest.mark.anyio
async def test_our_own_kill_is_not_the_kernels(tmp_path: Path) -> None:
    """An executor that we ended is said to be ended by us, whatever the counter says."""
    counter = tmp_path / "counter"
    counter.write_text("oom_kill 0\n")
    async with executor(tmp_path, kills=[counter]) as one:
        gone = asyncio.create_task(one.gone())
        counter.write_text("oom_kill 1\n")
        one.kill()
        said = await gone
        assert "the agent ended the executor" in str(said)
        assert not said.out_of_memory


@pytest.mark.anyio
async def test_directories_of_an_earlier_life_are_cleared(tmp_path: Path) -> None:
    """What an agent that was killed left behind goes when its executor starts; other folders stay."""
    for name in ("run-old", "mine"):
        (tmp_path / "home/input" / name).mkdir(parents=True)
    async with executor(tmp_path):
        assert sorted(path.name for path in (tmp_path / "home/input").iterdir()) == ["mine"]


@pytest.mark.anyio
async def test_directories_of_runs_outlive_their_executor(tmp_path: Path) -> None:
    """A run may still be uploading from its directory when the next executor starts."""
    async with executor(tmp_path) as one:
        (tmp_path / "home/output/run-now").mkdir()
        one.kill()
        await one.gone()
        await one.ready(30)
        assert one.generation == 2
        assert (tmp_path / "home/output/run-now").is_dir()


@pytest.mark.anyio
async def test_recycling_waits_for_the_limit(tmp_path: Path) -> None:
    """Not before the last allowed run; then a new process answers without a fault being counted."""
    async with executor(tmp_path, recycling=Recycling(runs=2)) as one:
        await one.after_run()
        assert one.is_up
        await one.after_run()
        assert not one.is_up
        await one.ready(30)
        assert one.generation == 2
