"""What nodes, packs and clients get wrong: an error with its reason, soon, and the next prompt runs. No server."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from comfy_core.graph import expansion
from comfy_core.graph.validate import Verdict
from tests.conformance.nodes import LET_GO
from tests.conformance.stage import CACHES, Played, Stage, n, shown

SOON_S = 10.0


def lives(stage: Stage) -> None:
    """The engine runs what is sound after all that."""
    assert stage.play(shown(i=n("OddInt", value=3))).shown == {"s": ["3"]}


def failed(played: Played, node_id: str, *words: str) -> None:
    """The run ended with one error, of this node, in ComfyUI's shape and in words."""
    assert (played.result.status, played.error["node_id"]) == ("error", node_id)
    assert len(played.of("execution_error")) == 1
    assert played.messages[-1][0] == "execution_error"
    assert set(played.error) >= {
        "exception_message",
        "exception_type",
        "traceback",
        "current_inputs",
        "current_outputs",
    }
    json.dumps(played.error)
    for word in words:
        assert word in played.error["exception_message"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("list", "not a dict"),
        ("text", "not a dict"),
        ("taken id", "which is there already"),
        ("own id", "which is there already"),
        ("unknown class", "of class Nope, which does not exist"),
        ("no class", "of class None"),
        ("class list", "which does not exist"),
        ("no inputs", "without inputs"),
        ("inputs list", "without inputs"),
        ("node text", "of class None"),
        ("shown as a list", "no node's id"),
        ("to nothing", "linked to node x9, which does not exist"),
        ("inner to nothing", "linked to node x9, which does not exist"),
        ("to no slot", "does not exist"),
        ("result none", ""),
        ("cycle", "Dependency cycle detected"),
        ("self", "Dependency cycle detected"),
        ("back", "Dependency cycle detected"),
        ("back to itself", "Dependency cycle detected"),
        ("fails", "cannot 5"),
        ("missing input", "missing"),
    ],
)
def test_an_expansion_that_is_none_is_its_nodes_error(kind: str, message: str) -> None:
    """2.7.4: the node of the client's graph is named, whatever its expansion is."""
    stage = Stage()
    started = time.perf_counter()
    failed(stage.play(shown(e=n("OddExpand", kind=kind))), "e", message)
    assert time.perf_counter() - started < SOON_S
    lives(stage)


def test_an_expansion_that_waits_for_its_consumer_is_a_cycle() -> None:
    """2.3.4: the node it comes from waits for the one it feeds; without added nodes in the circle, any is blamed."""
    stage = Stage()
    played = stage.play(shown(e=n("OddExpand", kind="to what waits")))
    assert played.error["node_id"] in ("e", "s")
    failed(played, played.error["node_id"], "Dependency cycle detected")
    lives(stage)


@pytest.mark.parametrize("cache", CACHES)
def test_expansions_that_never_end_are_ended(cache: str) -> None:
    """2.7.1: nested without end, the depth is bounded; the node that began is named."""
    stage = Stage(CACHES[cache])
    started = time.perf_counter()
    failed(stage.play(shown(e=n("OddEndless", v=0))), "e", "nested more than 2000 deep")
    assert time.perf_counter() - started < SOON_S
    lives(stage)


