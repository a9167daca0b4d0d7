"""V3 nodes within a graph: what they are asked, told and allowed, and how their answers travel on. No torch."""

from __future__ import annotations

import asyncio
from typing import Any

from comfy_core.graph.builder import GraphBuilder
from comfy_core.graph.validate import validate
from comfy_core.v3 import io
from comfy_core.v3.api import ComfyAPI, ComfyAPISync
from tests.unit.comfy_core.two_line_nodes import Bench, n


class Base(io.ComfyNode):
    """What the nodes below share: their schema in one line, and a list of what they saw."""

    SEEN: list[Any]
    DECLARED: dict[str, Any] = {}  # noqa: RUF012 - overridden, never changed

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id=cls.__name__, **cls.DECLARED)


def known(name: str, execute: Any, **declared: Any) -> Any:
    """A V3 class around a function; methods among `declared` become class methods."""
    methods = {key: classmethod(declared.pop(key)) for key in list(declared) if callable(declared[key])}
    body = {"DECLARED": declared, "SEEN": [], "execute": classmethod(execute), **methods}
    return type(name, (Base,), body)


def bench_with(*classes: Any) -> Bench:
    """The two-line nodes and these."""
    bench = Bench()
    bench.library.update({cls.__name__: cls for cls in classes})
    return bench


def show(source: str, slot: int = 0) -> dict[str, Any]:
    """An output node on a slot."""
    return n("Show", v=[source, slot])


INT_OUT = io.Int.Output()


def test_values_travel_between_v1_and_v3_nodes() -> None:
    """A V3 node takes a V1 node's result and hands its own on; an awaited one does the same."""

    async def later(cls: Any, v: int) -> tuple[int]:
        await asyncio.sleep(0)
        return (v + 1,)

    twice = known("Twice", lambda cls, v: io.NodeOutput(v * 2), inputs=[io.Int.Input("v")], outputs=[INT_OUT])
    bench = bench_with(twice, known("Later", later, inputs=[io.Int.Input("v")], outputs=[INT_OUT]))
    prompt = {"a": n("One", value=4), "b": n("Twice", v=["a", 0]), "c": n("Later", v=["b", 0]), "o": show("c")}
    result, _ = bench.run(prompt)
    assert (result.status, bench.shown) == ("success", [9])


def test_a_node_sees_only_the_hidden_values_it_asked_for() -> None:
    """2.10.2: unique_id comes with the call, not as an argument; what was not listed is None."""

    def execute(cls: Any, **given: Any) -> io.NodeOutput:
        cls.SEEN.append((cls.hidden.unique_id, cls.hidden.prompt, given))
        return io.NodeOutput(0)

    curious = known("Curious", execute, outputs=[INT_OUT], hidden=[io.Hidden.unique_id])
    bench = bench_with(curious)
    bench.run({"x": n("Curious"), "y": n("Curious"), "o": show("x"), "p": show("y")})
    assert sorted(curious.SEEN) == [("x", None, {}), ("y", None, {})]


def test_lists_are_spread_and_gathered() -> None:
    """is_input_list takes whole lists in one call; is_output_list spreads what it returns."""
    doubled = known(
        "Doubled",
        lambda cls, v: io.NodeOutput([each * 2 for each in v]),
        inputs=[io.Int.Input("v")],
        outputs=[io.Int.Output(is_output_list=True)],
        is_input_list=True,
    )
    bench = bench_with(doubled)
    bench.run({"m": n("Many", n=3), "d": n("Doubled", v=["m", 0]), "o": show("d")})
    assert bench.shown == [0, 2, 4]


def test_what_is_shown_is_told() -> None:
    """A dict, or an object with as_dict, becomes what clients see."""

    class Note:
        def as_dict(self) -> dict[str, Any]:
            return {"text": ("hi",)}

    noted = known("Noted", lambda cls: io.NodeOutput(ui=Note()), is_output_node=True)
    result, _ = bench_with(noted).run({"x": n("Noted")}, ["x"])
    assert {key: list(value) for key, value in result.ui["x"].items()} == {"text": ["hi"]}


def test_a_blocked_node_stops_what_follows() -> None:
    """block_execution reaches the next node, which is not called, and is told there with its message."""
    shut = known("Shut", lambda cls: io.NodeOutput(1, block_execution="closed"), outputs=[INT_OUT])
    bench = bench_with(shut)
    result, seen = bench.run({"x": n("Shut"), "o": show("x")})
    assert (result.status, bench.shown) == ("success", [])
    assert ("blocked", ("o", "closed")) in seen.told


def test_lazy_inputs_are_made_when_the_class_asks() -> None:
    """check_lazy_status sees what is missing and the hidden values; only what it names is made."""

    def ask(cls: Any, a: Any = None, b: Any = None) -> list[str]:
        cls.SEEN.append((a, b, cls.hidden.unique_id))
        return ["a"] if a is None else []

    declared: dict[str, Any] = {
        "inputs": [io.Int.Input("a", lazy=True), io.Int.Input("b", lazy=True)],
        "outputs": [INT_OUT],
        "hidden": [io.Hidden.unique_id],
    }
    picks = known("Picks", lambda cls, a, b: io.NodeOutput((a, b)), check_lazy_status=ask, **declared)
    bench = bench_with(picks)
    left_right = {"l": n("Add", a=1, b=1), "r": n("Add", a=2, b=2)}
    bench.run({**left_right, "x": n("Picks", a=["l", 0], b=["r", 0]), "o": show("x")})
    assert (bench.shown, bench.calls["Add"]) == ([(2, None)], 1)
    assert picks.SEEN == [(None, None, "x"), (2, None, "x")]


