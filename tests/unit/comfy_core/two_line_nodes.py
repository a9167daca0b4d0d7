"""Nodes of two lines, to show the graph's rules without torch; every bench counts the calls of its own nodes."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from comfy_core.errors import Interrupted
from comfy_core.graph.cache import Keeping, Made
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.execute import Engine
from comfy_core.graph.run import Result, Run
from comfy_core.progress import scope

INT = {"default": 0, "min": -1000, "max": 1000}


class Recorder:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def cached(self, node_ids: list[str]) -> None:
        self.told.append(("cached", sorted(node_ids)))

    def started(self, node_id: str) -> None:
        self.told.append(("started", node_id))

    def progress(self, node_id: str, value: float, maximum: float, preview: Any) -> None:
        self.told.append(("progress", (node_id, value, maximum)))

    def executed(self, node_id: str, ui: dict[str, Any] | None) -> None:
        self.told.append(("executed", (node_id, ui)))

    def blocked(self, node_id: str, message: str, executed: list[str]) -> None:
        self.told.append(("blocked", (node_id, message)))

    def finished(self, node_id: str) -> None:
        self.told.append(("finished", node_id))

    def started_nodes(self) -> list[str]:
        return [node_id for event, node_id in self.told if event == "started"]


def node(function: Any, inputs: dict[str, Any], returns: tuple[str, ...], **attributes: Any) -> type:
    """A node class around a function."""

    class Node:
        RETURN_TYPES = returns
        FUNCTION = "run"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
            return inputs

        run = function

    for name, value in attributes.items():
        setattr(Node, name, value)
    return Node


class Bench:
    """A library, an engine over it and a count of calls per class."""

    def __init__(self, keeping: Keeping | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.shown: list[Any] = []
        self.stop = False
        self.fingerprint: Any = 1
        self.library: dict[str, type] = {
            "One": self._node("One", lambda value: (value,), {"required": {"value": ("INT", INT)}}, ("INT",)),
            "Add": self._node("Add", lambda a, b: (a + b,), _two(), ("INT",)),
            "Many": self._node("Many", lambda n: (list(range(n)),), _int("n"), ("INT",), OUTPUT_IS_LIST=(True,)),
            "Sum": self._node("Sum", lambda v: (sum(v),), _int("v"), ("INT",), INPUT_IS_LIST=True),
            "Text": self._node("Text", lambda text: (text,), {"required": {"text": ("STRING", {})}}, ("STRING",)),
            "Fail": self._node("Fail", self._fail, _int("v"), ("INT",)),
            "Halt": self._node("Halt", self._halt, _int("v"), ("INT",)),
            "Show": self._node("Show", self._show, {"required": {"v": ("INT", INT)}}, (), OUTPUT_NODE=True),
            "Wait": node(self._wait(), _int("v"), ("INT",)),
            "Changing": self._node("Changing", lambda v: (v,), _int("v"), ("INT",), IS_CHANGED=self._is_changed),
            "Id": self._node("Id", lambda me, v: (me,), _int("v") | {"hidden": {"me": "UNIQUE_ID"}}, ("STRING",)),
            "Choice": self._node("Choice", lambda c: (0,), {"required": {"c": (["a", "b"],)}}, ("INT",)),
            "Picky": self._node("Picky", lambda v: (v,), _int("v"), ("INT",), VALIDATE_INPUTS=self._picky),
        }
        self.engine = Engine(self.library, keeping)

    def _node(self, name: str, function: Any, inputs: dict[str, Any], returns: tuple[str, ...], **more: Any) -> type:
        def run(_: Any, **given: Any) -> Any:
            self.calls[name] += 1
            return function(**given)

        return node(run, inputs, returns, **more)

    def _fail(self, v: int) -> Any:
        raise ValueError(f"cannot {v}")

    def _halt(self, v: int) -> Any:
        self.stop = True
        raise Interrupted("stop")

    def _show(self, v: int) -> Any:
        self.shown.append(v)
        return {"ui": {"values": [v]}}

    @staticmethod
    def _wait() -> Any:
        async def run(_: Any, v: int) -> Any:
            current = scope.get()
            await asyncio.sleep(0.02)
            assert scope.get() is current
            return (v,)

        return run

    def _is_changed(self, v: int) -> Any:
        return self.fingerprint

    @staticmethod
    def _picky(v: int) -> Any:
        return "too odd" if v is not None and v % 2 else True

    def run(self, prompt: dict[str, Any], outputs: list[str] | None = None) -> tuple[Result, Recorder]:
        """Execute without validation."""
        recorder = Recorder()
        shows = [key for key, value in prompt.items() if value["class_type"] == "Show"]
        run = Run("p", DynamicPrompt(prompt), {}, outputs or shows, lambda: self.stop)
        return asyncio.run(self.engine.run(run, recorder)), recorder


def _int(name: str) -> dict[str, Any]:
    return {"required": {name: ("INT", INT)}}


def _two() -> dict[str, Any]:
    return {"required": {"a": ("INT", INT), "b": ("INT", INT)}}


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def chain(length: int, start: int = 1) -> dict[str, Any]:
    """One, then `length` additions of zero, then Show."""
    prompt = {"0": n("One", value=start)}
    for index in range(1, length + 1):
        prompt[str(index)] = n("Add", a=[str(index - 1), 0], b=0)
    prompt["out"] = n("Show", v=[str(length), 0])
    return prompt


__all__ = ["Bench", "Made", "Recorder", "chain", "n", "node"]
