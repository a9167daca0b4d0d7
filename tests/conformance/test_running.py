"""2.2 to 2.4: which prompt and which node is next, and how a node is called. No server."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.builder import GraphBuilder
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.output import NodeOutput
from comfy_core.progress import advance, scope
from comfy_core.queue import PromptQueue
from tests.conformance.nodes import ANY, BIG, INT, node
from tests.conformance.stage import CACHES, Stage, n, shown


def test_prompts_run_by_number_and_then_by_age() -> None:
    """2.2.1: the lowest first, fractions and negative ones too; what waits is listed whole."""
    queue = PromptQueue(lambda: None)
    for name, number in (("b", 2), ("front", -3), ("a", 1.5), ("b2", 2), ("c", 7)):
        queue.put(number, name, {}, {"api_key_comfy_org": "k", "x": 1}, ["s"])
        queue.announce()
    assert sorted(item[1] for item in queue.shown()["queue_pending"]) == ["a", "b", "b2", "c", "front"]
    ran = []
    while queue.remaining:
        item = queue.take()
        assert item is not None
        assert [one[1] for one in queue.shown()["queue_running"]] == [item.prompt_id]
        ran.append(item.prompt_id)
        queue.done()
    assert ran == ["front", "a", "b", "b2", "c"]


def test_an_interruption_is_of_the_prompt_that_runs() -> None:
    """2.2.4: of none when nothing runs, of no other by its id, and the next prompt starts without."""
    queue = PromptQueue(lambda: None)
    for name in ("a", "b"):
        queue.put(0, name, {}, {}, [])
        queue.announce()
    queue.interrupt()
    first = queue.take()
    assert first is not None
    assert not first.stop.is_set()
    queue.interrupt("b")
    assert not first.stop.is_set()
    queue.interrupt("a")
    assert first.stop.is_set()
    queue.done()
    second = queue.take()
    assert second is not None
    assert not second.stop.is_set()


def test_an_interruption_is_seen_before_the_next_call() -> None:
    """2.2.4: between two nodes, and between two calls of one node."""
    stage = Stage()
    stop = node(lambda v: (v, stage.stop.set())[:1], {"v": INT})
    stage = Stage(Stops=stop)
    played = stage.play(shown(a=n("OddInt", value=1), p=n("Stops", v=["a", 0]), b=n("OddPass", v=["p", 0])))
    assert (played.result.status, played.ran) == ("interrupted", ["a", "p"])
    (told,) = played.of("execution_interrupted")
    assert (told["node_id"], told["node_type"], told["executed"]) == ("b", "OddPass", ["a", "p"])
    stage.stop.clear()
    played = stage.play(shown(m=n("OddMany", n=3), p=n("Stops", v=["m", 0])))
    assert (played.result.status, stage.calls["Stops"]) == ("interrupted", 2)


def test_progress_stops_a_node_that_was_interrupted() -> None:
    """2.2.4, 1.5 execution_interrupted: within the call; the node is the one it was at."""
    reached: list[int] = []

    def work(v: int) -> tuple[int]:
        for step in range(v):
            reached.append(step)
            if step == 2:
                stage.stop.set()
            advance(step + 1, v)
        return (v,)

    stage = Stage(Works=node(work, {"v": INT}))
    played = stage.play(shown(w=n("Works", v=9)))
    assert (played.result.status, reached) == ("interrupted", [0, 1, 2])
    assert [(one["value"], one["max"]) for one in played.of("progress")][:2] == [(1, 9), (2, 9)]
    assert played.of("execution_interrupted")[0]["node_id"] == "w"


def test_only_what_an_output_needs_runs_and_each_once() -> None:
    """2.3.1: a diamond, with a branch that leads nowhere."""
    stage = Stage()
    prompt = shown(
        a=n("OddInt", value=1),
        b=n("OddAdd", a=["a", 0], b=1),
        c=n("OddAdd", a=["a", 0], b=2),
        d=n("OddAdd", a=["b", 0], b=["c", 0]),
    )
    played = stage.play(prompt | {"idle": n("OddPass", v=["a", 0])})
    assert played.ran == ["a", "c", "b", "d", "s"]
    assert played.shown == {"s": ["5"]}


def test_what_is_cached_is_not_descended_into() -> None:
    """2.3.1: only what changed runs; the rest is told beforehand."""
    stage = Stage()
    prompt = shown(a=n("OddInt", value=1), b=n("OddPass", v=["a", 0]), c=n("OddAdd", a=["b", 0], b=1))
    stage.play(prompt)
    prompt["c"]["inputs"]["b"] = 5
    played = stage.play(prompt)
    assert (played.ran, played.shown) == (["c", "s"], {"s": ["6"]})
    assert sorted(played.of("execution_cached")[0]["nodes"]) == ["a", "b"]


def test_which_of_the_ready_nodes_goes_first() -> None:
    """2.3.2: an output, what feeds one, what is two steps away, then the oldest.

    Age counts from when a node was taken in: back from the outputs, over the last link first, as ComfyUI does.
    """
    prompt = {
        "far": n("OddInt", value=1),
        "far2": n("OddInt", value=2),
        "two": n("OddInt", value=3),
        "feeds": n("OddInt", value=4),
        "feeds2": n("OddInt", value=5),
        "out": n("OddShow", v=1),
        "f1": n("OddAdd", a=["far", 0], b=["far2", 0]),
        "f2": n("OddPass", v=["f1", 0]),
        "f3": n("OddAdd", a=["f2", 0], b=["two", 0]),
        "f4": n("OddShowAndGive", v=["f3", 0]),
        "g": n("OddShow", v=["feeds", 0]),
        "h": n("OddShow", v=["feeds2", 0]),
    }
    ran = Stage().play(prompt).ran
    assert ran[:5] == ["out", "feeds", "g", "feeds2", "h"]
    assert ran[5:] == ["two", "far2", "far", "f1", "f2", "f3", "f4"]


def test_asynchronous_nodes_start_as_soon_as_they_can() -> None:
    """2.3.2: as outputs do, so that they overlap with the rest."""
    prompt = shown(i=n("OddInt", value=1), w=n("OddWait", v=1, seconds=0.01), a=n("OddAdd", a=["i", 0], b=["w", 0]))
    assert Stage().play(prompt).ran[0] == "w"


def test_a_cached_output_says_again_what_it_showed() -> None:
    """2.3.3: executed with the same words and without executing; one that shows nothing says so, too."""
    stage = Stage(Quiet=node(lambda v: (), {"v": (ANY,)}, (), OUTPUT_NODE=True))
    prompt = shown(i=n("OddInt", value=1)) | {"q": n("Quiet", v=["i", 0])}
    first = {told["node"]: told["output"] for told in stage.play(prompt).of("executed")}
    played = stage.play(prompt)
    assert first == {"s": {"values": ["1"]}}
    assert {told["node"]: told["output"] for told in played.of("executed")} == first | {"q": None}
    assert (played.ran, played.shown) == ([], {"s": ["1"]})


class Counting:
    """Counts its own calls, on its object."""

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    born = 0

    def __init__(self) -> None:
        self.count = 0
        type(self).born += 1

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        return {"required": {"v": INT}}

    def run(self, v: int) -> tuple[int]:
        self.count += 1
        return (self.count,)


@pytest.mark.parametrize("cache", CACHES)
def test_a_nodes_object_lives_while_its_node_is_there(cache: str) -> None:
    """2.4.1: it counts on over prompts, by id and class; a prompt without the node ends it."""
    fresh = type("Fresh", (Counting,), {})
    stage = Stage(CACHES[cache], Counting=fresh)
    for count in (1, 2, 3):
        assert stage.play(shown(c=n("Counting", v=count))).shown == {"s": [str(count)]}
    both = {"c": n("Counting", v=10), "d": n("Counting", v=10), "s": n("OddShow", v=["c", 0])}
    both["t"] = n("OddShow", v=["d", 0])
    assert stage.play(both).shown["s"] == ["4"]
    stage.play(shown(i=n("OddInt", value=1)))
    assert stage.play(shown(c=n("Counting", v=20))).shown == {"s": ["1"]}
    stage.play(shown(c=n("OddInt", value=1)))
    assert stage.play(shown(c=n("Counting", v=30))).shown == {"s": ["1"]}


def test_a_call_per_element_and_the_last_one_repeats() -> None:
    """2.4.2: as many calls as the longest list has; without inputs there is one."""
    alone = node(lambda: ("once",), {}, ("STRING",))
    stage = Stage(Alone=alone)
    lists = {"m": n("OddMany", n=4), "t": n("OddMany", n=2), "a": n("OddAdd", a=["m", 0], b=["t", 0])}
    played = stage.play(lists | {"s": n("OddShow", v=["a", 0])})
    assert played.shown == {"s": ["0", "2", "3", "4"]}
    assert stage.calls["OddAdd"] == 4
    stage.play(shown(x=n("Alone")))
    assert stage.calls["Alone"] == 1


def test_whole_lists_in_one_call() -> None:
    """2.4.2: with INPUT_IS_LIST; a constant is a list of one."""
    seen: list[Any] = []
    takes = node(lambda **given: (seen.append(given),), {"v": INT, "c": INT}, hidden={"u": "UNIQUE_ID"})
    takes.INPUT_IS_LIST = True  # type: ignore[attr-defined]
    stage = Stage(Takes=takes)
    stage.play(shown(m=n("OddMany", n=3), k=n("Takes", v=["m", 0], c=7)))
    assert seen == [{"v": [0, 1, 2], "c": [7], "u": ["k"]}]


def test_lists_are_spread_only_where_that_is_said() -> None:
    """2.4.3: of several calls the lists are joined; elsewhere a list is one value."""
    both = node(lambda v: ([v] * v, [v] * v), {"v": INT}, (ANY, ANY), OUTPUT_IS_LIST=(True, False))
    prompt = {"m": n("OddMany", n=3), "b": n("Both", v=["m", 0])}
    prompt |= {"s": n("OddShow", v=["b", 0]), "t": n("OddShow", v=["b", 1])}
    assert Stage(Both=both).play(prompt).shown == {"s": ["1", "2", "2"], "t": ["[]", "[1]", "[2, 2]"]}


def test_what_is_not_declared() -> None:
    """2.4.4: a link to it brings its value, a constant is dropped."""
    prompt = shown(i=n("OddInt", value=1), k=n("OddTake", v=1, link=["i", 0], constant=5))
    played = Stage().play(prompt)
    assert played.shown == {"s": ["['link', 'v']"]}
    assert played.ran == ["i", "k", "s"]


def test_a_raw_link_stays_a_link() -> None:
    """2.4.4: the node is given [id, slot]; what it leads to runs nevertheless."""
    played = Stage().play(shown(i=n("OddInt", value=1), r=n("OddRaw", v=["i", 0])))
    assert played.shown == {"s": ["['i', 0]"]}
    assert played.ran == ["i", "r", "s"]


def test_hidden_inputs_come_by_their_kind() -> None:
    """2.4.5: prompt, graph, workflow, id and keys; None for what the client did not give."""
    seen: list[Any] = []
    kinds = ("PROMPT", "DYNPROMPT", "EXTRA_PNGINFO", "UNIQUE_ID", "AUTH_TOKEN_COMFY_ORG", "API_KEY_COMFY_ORG")
    hidden = {kind.lower(): kind for kind in kinds}
    stage = Stage(Hides=node(lambda v, **given: (seen.append(given),), {"v": INT}, hidden=hidden))
    stage.play(shown(h=n("Hides", v=1)))
    stage.play(shown(h=n("Hides", v=2)), extra_pnginfo={"workflow": {}}, api_key_comfy_org="k")
    prompt = seen[0].pop("prompt")
    assert prompt == shown(h=n("Hides", v=1))
    assert isinstance(seen[0].pop("dynprompt"), DynamicPrompt)
    assert seen[0] == {
        "extra_pnginfo": None,
        "unique_id": "h",
        "auth_token_comfy_org": None,
        "api_key_comfy_org": None,
    }
    assert (seen[1]["extra_pnginfo"], seen[1]["api_key_comfy_org"]) == ({"workflow": {}}, "k")


def test_hidden_inputs_of_no_known_kind_are_given_by_the_prompt() -> None:
    """2.4.5: constants that no widget shows, such as packs' own front ends add; absent ones do not come."""
    hides = node(lambda v, **given: (given,), {"v": INT}, hidden={"mine": ("INT", {"default": 1}), "kind": "OWN"})
    stage = Stage(Hides=hides)
    assert stage.play(shown(h=n("Hides", v=1, mine=5, kind="x"))).shown == {"s": ["{'mine': 5, 'kind': 'x'}"]}
    assert stage.play(shown(h=n("Hides", v=1))).shown == {"s": ["{}"]}


