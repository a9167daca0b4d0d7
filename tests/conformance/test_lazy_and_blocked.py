"""2.5 and 2.6: inputs that are made when they are asked for, and calls that are left out. No server."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_core.graph.blocker import ExecutionBlocker
from tests.conformance.nodes import ANY, INT, LAZY, node
from tests.conformance.stage import CACHES, Played, Stage, n, shown

SOURCES = {"x": n("OddAdd", a=1, b=10), "y": n("OddPass", v=2)}
LINKS: dict[str, Any] = {"a": ["x", 0], "b": ["y", 0]}


def lazy(kind: str, **more: Any) -> dict[str, Any]:
    """A node with two lazy inputs, its sources and its output."""
    return shown(**SOURCES, l=n(f"OddLazy {kind}", **({"which": True} | LINKS | more)))


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize(
    ("kind", "which", "ran", "result"),
    [
        ("pick", True, {"x"}, "(True, 11, None)"),
        ("pick", False, {"y"}, "(False, None, 2)"),
        ("both", True, {"x", "y"}, "(True, 11, 2)"),
        ("set", True, {"x"}, "(True, 11, None)"),
        ("unasked", True, set(), "(True, None, None)"),
        ("none", True, set(), "(True, None, None)"),
        ("constant", True, set(), "(True, None, None)"),
    ],
)
def test_only_what_is_asked_for_is_made(cache: str, kind: str, which: bool, ran: set[str], result: str) -> None:
    """2.5.1: the other branch is not even started; a class without the question gets nothing at all."""
    played = Stage(CACHES[cache]).play(lazy(kind, which=which))
    assert played.shown == {"s": [result]}
    assert set(played.ran) == ran | {"l", "s"}


def test_a_lazy_input_may_be_a_constant() -> None:
    """2.5.1: it is there without being asked for."""
    assert Stage().play(lazy("pick", a=5)).shown == {"s": ["(True, 5, None)"]}


def test_what_is_there_already_is_given_without_being_asked_for() -> None:
    """2.5.1: a result made for another node, or cached, comes along."""
    stage = Stage()
    for _ in range(2):
        played = stage.play(lazy("pick") | {"t": n("OddShow", v=["y", 0])})
        assert played.shown["s"] == ["(True, 11, 2)"]


def test_a_node_is_asked_until_it_asks_for_no_more() -> None:
    """2.5.2: first one, then the other, each seen as None until it is made."""
    seen: list[Any] = []

    def ask(self: Any, a: Any = None, b: Any = None) -> list[str]:
        seen.append((a, b))
        return ["a"] if a is None else ["a", "b"] if b is None else []

    asks = node(lambda a, b: ((a, b),), {"a": LAZY, "b": LAZY}, check_lazy_status=ask)
    stage = Stage(Asks=asks)
    assert stage.play(shown(**SOURCES, l=n("Asks", **LINKS))).shown == {"s": ["(11, 2)"]}
    assert seen == [(None, None), (11, None), (11, 2)]


def test_every_element_is_asked_and_what_any_needs_is_made() -> None:
    """2.5.2: the union of the answers; the node is then called for each."""
    flags = node(lambda: ([True, False],), {}, ("BOOLEAN",), OUTPUT_IS_LIST=(True,))
    stage = Stage(Flags=flags)
    played = stage.play(shown(f=n("Flags"), **SOURCES, l=n("OddLazy pick", which=["f", 0], **LINKS)))
    assert played.shown == {"s": ["(True, 11, 2)", "(False, 11, 2)"]}


def test_a_node_of_lists_is_asked_in_lists() -> None:
    """2.5.2: with INPUT_IS_LIST what is missing is a list of one None."""
    seen: list[Any] = []

    def ask(self: Any, a: Any, b: Any) -> list[str]:
        seen.append((list(a), list(b)))
        return ["a"] if a[0] is None else []

    asks = node(lambda a, b: (sum(a),), {"a": LAZY, "b": LAZY}, INPUT_IS_LIST=True, check_lazy_status=ask)
    stage = Stage(Asks=asks)
    played = stage.play(shown(m=n("OddMany", n=4), y=n("OddPass", v=2), l=n("Asks", a=["m", 0], b=["y", 0])))
    assert played.shown == {"s": ["6"]}
    assert seen == [([None], [None]), ([0, 1, 2, 3], [None])]


def test_asking_for_what_is_not_there_is_an_error() -> None:
    """2.5.3: a name that the prompt gives neither a link nor a value, though the class declares it."""
    ask = node(
        lambda a=None: (a,), {}, optional={"a": LAZY}, check_lazy_status=lambda self, a=None: ["a"] if a is None else []
    )
    stage = Stage(Asks=ask)
    played = stage.play(shown(l=n("Asks")))
    assert (played.result.status, played.error["node_id"]) == ("error", "l")
    assert "input a" in played.error["exception_message"]


def test_executing_is_told_every_time() -> None:
    """2.5.4: before it is asked, and again before it runs; in between what it asked for."""
    assert Stage().play(lazy("one by one")).ran == ["l", "x", "l", "y", "l", "s"]


def block(silent: bool, message: str = "shut") -> dict[str, Any]:
    """A node whose first output is blocked and whose second is not, and two nodes after it."""
    return {
        "b": n("OddBlock", v=5, message=message, silent=silent),
        "p": n("OddPass", v=["b", 0]),
        "s": n("OddShow", v=["p", 0]),
        "t": n("OddShow", v=["b", 1]),
    }


@pytest.mark.parametrize("cache", CACHES)
def test_what_follows_a_blocker_is_not_called(cache: str) -> None:
    """2.6.1: all the way down, silently; the other output goes on, and the run succeeds."""
    stage = Stage(CACHES[cache])
    played = stage.play(block(silent=True))
    assert (played.result.status, played.shown) == ("success", {"t": ["5"]})
    assert (stage.calls["OddPass"], stage.calls["OddShow"]) == (0, 1)
    assert played.of("execution_error") == []
    assert played.of("executed") == [told for told in played.of("executed") if told["node"] == "t"]


def test_a_blocker_blocks_every_output_of_the_node_it_comes_to() -> None:
    """2.6.1: whichever input it came by."""
    two = node(lambda v, w: (1, 2), {"v": INT, "w": INT}, (ANY, ANY))
    stage = Stage(Two=two)
    prompt = {"b": n("OddBlock", v=1, message="", silent=True), "x": n("Two", v=1, w=["b", 0])}
    prompt |= {"s": n("OddShow", v=["x", 0]), "t": n("OddShow", v=["x", 1])}
    assert (stage.play(prompt).shown, stage.calls["Two"]) == ({}, 0)


def blocked(played: Played) -> dict[str, Any]:
    """The one message about a blocker."""
    (told,) = played.of("execution_error")
    return told


@pytest.mark.parametrize("cache", CACHES)
def test_a_message_is_told_once(cache: str) -> None:
    """2.6.2: at the first node it comes to, in the shape of an error without a cause; what follows is silent."""
    played = Stage(CACHES[cache]).play(block(silent=False))
    told = blocked(played)
    assert (told["node_id"], told["node_type"]) == ("p", "OddPass")
    assert told["exception_message"] == "Execution Blocked: shut"
    assert told["exception_type"] == "ExecutionBlocked"
    assert (told["traceback"], list(told["current_inputs"]), told["current_outputs"]) == ([], [], [])
    assert "b" in told["executed"]
    assert (played.result.status, played.messages[-1][0]) == ("success", "execution_success")
    assert played.kept == ["execution_start", "execution_cached", "execution_success"]


def test_a_blocked_node_is_cached_as_blocked() -> None:
    """2.6.2: the second time nothing runs and nothing is told again."""
    stage = Stage()
    stage.play(block(silent=False))
    again = stage.play(block(silent=False))
    assert (again.of("execution_error"), again.shown) == ([], {"t": ["5"]})


def test_in_a_list_only_the_blocked_elements_are_left_out() -> None:
    """2.6.3: the output runs for the others; each blocked element is told."""
    stage = Stage()
    prompt = shown(m=n("OddMany", n=5), b=n("OddBlockOdd", v=["m", 0]), a=n("OddAdd", a=["b", 0], b=100))
    played = stage.play(prompt)
    assert played.shown == {"s": ["100", "102", "104"]}
    assert stage.calls["OddAdd"] == 3
    assert [told["exception_message"] for told in played.of("execution_error")] == ["Execution Blocked: odd"] * 2


def test_a_list_that_is_taken_whole_is_blocked_by_one_of_its_elements() -> None:
    """2.6.3: one call with all values is one call that is left out."""
    stage = Stage()
    played = stage.play(shown(m=n("OddMany", n=3), b=n("OddBlockOdd", v=["m", 0]), k=n("OddSum", v=["b", 0])))
    assert (played.shown, stage.calls["OddSum"]) == ({}, 0)
    assert blocked(played)["node_id"] == "k"


def test_a_blocked_node_is_not_asked_about_its_lazy_inputs() -> None:
    """2.5.2, 2.6.1: what it might need is not made for nothing."""
    flags = node(lambda: (ExecutionBlocker(None),), {}, ("BOOLEAN",))
    stage = Stage(Flags=flags)
    played = stage.play(shown(f=n("Flags"), **SOURCES, l=n("OddLazy pick", which=["f", 0], **LINKS)))
    assert (played.shown, stage.calls["OddAdd"], stage.calls["OddPass"]) == ({}, 0, 0)
