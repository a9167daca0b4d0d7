"""2.8 and 2.9: what is kept from one prompt to the next, and what errors leave behind. No server."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

from comfy_core.events import OUT_OF_MEMORY_TIP, Reporter
from comfy_core.graph.cache import Keeping
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.run import Failure, Result
from comfy_core.queue import Item
from comfy_core.usage import Peaks
from tests.conformance.nodes import ANY, INT, grown, node
from tests.conformance.stage import CACHES, Mail, Stage, n, shown

KEEPING = ["classic", "lru", "ram"]


def chain(value: int, *ids: str) -> dict[str, Any]:
    """i -> p -> s under these ids."""
    i, p, s = ids or ("i", "p", "s")
    return {i: n("OddInt", value=value), p: n("OddAdd", a=[i, 0], b=1), s: n("OddShow", v=[p, 0])}


@pytest.mark.parametrize("cache", KEEPING)
def test_equal_content_is_found_under_other_ids(cache: str) -> None:
    """2.8.1: whatever the order of nodes and inputs; another slot or another source is other content."""
    stage = Stage(CACHES[cache])
    stage.play(chain(1))
    turned = dict(reversed(chain(1, "a", "b", "c").items()))
    turned["b"]["inputs"] = dict(reversed(turned["b"]["inputs"].items()))
    played = stage.play(turned)
    assert (played.ran, played.shown) == ([], {"c": ["2"]})
    assert stage.play(chain(2)).ran == ["i", "p", "s"]
    two = {"b": n("OddBlock", v=5, message="", silent=True), "s": n("OddShow", v=["b", 1])}
    assert stage.play(two).shown == {"s": ["5"]}
    assert stage.play(two | {"s": n("OddShow", v=["b", 0])}).shown == {}


@pytest.mark.parametrize("why", ["UNIQUE_ID", "NOT_IDEMPOTENT"])
def test_nodes_that_ask_for_their_id_are_their_own(why: str) -> None:
    """2.8.1: under another id they run again, and so does what hangs on them."""
    more: dict[str, Any] = {"hidden": {"me": "UNIQUE_ID"}} if why == "UNIQUE_ID" else {"NOT_IDEMPOTENT": True}
    stage = Stage(Own=node(lambda v, me=None: (v,), {"v": INT}, **more))
    for name in ("a", "a", "b"):
        stage.play({name: n("Own", v=1), "p": n("OddPass", v=[name, 0]), "s": n("OddShow", v=["p", 0])})
    assert (stage.calls["Own"], stage.calls["OddPass"]) == (2, 2)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1", "1", True),
        (1, 1.0, False),
        (True, 1, False),
        ("1", 1, False),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": "1,2"}, {"a": ["1", "2"]}, False),
        (float("nan"), float("nan"), False),
        ({"a": [float("nan")]}, {"a": [float("nan")]}, False),
    ],
)
def test_constants_are_compared_by_value(one: Any, other: Any, same: bool) -> None:
    """2.8.2: nested ones too; NaN is never equal to itself, and stricter than ComfyUI: 1, 1.0 and True are three."""
    stage = Stage()
    stage.play(shown(p=n("OddPass", v=one)))
    stage.play(shown(p=n("OddPass", v=other)))
    assert stage.calls["OddPass"] == (1 if same else 2)


@pytest.mark.parametrize("cache", KEEPING)
def test_the_fingerprint_decides(cache: str) -> None:
    """2.8.3: asked once a prompt, with constants and None for links; an equal answer hits, another does not."""
    answers, asked = [1, 1, [2, {"a": 3}], [2, {"a": 3}], float("nan"), float("nan")], []

    def changed(cls: type, v: Any, w: int) -> Any:
        asked.append((v, w))
        return answers[len(asked) - 1]

    stage = Stage(CACHES[cache], Changes=node(lambda v, w: (v,), {"v": INT, "w": INT}, IS_CHANGED=classmethod(changed)))
    calls = []
    for _ in answers:
        stage.play(shown(i=n("OddInt", value=3), c=n("Changes", v=["i", 0], w=5)))
        calls.append(stage.calls["Changes"])
    assert calls == [1, 1, 2, 2, 3, 4]
    assert asked == [(None, 5)] * 6


def test_a_fingerprint_may_come_with_the_prompt() -> None:
    """2.8.3: `is_changed` of the node itself stands for the question."""
    asked: list[int] = []
    changes = node(lambda v: (v,), {"v": INT}, IS_CHANGED=classmethod(lambda cls, v: asked.append(v)))
    stage = Stage(Changes=changes)
    for given in ("x", "x", "y"):
        stage.play(shown(c=n("Changes", v=1) | {"is_changed": given}))
    assert (stage.calls["Changes"], asked) == (2, [])


def calls_of(keeping: Keeping, *values: int) -> int:
    """How often the addition is called over these prompts."""
    stage = Stage(keeping)
    for value in values:
        assert stage.play(chain(value)).shown == {"s": [str(value + 1)]}
    return stage.calls["OddAdd"]


def test_how_long_each_cache_keeps() -> None:
    """2.8.4, 2.8.5, 2.8.6, 2.8.7: the present prompt's, a number more, nothing, everything while there is room."""
    again = (1, 2, 1, 1, 2, 3, 1, 2)
    assert calls_of(Keeping(), *again) == 7
    assert calls_of(Keeping("lru", 100), *again) == 3
    assert calls_of(Keeping("lru", 6), *again) == 4
    assert calls_of(Keeping("none"), *again) == 8
    assert calls_of(Keeping("ram", headroom=1, available=lambda: 2), *again) == 3
    assert calls_of(Keeping("ram", headroom=2, available=lambda: 1), *again) == 7