def test_lazy_inputs_of_a_class_that_does_not_ask_stay_empty() -> None:
    """The base class's own check is no question: nothing is made."""
    idle = known(
        "Idle", lambda cls, a: io.NodeOutput(a is None), inputs=[io.Int.Input("a", lazy=True)], outputs=[INT_OUT]
    )
    bench = bench_with(idle)
    bench.run({"l": n("Add", a=1, b=1), "x": n("Idle", a=["l", 0]), "o": show("x")})
    assert (bench.shown, bench.calls["Add"]) == ([True], 0)


def test_a_fingerprint_decides_what_is_cached() -> None:
    """fingerprint_inputs is asked once a prompt; the same answer keeps the result, another one does not."""
    answers = iter([1, 1, 2])

    def execute(cls: Any, v: int) -> io.NodeOutput:
        cls.SEEN.append(v)
        return io.NodeOutput(v)

    changing = known(
        "Changing3",
        execute,
        fingerprint_inputs=lambda cls, v: next(answers),
        inputs=[io.Int.Input("v")],
        outputs=[INT_OUT],
    )
    bench = bench_with(changing)
    for _ in range(3):
        bench.run({"x": n("Changing3", v=5), "o": show("x")})
    assert changing.SEEN == [5, 5]


def test_a_class_validates_its_own_inputs() -> None:
    """validate_inputs sees constants, None for links, and its node's id; its words become the error."""

    def look(cls: Any, v: int, w: Any) -> bool | str:
        cls.SEEN.append((v, w, cls.hidden.unique_id))
        return True if v < 10 else "too many"

    careful = known(
        "Careful",
        lambda cls, v, w: io.NodeOutput(),
        validate_inputs=look,
        inputs=[io.Int.Input("v", max=3), io.Int.Input("w")],
        hidden=[io.Hidden.unique_id],
        is_output_node=True,
    )
    library = bench_with(careful).library
    sound = {"a": n("One", value=1), "x": n("Careful", v=5, w=["a", 0])}
    assert asyncio.run(validate(sound, library, None)).good == ["x"]
    assert careful.SEEN == [(5, None, "x")]
    refused = asyncio.run(validate({"x": n("Careful", v=50, w=1)}, library, None))
    details = {error["details"] for error in refused.node_errors["x"]["errors"]}
    assert details == {"v - too many", "w - too many"}


def test_types_are_checked_as_v3_names_them() -> None:
    """Any type takes all, several types take theirs, slots of a template take what it allows; others are refused."""
    numbers = io.MatchType.Template("N", [io.Int, io.Float])
    taker = known(
        "Taker",
        lambda cls, **given: io.NodeOutput(),
        inputs=[
            io.AnyType.Input("any", optional=True),
            io.MultiType.Input("some", types=[io.Int, io.Image], optional=True),
            io.MatchType.Input("match", template=numbers, optional=True),
        ],
        is_output_node=True,
    )
    library = bench_with(taker).library
    for name in ("any", "some", "match"):
        for source, good in (("One", True), ("Text", name == "any")):
            given = {"value": 1} if source == "One" else {"text": "t"}
            prompt = {"s": n(source, **given), "x": n("Taker", **{name: ["s", 0]})}
            assert (asyncio.run(validate(prompt, library, None)).good == ["x"]) is good, (name, source)


def test_only_announced_graphs_grow() -> None:
    """A node with enable_expand goes on as a graph; one without fails, named."""

    def execute(cls: Any, v: int) -> io.NodeOutput:
        graph = GraphBuilder()
        added = graph.node("Add", a=v, b=1)
        return io.NodeOutput(added.out(0), expand=graph.finalize())

    declared: dict[str, Any] = {"inputs": [io.Int.Input("v")], "outputs": [INT_OUT]}
    grows, cannot = known("Grows", execute, enable_expand=True, **declared), known("Cannot", execute, **declared)
    bench = bench_with(grows, cannot)
    bench.run({"x": n("Grows", v=4), "o": show("x")})
    assert bench.shown == [5]
    result, _ = bench.run({"x": n("Cannot", v=4), "o": show("x")})
    assert result.status == "error"
    assert result.failure is not None
    assert "enable_expand" in str(result.failure)


def test_progress_is_told_for_the_node_that_runs() -> None:
    """2.10.8: awaited and blocking reports reach the watcher with the node's id, or the one given."""

    async def execute(cls: Any) -> io.NodeOutput:
        await ComfyAPI().execution.set_progress(1, 3)
        ComfyAPISync().execution.set_progress(2, 3)
        await ComfyAPI().execution.set_progress(3, 3, node_id="other")
        return io.NodeOutput(0)

    _, seen = bench_with(known("Steps", execute, outputs=[INT_OUT])).run({"x": n("Steps"), "o": show("x")})
    told = [said for kind, said in seen.told if kind == "progress"]
    assert told == [("x", 1, 3), ("x", 2, 3), ("other", 3, 3)]


def test_state_on_the_class_cannot_be_changed_while_it_runs() -> None:
    """A node that tries to keep something on its class fails, named, and the class stays clean."""

    def execute(cls: Any) -> io.NodeOutput:
        cls.kept = 1
        return io.NodeOutput(0)

    keeper = known("Keeper", execute, outputs=[INT_OUT])
    result, _ = bench_with(keeper).run({"x": n("Keeper"), "o": show("x")})
    assert (result.status, hasattr(keeper, "kept")) == ("error", False)
    assert "Keeper.kept cannot be set" in str(result.failure)
