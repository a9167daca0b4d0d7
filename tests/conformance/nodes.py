"""Nodes that do all that a node may do to an executor, and much that it should not; own writing, pure Python, V1.

What each comes to on ComfyUI 0.3.64 was seen by running the same prompts there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.builder import GraphBuilder


class Anything(str):
    """A type that goes along with every other, as packs make it."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


ANY = Anything("*")
INT = ("INT", {"default": 0, "min": -1000, "max": 1000})
BIG = ("INT", {})
TEXT = ("STRING", {"default": ""})
TRUTH = ("BOOLEAN", {})
LAZY = (ANY, {"lazy": True})
RAW = (ANY, {"rawLink": True})


def node(function: Callable[..., Any], inputs: dict[str, Any], returns: tuple[Any, ...] = (ANY,), **more: Any) -> type:
    """A node class around a function of its inputs; optional, hidden and class attributes among `more`."""
    declared = {"required": inputs, "optional": more.pop("optional", {}), "hidden": more.pop("hidden", {})}

    def run(self: Any, **given: Any) -> Any:
        return function(**given)

    async def wait(self: Any, **given: Any) -> Any:
        return await function(**given)

    body = {
        "RETURN_TYPES": returns,
        "FUNCTION": "run",
        "CATEGORY": "odd ends",
        "INPUT_TYPES": classmethod(lambda cls: declared),
        "run": wait if asyncio.iscoroutinefunction(function) else run,
    }
    return type("Odd", (), body | more)


def give_up(error: BaseException) -> Any:
    """Raise, in an expression."""
    raise error


class Wordless(Exception):
    """An error that cannot be put into words."""

    def __str__(self) -> str:
        raise ValueError("no words")


async def wait(v: Any, seconds: float) -> Any:
    await asyncio.sleep(seconds)
    return (v,)


async def wait_and_fail(v: Any) -> Any:
    await asyncio.sleep(0)
    raise ValueError(f"late {v}")


async def wait_and_leave(v: Any) -> Any:
    await asyncio.sleep(0)
    raise SystemExit(3)


async def cancelled(v: Any) -> Any:
    raise asyncio.CancelledError


async def never(v: Any) -> Any:
    await asyncio.Event().wait()


LET_GO = threading.Event()


async def stubborn(v: Any) -> Any:
    """Takes no cancellation until it is let go."""
    while not LET_GO.is_set():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
    return (v,)


def ask_lazily(kind: str) -> Callable[..., Any]:
    """check_lazy_status that answers in this way."""
    answers: dict[str, Callable[..., Any]] = {
        "pick": lambda which, a, b: ["a"] if which else ["b"],
        "both": lambda which, a, b: ["a", "b"],
        "one by one": lambda which, a, b: ["a"] if a is None else (["b"] if b is None else []),
        "text": lambda which, a, b: "a",
        "number": lambda which, a, b: 3,
        "none": lambda which, a, b: None,
        "numbers": lambda which, a, b: [1, None],
        "constant": lambda which, a, b: ["which"],
        "set": lambda which, a, b: {"a"},
        "unknown": lambda which, a, b: ["nobody"],
        "raises": lambda which, a, b: give_up(ValueError("cannot say")),
    }

    def ask(self: Any, **given: Any) -> Any:
        return answers[kind](**given)

    return ask


def answer(kind: str, v: Any = 5) -> Any:
    """What a node of two outputs may return, by name."""
    kinds: dict[str, Callable[[], Any]] = {
        "short": lambda: (v,),
        "long": lambda: (v, v, v),
        "list": lambda: [v, v],
        "empty": lambda: (),
        "dict": lambda: {"result": (v, v)},
        "dict empty": lambda: {},
        "number": lambda: 3,
        "class": lambda: object,
        "generator": lambda: (one for one in (1, 2)),
        "ui only": lambda: {"ui": {"values": [1]}},
        "ui list": lambda: {"ui": [1], "result": (v, v)},
        "ui text": lambda: {"ui": "abc", "result": (v, v)},
        "ui number": lambda: {"ui": 3, "result": (v, v)},
        "ui none": lambda: {"ui": None, "result": (v, v)},
        "blocker": lambda: ExecutionBlocker("shut"),
        "wordless": lambda: give_up(Wordless()),
        "exit": lambda: give_up(SystemExit(3)),
        "keyboard": lambda: give_up(KeyboardInterrupt()),
        "cancelled": lambda: give_up(asyncio.CancelledError()),
        "recursion": lambda: answer("recursion"),
    }
    return kinds[kind]()