@pytest.mark.parametrize(
    ("answer", "first", "second"),
    [
        ((1, 2), ["1"], ["2"]),
        ([1, 2], ["1"], ["2"]),
        ((1,), ["1"], ["None"]),
        ((1, 2, 3), ["1"], ["2"]),
        (None, ["None"], ["None"]),
        ({"result": (1, 2)}, ["1"], ["2"]),
        ({"ui": {"x": [1]}}, ["None"], ["None"]),
        ({"ui": {"x": [1]}, "result": (1, 2)}, ["1"], ["2"]),
        (NodeOutput(1, 2, ui={"x": [1]}), ["1"], ["2"]),
        (NodeOutput(1, 2, block_execution="shut"), None, None),
        (ExecutionBlocker(None), None, None),
        ((1, ExecutionBlocker(None)), ["1"], None),
    ],
)
def test_what_a_node_may_return(answer: Any, first: Any, second: Any) -> None:
    """2.4.6: a tuple, a dict with ui and result, a V3 output, or a blocker for one output or for all."""
    stage = Stage(Gives=node(lambda v: answer, {"v": INT}, (ANY, ANY)))
    prompt = {"g": n("Gives", v=1), "s": n("OddShow", v=["g", 0]), "t": n("OddShow", v=["g", 1])}
    played = stage.play(prompt)
    assert played.result.status == "success"
    assert (played.shown.get("s"), played.shown.get("t")) == (first, second)


