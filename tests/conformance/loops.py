"""Own nodes that act towards the executor as those did whose message streams were recorded, without pictures.

A loop is a node that opens, a node that closes, and all between them: the closing node goes on as a copy of what lies
between, until a count has come down to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.builder import GraphBuilder, is_link
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.progress import advance
from tests.conformance.nodes import ANY, TRUTH, node

COUNT = ("INT", {"min": 0})
SIZE = {"height": COUNT, "width": COUNT, "batch_size": COUNT}
RAW = (ANY, {"rawLink": True})
SLOTS = [f"initial_value{index}" for index in range(1, 5)]


def opens(remaining: int, **given: Any) -> tuple[Any, ...]:
    """What is left to do, and the values that go round."""
    return ("flow", given.get("initial_value0", remaining), *(given.get(slot) for slot in SLOTS))


def closes(flow_control: list[Any], **given: Any) -> Any:
    """One less to do; while there is something left, another round."""
    graph = GraphBuilder()
    left = graph.node("Less", value=[flow_control[0], 1])
    goes_on = graph.node("Truth", value=left.out(0))
    end = graph.node("Round", flow_control=flow_control, condition=goes_on.out(0), initial_value0=left.out(0), **given)
    return {"result": tuple(end.out(slot) for slot in range(1, 5)), "expand": graph.finalize()}


def goes_round(flow_control: list[Any], condition: bool, me: str, prompt: DynamicPrompt, **given: Any) -> Any:
    """The values as they are, or a copy of all that lies between the opening node and this one."""
    names = ["initial_value0", *SLOTS]
    if not condition:
        return tuple(given.get(name) for name in names)
    first = flow_control[0]
    between = {first} | {one for one in _above(prompt, me) if first in _above(prompt, one)} | {me}
    graph = GraphBuilder()
    copies = {one: graph.node(prompt.get_node(one)["class_type"], "Recurse" if one == me else one) for one in between}
    for one, copy in copies.items():
        copy.set_override_display_id(one)
        for name, value in prompt.get_node(one)["inputs"].items():
            inside = is_link(value) and value[0] in copies
            copy.set_input(name, copies[value[0]].out(value[1]) if inside else value)
    for name in names:
        copies[first].set_input(name, given.get(name))
    return {"result": tuple(copies[me].out(slot) for slot in range(5)), "expand": graph.finalize()}


def _above(prompt: DynamicPrompt, node_id: str) -> set[str]:
    """All that a node depends on."""
    found: set[str] = set()
    todo = [node_id]
    while todo:
        new = [one for one in _sources(prompt, todo.pop()) if one not in found]
        found.update(new)
        todo.extend(new)
    return found


def _sources(prompt: DynamicPrompt, node_id: str) -> Iterator[str]:
    for value in prompt.get_node(node_id)["inputs"].values():
        if is_link(value):
            yield value[0]


async def sleeps(value: Any, seconds: float, me: str) -> Any:
    """Tells how far it is while it waits."""
    for step in (1, 2):
        await asyncio.sleep(seconds / 100)
        advance(step, 2)
    return (value,)


def mixes(image1: Any, image2: Any, mask: Any) -> Any:
    """Two of one size."""
    if image1[1:] != image2[1:]:
        raise RuntimeError("sizes differ")
    return (image1,)


def nodes() -> dict[str, type]:
    """class_type -> class, by the names in the recordings."""

    def shows(images: Any) -> Any:
        return {"ui": {"images": [{"type": "temp"}]}}

    either = dict.fromkeys(SLOTS, (ANY,))
    raw = dict.fromkeys(SLOTS, RAW)
    flow = ("FLOW", "INT", *[ANY] * 4)
    hidden = {"me": "UNIQUE_ID", "prompt": "DYNPROMPT"}
    lazy = {"lazy": True}
    mixed = {"image1": ("IMAGE", lazy), "image2": ("IMAGE", lazy), "mask": ("MASK",)}
    contents = (["WHITE", "BLACK", "NOISE"],)
    whole = {"optional": raw | {"initial_value0": (ANY,)}, "hidden": hidden}
    listed = {f"value{index}": (ANY,) for index in range(2, 10)}
    return {
        "StubImage": node(lambda **given: (tuple(given.values()),), {"content": contents} | SIZE, ("IMAGE",)),
        "StubMask": node(lambda **given: (given["value"],), {"value": ("FLOAT",)} | SIZE, ("MASK",)),
        "PreviewImage": node(shows, {"images": ("IMAGE",)}, (), OUTPUT_NODE=True),
        "TestSleep": node(sleeps, {"value": (ANY,), "seconds": ("FLOAT",)}, hidden={"me": "UNIQUE_ID"}),
        "TestExecutionBlocker": node(
            lambda block, verbose, **given: (ExecutionBlocker("Blocked Execution") if block else given["input"],),
            {"input": (ANY,), "block": TRUTH, "verbose": TRUTH},
        ),
        "TestLazyMixImages": node(
            mixes, mixed, ("IMAGE",), check_lazy_status=lambda self, mask, image1, image2: ["image1", "image2"]
        ),
        "TestMakeListNode": node(
            lambda **given: (list(given.values()),), {"value1": (ANY,)}, optional=listed, OUTPUT_IS_LIST=(True,)
        ),
        "TestVariadicAverage": node(lambda **given: (given["input1"],), {"input1": ("IMAGE",)}, ("IMAGE",)),
        "TestForLoopOpen": node(opens, {"remaining": COUNT}, flow, optional=either, hidden={"initial_value0": (ANY,)}),
        "TestForLoopClose": node(closes, {"flow_control": RAW}, (ANY,) * 4, optional=raw),
        "Less": node(lambda value: (value - 1,), {"value": COUNT}, ("INT",)),
        "Truth": node(lambda value: (bool(value),), {"value": (ANY,)}, ("BOOLEAN",)),
        "Round": node(goes_round, {"flow_control": RAW, "condition": TRUTH}, (ANY,) * 5, **whole),
    }