def expansion(kind: str) -> Any:
    """Graphs a node may go on with, by name; the expanding node is called e, the node it feeds s."""
    one = {"class_type": "OddInt", "inputs": {"value": 5}}
    show = {"class_type": "OddShow", "inputs": {"v": ["x1", 0]}}

    def passes(source: str, slot: int = 0) -> dict[str, Any]:
        return {"class_type": "OddPass", "inputs": {"v": [source, slot]}}

    kinds: dict[str, tuple[Any, Any]] = {
        "plain": ({"x1": one}, (["x1", 0],)),
        "shows": ({"x1": one, "x2": show}, (["x1", 0],)),
        "shown as": ({"x1": one, "x2": {**show, "override_display_id": "s"}}, (["x1", 0],)),
        "shown as itself": ({"x1": {**one, "override_display_id": "x1"}}, (["x1", 0],)),
        "values": ({"x1": one}, (7,)),
        "empty": ({}, (7,)),
        "none": (None, (7,)),
        "list": ([one], (7,)),
        "text": ("abc", (7,)),
        "result none": ({"x1": one}, None),
        "taken id": ({"s": one}, (["s", 0],)),
        "own id": ({"e": one}, (["e", 0],)),
        "unknown class": ({"x1": {"class_type": "Nope", "inputs": {}}}, (["x1", 0],)),
        "no class": ({"x1": {"inputs": {}}}, (["x1", 0],)),
        "class list": ({"x1": {"class_type": [], "inputs": {}}}, (["x1", 0],)),
        "no inputs": ({"x1": {"class_type": "OddInt"}}, (["x1", 0],)),
        "inputs list": ({"x1": {"class_type": "OddInt", "inputs": [1]}}, (["x1", 0],)),
        "node text": ({"x1": "abc"}, (["x1", 0],)),
        "shown as a list": ({"x1": {**one, "override_display_id": ["s"]}}, (["x1", 0],)),
        "to nothing": ({"x1": one}, (["x9", 0],)),
        "to no slot": ({"x1": one}, (["x1", 9],)),
        "inner to nothing": ({"x1": passes("x9")}, (["x1", 0],)),
        "inner to no slot": ({"x0": one, "x1": passes("x0", 4)}, (["x1", 0],)),
        "cycle": ({"x1": passes("x2"), "x2": passes("x1")}, (["x1", 0],)),
        "self": ({"x1": passes("x1")}, (["x1", 0],)),
        "back": ({"x1": passes("e")}, (["x1", 0],)),
        "back to itself": ({"x1": one}, (["e", 0],)),
        "to what waits": ({"x1": one}, (["s", 0],)),
        "fails": ({"x1": {"class_type": "OddFail", "inputs": {"v": 5}}}, (["x1", 0],)),
        "unused": ({"x1": one, "x2": {"class_type": "OddFail", "inputs": {"v": 5}}}, (["x1", 0],)),
        "missing input": ({"x1": {"class_type": "OddPass", "inputs": {}}}, (["x1", 0],)),
    }
    graph, result = kinds[kind]
    return {"expand": graph, "result": result}


def grown(class_type: str, **inputs: Any) -> Any:
    """Go on with one node, and its result."""
    graph = GraphBuilder()
    inner = graph.node(class_type, **inputs)
    return {"result": (inner.out(0),), "expand": graph.finalize()}


def many_nodes(v: int) -> Any:
    """An expansion of so many nodes at once."""
    nodes = {f"m{i}": {"class_type": "OddInt", "inputs": {"value": 1}} for i in range(v)}
    return {"result": (["m0", 0],), "expand": nodes}


def endless() -> list[Any]:
    """A list that holds itself, twice."""
    held: list[Any] = []
    held.extend((held, held))
    return held


def validates(kind: str) -> Any:
    """VALIDATE_INPUTS that answers in this way."""
    answers = {"none": None, "false": False, "text": "odd", "number": 1, "list": ["x"]}
    raised = {"raises": ValueError("not to be asked"), "exits": SystemExit(3), "wordless": Wordless()}
    return classmethod(lambda cls, v: give_up(raised[kind]) if kind in raised else answers[kind])


def changes(kind: str) -> Any:
    """IS_CHANGED that answers in this way."""
    answers = {"nan": float("nan"), "none": None, "object": object(), "list": [1, [2]], "endless": endless()}
    raised = {"raises": ValueError("not to be asked"), "exits": SystemExit(3)}
    return classmethod(lambda cls, v: give_up(raised[kind]) if kind in raised else answers[kind])