def test_classic_keeps_what_the_present_prompt_names() -> None:
    """2.8.4: though it is not needed by the outputs that run; the rest goes when the next prompt begins."""
    stage = Stage()
    both = chain(1) | chain(2, "a", "b", "c")
    stage.play(both)
    stage.play(both, ["s"])
    assert stage.play(both, ["c"]).ran == []
    stage.play(chain(1))
    assert stage.play(both).ran == ["a", "b", "c"]


def test_lru_lets_the_oldest_prompt_go_first() -> None:
    """2.8.5: what was used again is young again; the present prompt's results stay though they are too many."""
    stage = Stage(Keeping("lru", 6))
    for value in (1, 2, 1, 3, 1):
        stage.play(chain(value))
    assert stage.calls["OddAdd"] == 3
    stage.play(chain(2))
    assert stage.calls["OddAdd"] == 4
    wide = {f"i{i}": n("OddInt", value=i) for i in range(20)}
    wide |= {f"s{i}": n("OddShow", v=[f"i{i}", 0]) for i in range(20)}
    stage.play(wide)
    assert stage.play(wide).ran == []


class Held:
    """A value that can be watched."""


@pytest.mark.parametrize("expanding", [False, True])
def test_none_lets_a_result_go_with_its_last_consumer(expanding: bool) -> None:
    """2.8.6: while the run goes on; also where a node expands; a result that is still to be asked for stays."""
    gone: dict[str, bool] = {}
    alive: list[weakref.ref[Held]] = []

    def make(v: int) -> tuple[Held]:
        held = Held()
        alive.append(weakref.ref(held))
        return (held,)

    def look(v: Any) -> tuple[int]:
        gone["at the end"] = alive[0]() is None
        return (1,)

    def use(held: Held) -> tuple[int]:
        gone["in use"] = alive[0]() is None
        return (1,)

    classes = {
        "Makes": node(make, {"v": INT}),
        "Uses": node(use, {"held": (ANY,)}, ("INT",)),
        "Grows": node(lambda held: grown("OddAdd", a=1, b=0), {"held": (ANY,)}, ("INT",)),
        "Looks": node(look, {"v": (ANY,)}),
    }
    stage = Stage(Keeping("none"), **classes)
    first = n("Grows", held=["m", 0]) if expanding else n("OddAdd", a=["u", 0], b=1)
    prompt = {"m": n("Makes", v=1), "u": n("Uses", held=["m", 0]), "x": first, "y": n("OddAdd", a=["x", 0], b=["u", 0])}
    played = stage.play(shown(**prompt, k=n("Looks", v=["y", 0])))
    assert played.result.status == "success"
    assert gone == {"in use": False, "at the end": True}