def test_what_several_calls_show_is_joined() -> None:
    """2.4.7: the lists under the keys of the first; other keys are dropped."""
    shows = node(lambda v: {"ui": {"values": [v, v]} | ({"more": [v]} if v else {})}, {"v": INT}, (), OUTPUT_NODE=True)
    played = Stage(Shows=shows).play({"m": n("OddMany", n=3), "s": n("Shows", v=["m", 0])})
    assert played.result.ui == {"s": {"values": [0, 0, 1, 1, 2, 2]}}


def test_results_show_what_was_cached_too() -> None:
    """2.4.7: every node of the prompt that showed something, output or not, in this run or before."""
    stage = Stage()
    prompt = {"h": n("OddHint", v=1), "s": n("OddShow", v=["h", 0])}
    first = stage.play(prompt)
    again = stage.play(prompt | {"t": n("OddShow", v=2)})
    assert first.result.ui == {"h": {"hints": [1]}, "s": {"values": ["1"]}}
    assert again.result.ui == first.result.ui | {"t": {"values": ["2"]}}
    assert again.ran == ["t"]


def test_coroutines_overlap_and_know_who_they_are() -> None:
    """2.4.8: three nodes that each wait for the other two; every call has its own node and index."""
    here: list[Any] = []

    async def meet(v: int) -> tuple[int]:
        here.append((scope.get().node_id, scope.get().call))  # type: ignore[union-attr]
        while len({node_id for node_id, _ in here}) < 3:
            await asyncio.sleep(0.001)
        current = scope.get()
        assert current is not None
        assert GraphBuilder().prefix.startswith(f"{current.node_id}.{current.call}.")
        return (v + current.call,)

    stage = Stage(Meets=node(meet, {"v": BIG}, ("INT",)))
    prompt = {"m": n("OddMany", n=3)} | {f"w{i}": n("Meets", v=["m", 0]) for i in range(3)}
    prompt |= {f"s{i}": n("OddShow", v=[f"w{i}", 0]) for i in range(3)}
    played = stage.play(prompt)
    assert played.shown == {f"s{i}": ["0", "2", "4"] for i in range(3)}
    assert sorted(here) == [(f"w{i}", call) for i in range(3) for call in range(3)]


