"""Light prompts: which they are, and that they run where they arrive, in their turn and alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from comfy_core.graph.execute import Engine
from comfy_core.light import NODES_AT_MOST, is_light
from comfy_core.memory import Memory
from comfy_core.queue import History, PromptQueue
from comfy_core.worker import Worker
from tests.unit.comfy_core.bound_nodes import nodes_in

pytestmark = pytest.mark.anyio
SOON_S = 10


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def picture(**size: Any) -> dict[str, Any]:
    """An image, inverted and shown."""
    empty = n("EmptyImage", **({"width": 64, "height": 64, "batch_size": 1, "color": 5} | size))
    return {"a": empty, "b": n("ImageInvert", image=["a", 0]), "c": n("PreviewImage", images=["b", 0])}


def numbers(count: int) -> dict[str, Any]:
    return {str(place): n("PrimitiveInt", value=place) for place in range(count)}


@pytest.mark.parametrize(
    ("prompt", "light"),
    [
        pytest.param({"a": n("PrimitiveInt", value=1), "o": n("PreviewAny", source=["a", 0])}, True, id="number"),
        pytest.param(picture(), True, id="small picture"),
        pytest.param(picture(width=129, height=128), False, id="large picture"),
        pytest.param(picture(batch_size=5), False, id="many pictures"),
        pytest.param(picture() | {"w": n("PrimitiveInt", value=9)} | picture(width=["w", 0]), False, id="linked size"),
        pytest.param(picture() | {"d": n("ImageBlur", image=["a", 0])}, False, id="a node that is not"),
        pytest.param({"a": {"class_type": "PrimitiveInt"}}, True, id="no inputs"),
        pytest.param({"a": {"class_type": "Unheard"}}, False, id="an unknown class"),
        pytest.param(numbers(NODES_AT_MOST), True, id="many nodes"),
        pytest.param(numbers(NODES_AT_MOST + 1), False, id="too many nodes"),
    ],
)
def test_which_prompts_are_light(tmp_path: Path, prompt: dict[str, Any], light: bool) -> None:
    """Few nodes, each of a class that says so, and of pictures small ones whose size is known."""
    assert is_light(prompt, nodes_in(tmp_path)) is light


def test_a_packs_class_is_not_light_by_inheritance(tmp_path: Path) -> None:
    """It does more than what it inherits from, and nobody knows how long that takes."""
    registry = nodes_in(tmp_path)
    registry.add("Mine", type("Mine", (registry["PreviewAny"],), {}))
    assert not is_light({"o": n("Mine", source=1)}, registry)


class Gate:
    """A node that waits until it may end, and keeps in which threads it was."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    open = threading.Event()
    began = threading.Event()
    threads: list[str] = []  # noqa: RUF012 - one list for all nodes

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"waits": ("BOOLEAN", {}), "name": ("STRING", {})}}

    def run(self, waits: bool, name: str) -> tuple[()]:
        self.threads.append(threading.current_thread().name)
        self.began.set()
        if waits:
            assert self.open.wait(SOON_S)
        return ()


class Silence:
    """Nobody listens."""

    def send(self, event: str, data: Any, client_id: str | None) -> None: ...
    def send_preview(self, preview: Any, facts: dict[str, Any], client_id: str | None) -> None: ...
    def hurry(self) -> None: ...
    def later(self, delay: float, call: Callable[[], None], still: Callable[[], bool]) -> None: ...


class Bench:
    """A worker without a server. done: the prompts in the order in which they ended."""

    def __init__(self) -> None:
        self.queue, self.history = PromptQueue(lambda: None), History()
        memory = Memory(torch.device("cpu"))
        engine = Engine({"Gate": Gate})
        self.worker = Worker(self.queue, self.history, engine, memory, Silence(), lambda _: nullcontext())

    def come(self, name: str, light: bool, waits: bool = False, number: float = 0) -> None:
        self.queue.put(number, name, {"g": n("Gate", waits=waits, name=name)}, {}, ["g"], light=light)
        self.worker.come()

    @property
    def done(self) -> list[str]:
        return list(self.history.window(None))

    async def until_done(self, count: int) -> list[str]:
        async with asyncio.timeout(SOON_S):
            while len(self.done) < count:
                await asyncio.sleep(0.01)
        return self.done