LAZY_KINDS = ["pick", "both", "one by one", "text", "number", "none", "numbers", "constant", "set", "unknown", "raises"]
VALID_KINDS = ["raises", "exits", "wordless", "none", "false", "text", "number", "list"]
CHANGE_KINDS = ["raises", "exits", "nan", "none", "object", "list", "endless"]
CHOICE = {"which": TRUTH, "a": LAZY, "b": LAZY}


def chosen(which: bool, a: Any = None, b: Any = None) -> Any:
    """What came over lazy inputs."""
    return ((which, a, b),)


def odd_nodes() -> dict[str, type]:
    """class_type -> class; new classes with every call."""
    shown = {"OUTPUT_NODE": True}
    known = {
        "OddInt": node(lambda value: (value,), {"value": INT}, ("INT",)),
        "OddAdd": node(lambda a, b: (a + b,), {"a": INT, "b": INT}, ("INT",)),
        "OddPass": node(lambda v: (v,), {"v": (ANY,)}),
        "OddTake": node(lambda **more: (sorted(more),), {"v": (ANY,)}),
        "OddShow": node(lambda v: {"ui": {"values": [str(v)]}}, {"v": (ANY,)}, (), **shown),
        "OddShowAndGive": node(lambda v: {"ui": {"values": [str(v)]}, "result": (v,)}, {"v": (ANY,)}, **shown),
        "OddHint": node(lambda v: {"ui": {"hints": [v]}, "result": (v,)}, {"v": (ANY,)}),
        "OddMany": node(lambda n: (list(range(n)),), {"n": INT}, ("INT",), OUTPUT_IS_LIST=(True,)),
        "OddSum": node(lambda v: (sum(v),), {"v": INT}, ("INT",), INPUT_IS_LIST=True),
        "OddFail": node(lambda v: give_up(ValueError(f"cannot {v}")), {"v": (ANY,)}),
        "OddExhausted": node(lambda v: give_up(MemoryError("full")), {"v": (ANY,)}),
        "OddWait": node(wait, {"v": (ANY,), "seconds": ("FLOAT", {"default": 0.05})}),
        "OddWaitFail": node(wait_and_fail, {"v": (ANY,)}),
        "OddWaitLeave": node(wait_and_leave, {"v": (ANY,)}),
        "OddCancelled": node(cancelled, {"v": (ANY,)}),
        "OddNever": node(never, {"v": (ANY,)}),
        "OddStubborn": node(stubborn, {"v": (ANY,)}),
        "OddBlock": node(
            lambda v, message, silent: (ExecutionBlocker(None if silent else message), v),
            {"v": (ANY,), "message": TEXT, "silent": TRUTH},
            (ANY, ANY),
        ),
        "OddBlockOdd": node(lambda v: (ExecutionBlocker("odd") if v % 2 else v,), {"v": INT}, ("INT",)),
        "OddReturn": node(answer, {"kind": TEXT}, (ANY, ANY)),
        "OddReturnShown": node(answer, {"kind": TEXT}, (ANY, ANY), **shown),
        "OddExpand": node(expansion, {"kind": TEXT}),
        "OddDeeper": node(
            lambda depth: grown("OddDeeper", depth=depth - 1) if depth else (0,), {"depth": BIG}, ("INT",)
        ),
        "OddEndless": node(lambda v: grown("OddEndless", v=v + 1), {"v": BIG}, ("INT",)),
        "OddManyNodes": node(many_nodes, {"v": BIG}, ("INT",)),
        "OddExpandEven": node(lambda v: (v,) if v % 2 else grown("OddAdd", a=v, b=100), {"v": INT}, ("INT",)),
        "OddRaw": node(lambda v: (v,), {"v": RAW}),
        "OddOptional": node(lambda v=None, w=None: ((v, w),), {}, optional={"v": (ANY,), "w": INT}),
        "OddLazy unasked": node(chosen, CHOICE),
    }
    known |= {f"OddLazy {kind}": node(chosen, CHOICE, check_lazy_status=ask_lazily(kind)) for kind in LAZY_KINDS}
    known |= {
        f"OddValid {kind}": node(lambda v: (v,), {"v": INT}, VALIDATE_INPUTS=validates(kind)) for kind in VALID_KINDS
    }
    known |= {f"OddChanged {kind}": node(lambda v: (v,), {"v": INT}, IS_CHANGED=changes(kind)) for kind in CHANGE_KINDS}
    return known