def test_an_expansion_of_too_many_nodes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.7.1: the number of added nodes is bounded too."""
    monkeypatch.setattr(expansion, "NODES_AT_MOST", 50)
    stage = Stage()
    assert stage.play(shown(e=n("OddManyNodes", v=50))).result.status == "success"
    failed(stage.play(shown(e=n("OddManyNodes", v=51))), "e", "more than 50 nodes")


def test_a_loop_of_a_thousand_turns_runs() -> None:
    """2.7.1: what is bounded is far beyond what loops need, and costs no more than in proportion."""
    stage = Stage()
    started = time.perf_counter()
    played = stage.play(shown(e=n("OddDeeper", depth=1_000)))
    assert played.shown == {"s": ["0"]}
    assert max(len(json.dumps(data)) for _, data in played.messages) < 4 << 20
    assert time.perf_counter() - started < SOON_S


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("number", "returned int"),
        ("class", "returned type"),
        ("generator", "returned generator"),
        ("ui list", "shows a list"),
        ("ui text", "shows a str"),
        ("ui number", "shows a int"),
        ("wordless", "Wordless"),
        ("exit", "3"),
        ("keyboard", ""),
        ("cancelled", ""),
        ("recursion", "recursion"),
    ],
)
def test_what_no_node_may_return_or_raise_is_its_error(kind: str, message: str) -> None:
    """2.4.6, 2.9.1: nothing a node does reaches further than its own run."""
    stage = Stage()
    failed(stage.play(shown(e=n("OddReturn", kind=kind))), "e", message)
    failed(stage.play({"e": n("OddReturnShown", kind=kind)}), "e", message)
    lives(stage)


@pytest.mark.parametrize("kind", ["OddWaitLeave", "OddCancelled", "OddWaitFail"])
def test_tasks_that_leave_end_only_their_run(kind: str) -> None:
    """2.9.1: sys.exit, a cancellation of its own and an error in a coroutine."""
    stage = Stage()
    failed(stage.play(shown(e=n(kind, v=1))), "e")
    lives(stage)


@pytest.mark.parametrize("kind", ["OddNever", "OddStubborn"])
def test_a_coroutine_that_never_ends_is_interrupted(kind: str) -> None:
    """2.2.4: the run ends soon after it was asked to, even where the node takes no cancellation."""
    stage = Stage()
    LET_GO.clear()

    async def interrupted() -> tuple[Played, Played]:
        asyncio.get_running_loop().call_later(0.05, stage.stop.set)
        ended = await stage.run(shown(e=n(kind, v=1)), Verdict(["s"]))
        stage.stop.clear()
        after = await stage.played(shown(i=n("OddInt", value=3)))
        LET_GO.set()
        return ended, after

    started = time.perf_counter()
    played, after = asyncio.run(interrupted())
    assert time.perf_counter() - started < SOON_S
    assert played.result.status == "interrupted"
    assert played.messages[-1][0] == "execution_interrupted"
    assert after.shown == {"s": ["3"]}


@pytest.mark.parametrize(("kind", "reason"), [("raises", "not to be asked"), ("exits", "3"), ("wordless", "Wordless")])
def test_a_validation_that_raises_is_a_validation_error(kind: str, reason: str) -> None:
    """2.1.8: the prompt is refused with the reason; on the consumer's side, or the output's own."""
    refused = Stage().play(shown(v=n(f"OddValid {kind}", v=1)))
    assert refused.verdict.error is not None
    (error,) = refused.verdict.node_errors["v"]["errors"]
    assert (error["type"], error["details"]) == ("exception_during_inner_validation", reason)
    json.dumps(refused.verdict.node_errors)


@pytest.mark.parametrize("kind", ["raises", "exits", "nan", "object", "endless"])
def test_a_fingerprint_that_is_none_is_never_equal(kind: str) -> None:
    """2.8.3: IS_CHANGED that raises, or answers with what cannot be compared: the node runs every time."""
    stage = Stage()
    for count in (1, 2):
        assert stage.play(shown(v=n(f"OddChanged {kind}", v=1))).shown == {"s": ["1"]}
        assert stage.calls[f"OddChanged {kind}"] == count


@pytest.mark.parametrize("kind", ["text", "number", "none", "numbers"])
def test_an_answer_about_lazy_inputs_that_names_none_asks_for_none(kind: str) -> None:
    """2.5.2: the node runs with what it has."""
    lazy = {"x": n("OddInt", value=1), "y": n("OddInt", value=2)}
    played = Stage().play(shown(**lazy, l=n(f"OddLazy {kind}", which=True, a=["x", 0], b=["y", 0])))
    assert played.shown == {"s": ["(True, None, None)"]}


@pytest.mark.parametrize(("kind", "message"), [("unknown", "input nobody"), ("raises", "cannot say")])
def test_a_question_about_lazy_inputs_that_fails_is_the_nodes_error(kind: str, message: str) -> None:
    """2.5.3: a name that is no input, or an error."""
    stage = Stage()
    failed(stage.play(shown(l=n(f"OddLazy {kind}", which=True, a=1, b=2))), "l", message)
    lives(stage)


def many(count: int) -> dict[str, Any]:
    """So many nodes in a chain."""
    prompt = {"0": n("OddInt", value=1)}
    prompt |= {str(i): n("OddPass", v=[str(i - 1), 0]) for i in range(1, count)}
    return prompt | {"s": n("OddShow", v=[str(count - 1), 0])}


@pytest.mark.parametrize(("cache", "length"), [("none", 20_000), ("lru", 2_000), ("ram", 2_000)])
def test_a_deep_chain_runs_under_every_cache(cache: str, length: int) -> None:
    """2.3.1: nodes one after another, no recursion anywhere; the default cache has a test of its own."""
    played = Stage(CACHES[cache]).play(many(length))
    assert played.shown == {"s": ["1"]}
    assert len(played.ran) == length + 1


def cyclic(source: str) -> dict[str, Any]:
    """A circle through an input that no class declares, where validation does not look."""
    return {"a": n("OddTake", v=1, extra=[source, 0]), "b": n("OddTake", v=["a", 0]), "s": n("OddShow", v=["b", 0])}


@pytest.mark.parametrize("source", ["b", "a", "s"])
def test_a_cycle_that_validation_does_not_see_is_found(source: str) -> None:
    """2.3.4: nodes that wait for each other end the run, named as a cycle."""
    stage = Stage()
    played = stage.play(cyclic(source))
    failed(played, played.error["node_id"], "Dependency cycle detected")
    assert played.error["exception_type"] == "graph.DependencyCycleError"
    lives(stage)


def test_a_cycle_through_lazy_inputs_is_found_when_it_is_met() -> None:
    """2.3.4: a lazy link that leads back is a cycle only when it is asked for."""
    stage = Stage()
    prompt = shown(x=n("OddPass", v=["l", 0]), l=n("OddLazy pick", which=True, a=["x", 0], b=2))
    played = asyncio.run(stage.run(prompt, Verdict(["s"])))
    failed(played, "l", "Dependency cycle detected")
    prompt["l"]["inputs"]["which"] = False
    assert asyncio.run(stage.run(prompt, Verdict(["s"]))).shown == {"s": ["(False, None, 2)"]}


@pytest.mark.parametrize(
    ("graph", "node_id", "kind"),
    [
        (shown(a=n("OddAdd", a=["a", 0], b=1)), "a", "dependency_cycle"),
        ({"s": n("OddShow", v=["s", 0])}, "s", "dependency_cycle"),
        (shown(a=n("OddAdd", a=["ghost", 0], b=1)), "a", "exception_during_inner_validation"),
        (shown(i=n("OddInt", value=1), a=n("OddAdd", a=["i", 5], b=1)), "a", "exception_during_inner_validation"),
        (shown(i=n("OddInt", value=1), a=n("OddAdd", a=["i", "0"], b=1)), "a", "exception_during_inner_validation"),
        (shown(a=n("OddAdd", a=[[], {}], b=1)), "a", "exception_during_inner_validation"),
        (shown(a=n("OddInt", value=float("nan"))), "a", "invalid_input_type"),
        (shown(a=n("OddInt", value=float("inf"))), "a", "invalid_input_type"),
        (shown(a=n("OddInt", value=10**400)), "a", "value_bigger_than_max"),
        (shown(a=n("OddInt", value="9" * 10_000)), "a", "invalid_input_type"),
        (shown(a=n("OddInt", value=None)), "a", "invalid_input_type"),
        (shown(a=n("OddInt", value={"deep": {}})), "a", "invalid_input_type"),
        (shown(a={"class_type": "OddInt"}), "a", "exception_during_inner_validation"),
        (shown(a={"class_type": "OddInt", "inputs": None}), "a", "exception_during_inner_validation"),
        (shown(a={"class_type": "OddInt", "inputs": [1]}), "a", "exception_during_inner_validation"),
    ],
)
def test_prompts_that_cannot_be_run_are_refused(graph: dict[str, Any], node_id: str, kind: str) -> None:
    """2.1.4, 2.1.6, 2.1.9: links to nothing, self links and values that are no values: named before anything runs."""
    refused = Stage().play(graph)
    assert refused.verdict.error is not None
    errors = refused.verdict.node_errors[node_id]["errors"]
    assert kind in [error["type"] for error in errors]
    json.dumps(refused.verdict.node_errors, allow_nan=False)


def test_values_nested_without_sense_are_no_trouble() -> None:
    """2.8.2: a constant of 50,000 lists in lists is signed and handed on without recursion."""
    deep: Any = 0
    for _ in range(50_000):
        deep = {"__value__": deep} if _ == 49_999 else {"k": deep}
    stage = Stage()
    assert stage.play({"a": n("OddPass", v=deep), "s": n("OddShow", v=1)}, ["s"]).result.status == "success"