@pytest.fixture
def bench() -> Iterator[Bench]:
    Gate.open.clear()
    Gate.began.clear()
    Gate.threads.clear()
    yield Bench()
    Gate.open.set()


async def test_a_light_prompt_runs_where_it_arrives(bench: Bench) -> None:
    """No thread of the worker's has even been started; what is not light waits for one."""
    bench.come("light", light=True)
    bench.come("heavy", light=False, number=1)
    assert await bench.until_done(1) == ["light"]
    assert Gate.threads == [threading.current_thread().name]
    assert bench.queue.remaining == 1
    bench.worker.start()
    assert await bench.until_done(2) == ["light", "heavy"]
    assert Gate.threads[1] == "worker"


async def test_prompts_run_one_at_a_time_and_in_their_order(bench: Bench) -> None:
    """A light prompt waits for the one that runs and for those before it. Each runs where it belongs."""
    bench.worker.start()
    bench.come("first", light=False, waits=True)
    assert await asyncio.to_thread(Gate.began.wait, SOON_S)
    bench.come("second", light=True, number=1)
    bench.come("fourth", light=True, number=3)
    bench.come("third", light=False, number=2)
    await asyncio.sleep(0.05)
    assert bench.done == []
    assert len(Gate.threads) == 1
    Gate.open.set()
    assert await bench.until_done(4) == ["first", "second", "third", "fourth"]
    here = threading.current_thread().name
    assert Gate.threads == ["worker", here, "worker", here]


async def test_light_prompts_that_had_to_wait_run_on_the_loop_one_at_a_time(bench: Bench) -> None:
    """The thread hands them over, and they do not keep the loop from its other work."""
    bench.worker.start()
    bench.come("heavy", light=False, waits=True)
    assert await asyncio.to_thread(Gate.began.wait, SOON_S)
    for place in range(50):
        bench.come(f"p{place}", light=True, number=place + 1)
    turns = 0
    Gate.open.set()
    while len(bench.done) < 51:
        await asyncio.sleep(0)
        turns += 1
    assert bench.done == ["heavy", *(f"p{place}" for place in range(50))]
    assert Gate.threads == ["worker", *[threading.current_thread().name] * 50]
    assert turns > 25


async def test_the_loop_stays_awake_for_a_moment_after_a_light_prompt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives way to whoever wants the processor, sleeps when the moment is over, and at once for a heavy prompt."""
    looked: list[None] = []
    monkeypatch.setattr("comfy_core.worker.give_way", lambda: looked.append(None))
    monkeypatch.setattr("comfy_core.worker.AWAKE_S", 0.05)
    bench.come("light", light=True)
    assert await bench.until_done(1) == ["light"]
    await asyncio.sleep(0.1)
    before = len(looked)
    assert before > 10
    await asyncio.sleep(0.05)
    assert len(looked) == before
    monkeypatch.setattr("comfy_core.worker.AWAKE_S", SOON_S)
    bench.worker.start()
    bench.come("another", light=True, number=1)
    bench.come("heavy", light=False, waits=True, number=2)
    assert await asyncio.to_thread(Gate.began.wait, SOON_S)
    while bench.queue.running is None:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    before = len(looked)
    await asyncio.sleep(0.05)
    assert len(looked) == before


async def test_the_worker_does_first_what_it_is_told_to(bench: Bench) -> None:
    """Until then no prompt runs, nor a light one on the loop."""
    ready = threading.Event()
    bench.worker.start(lambda: assert_soon(ready))
    await asyncio.sleep(0.05)
    bench.come("light", light=True)
    await asyncio.sleep(0.05)
    assert bench.done == []
    ready.set()
    assert await bench.until_done(1) == ["light"]


def assert_soon(ready: threading.Event) -> None:
    assert ready.wait(SOON_S)


async def test_many_of_both_kinds_all_run(bench: Bench) -> None:
    """Nothing is forgotten when both take from the queue."""
    bench.worker.start()
    for place in range(300):
        bench.come(f"p{place}", light=place % 3 != 0, number=place)
        if place % 7 == 0:
            await asyncio.sleep(0)
    assert sorted(await bench.until_done(300)) == sorted(f"p{place}" for place in range(300))
    assert bench.queue.remaining == 0