def test_ram_lets_the_large_and_old_go() -> None:
    """2.8.7: between nodes, until there is room again; the present prompt's results are not touched."""
    room = [100]
    keeping = Keeping("ram", headroom=10, available=lambda: room[0], size_of=lambda values: sum(map(sum, values)))
    small = {"i": n("OddInt", value=1), "s": n("OddShow", v=["i", 0])}
    large = {"i": n("OddInt", value=900), "s": n("OddShow", v=["i", 0])}
    for scarce in (False, True):
        stage = Stage(keeping)
        stage.play(small)
        stage.play(large)
        room[0] = 5 if scarce else 100
        both = small | {"j": n("OddInt", value=2), "t": n("OddShow", v=["j", 0])}
        assert stage.play(both).ran == ["j", "t"]
        room[0] = 100
        assert (stage.play(large).ran == []) is not scarce
        assert stage.play(both).ran == []


@pytest.mark.parametrize("cache", CACHES)
def test_what_is_cached_is_told_before_anything_runs(cache: str) -> None:
    """2.8.8: the prompt's nodes that have results; none under the cache that keeps nothing."""
    stage = Stage(CACHES[cache])
    stage.play(chain(1))
    played = stage.play(chain(1) | {"t": n("OddShow", v=["i", 0])})
    assert [event for event, _ in played.messages][:2] == ["execution_start", "execution_cached"]
    assert sorted(played.of("execution_cached")[0]["nodes"]) == ([] if cache == "none" else ["i", "p", "s"])
    assert played.shown == {"s": ["2"], "t": ["1"]}


@pytest.mark.parametrize("cache", CACHES)
def test_what_failed_is_not_kept_and_what_was_done_is(cache: str) -> None:
    """2.8.9: the next prompt begins where the error was."""
    fails = [True, True, False]
    stage = Stage(CACHES[cache], Fails=node(lambda v: (v, 1 // (not fails.pop(0)))[:1], {"v": INT}, ("INT",)))
    prompt = shown(i=n("OddInt", value=1), f=n("Fails", v=["i", 0]))
    ran = [stage.play(prompt).ran for _ in range(3)]
    again = ["i"] if cache == "none" else []
    assert ran == [["i", "f"], [*again, "f"], [*again, "f", "s"]]


def test_forgetting_drops_results_and_objects() -> None:
    """2.8.8, 2.2.3: as /free with free_memory asks for."""
    stage = Stage()
    stage.play(chain(1))
    stage.engine.forget()
    assert stage.play(chain(1)).ran == ["i", "p", "s"]


class Trouble(Exception):
    """An error of a module's own."""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("cannot"), "ValueError"),
        (Trouble("cannot"), f"{Trouble.__module__}.Trouble"),
        (SystemExit("cannot"), "SystemExit"),
    ],
)
def test_an_error_ends_the_run(error: BaseException, name: str) -> None:
    """2.9.1, 1.5 execution_error: which node, what it was given, what was done, and the error's own name."""

    def fail(v: int, w: Any) -> None:
        raise error

    stage = Stage(Fails=node(fail, {"v": INT, "w": (ANY,)}))
    prompt = shown(i=n("OddInt", value=1), f=n("Fails", v=["i", 0], w={"deep": "x" * 2000}))
    prompt |= {"t": n("OddShow", v=["f", 0])}
    played = stage.play(prompt)
    told = played.error
    assert (told["node_id"], told["node_type"], told["executed"]) == ("f", "Fails", ["i"])
    assert (told["exception_message"], told["exception_type"]) == ("cannot\n", name)
    assert any("in fail" in line for line in told["traceback"])
    assert told["current_inputs"]["v"] == [1]
    assert len(told["current_inputs"]["w"][0]) <= 500
    assert (stage.calls["OddShow"], played.messages[-1][0], played.kept[-1]) == (0, *["execution_error"] * 2)


def test_running_out_of_memory_comes_with_a_tip() -> None:
    """2.9.2: after the error's own words."""
    mail, prompt = Mail(), DynamicPrompt({"a": n("OddInt")})
    reporter = Reporter(Item(0, 0, "p", {}, {"client_id": "c"}, []), prompt, mail)
    failure = Failure("a", "OddInt", MemoryError("full"), "MemoryError", [], {}, "a")
    reporter.end(Result("error", failure), True, Peaks())
    assert mail.sent[-1][1]["exception_message"] == f"full\n{OUT_OF_MEMORY_TIP}"