def test_others_run_while_one_waits() -> None:
    """2.4.8: a coroutine that waits for what a plain node does."""
    done = threading.Event()

    async def wait(v: int) -> tuple[int]:
        while not done.is_set():
            await asyncio.sleep(0.001)
        return (v,)

    stage = Stage(Waits=node(wait, {"v": INT}), Does=node(lambda v: (done.set(),), {"v": INT}))
    prompt = {"w": n("Waits", v=1), "d": n("Does", v=1)}
    prompt |= {"s": n("OddShow", v=["w", 0]), "t": n("OddShow", v=["d", 0])}
    played = stage.play(prompt)
    assert (played.result.status, played.ran) == ("success", ["w", "d", "t", "s"])


def test_questions_may_be_coroutines() -> None:
    """2.4.9: validation, fingerprint and what is needed, each awaited to its end."""

    async def look(cls: type, which: bool) -> bool:
        await asyncio.sleep(0)
        return which

    async def changed(cls: type, **given: Any) -> float:
        await asyncio.sleep(0)
        return float("nan")

    async def ask(self: Any, which: bool, a: Any = None) -> list[str]:
        await asyncio.sleep(0)
        return [] if a else ["a"]

    slow = node(
        lambda which, a: (a,),
        {"which": ("BOOLEAN", {}), "a": ("INT", {"lazy": True})},
        VALIDATE_INPUTS=classmethod(look),
        IS_CHANGED=classmethod(changed),
        check_lazy_status=ask,
    )
    stage = Stage(Slow=slow)
    for _ in range(2):
        assert stage.play(shown(i=n("OddInt", value=3), x=n("Slow", which=True, a=["i", 0]))).shown == {"s": ["3"]}
    assert (stage.calls["Slow"], stage.calls["OddInt"]) == (2, 1)
    assert stage.play(shown(i=n("OddInt", value=3), x=n("Slow", which=False, a=["i", 0]))).verdict.error is not None
