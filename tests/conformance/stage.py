"""A whole executor without sockets: prompts are validated, run, and told to one client whose messages are kept."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from comfy_core.events import Reporter
from comfy_core.graph.cache import Keeping
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.execute import Engine
from comfy_core.graph.run import Result, Run
from comfy_core.graph.validate import Verdict, validate
from comfy_core.queue import Item
from comfy_core.usage import Peaks
from tests.conformance.nodes import odd_nodes

CACHES = {
    "classic": Keeping(),
    "lru": Keeping("lru", 100),
    "none": Keeping("none"),
    "ram": Keeping("ram", headroom=1, available=lambda: 2),
}


class Mail:
    """The client's messages, in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        self.sent.append((event, data))

    def send_preview(self, preview: Any, facts: dict[str, Any], client_id: str | None) -> None:
        self.sent.append(("preview", facts))

    def later(self, delay: float, call: Callable[[], None], still: Callable[[], bool]) -> None:
        """Nothing is sent later: the last state comes with the end."""


@dataclass
class Played:
    """What became of one prompt."""

    verdict: Verdict
    result: Result = field(default_factory=Result)
    messages: list[tuple[str, Any]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """The messages that the history keeps, by kind."""

    @property
    def told(self) -> list[tuple[str, Any]]:
        """(event, node) of every message but progress_state."""
        return [(event, data.get("node")) for event, data in self.messages if event != "progress_state"]

    @property
    def ran(self) -> list[str]:
        """Nodes that were called, in order."""
        return [data["node"] for event, data in self.messages if event == "executing"]

    @property
    def shown(self) -> dict[str, Any]:
        """What the nodes of OddShow show."""
        return {node_id: ui.get("values") for node_id, ui in self.result.ui.items()}

    def of(self, event: str) -> list[dict[str, Any]]:
        """The messages of one kind."""
        return [data for kind, data in self.messages if kind == event]

    @property
    def error(self) -> dict[str, Any]:
        """The execution_error that ended the run."""
        return self.of("execution_error")[-1]


class Stage:
    """One engine and the nodes it knows, over several prompts. calls: how often each class was called."""

    def __init__(self, keeping: Keeping | None = None, **more: type) -> None:
        self.calls: Counter[str] = Counter()
        self.library: dict[str, type] = odd_nodes() | more
        for name, cls in self.library.items():
            if hasattr(cls, "run"):
                self._count(name, cls)
        self.stop = threading.Event()
        self.engine = Engine(self.library, keeping)

    def _count(self, name: str, cls: Any) -> None:
        method = cls.run

        async def wait(node: Any, **given: Any) -> Any:
            self.calls[name] += 1
            return await method(node, **given)

        def run(node: Any, **given: Any) -> Any:
            self.calls[name] += 1
            return method(node, **given)

        cls.run = wait if asyncio.iscoroutinefunction(method) else run

    def play(self, prompt: dict[str, Any], targets: list[str] | None = None, **extra: Any) -> Played:
        """Validate and run a prompt, as a server and its worker do."""
        return asyncio.run(self.played(prompt, targets, **extra))

    async def played(self, prompt: dict[str, Any], targets: list[str] | None = None, **extra: Any) -> Played:
        """The same, within a loop."""
        verdict = await validate(prompt, self.library, targets)
        if not verdict.good:
            return Played(verdict)
        return await self.run(prompt, verdict, **extra)

    async def run(self, prompt: dict[str, Any], verdict: Verdict, **extra: Any) -> Played:
        """Run without validation what `verdict` calls good."""
        mail, grown = Mail(), DynamicPrompt(prompt)
        reporter = Reporter(Item(0, 0, "p", prompt, {"client_id": "c"} | extra, verdict.good), grown, mail)
        reporter.begin()
        run = Run("p", grown, extra, verdict.good, self.stop.is_set)
        result = await self.engine.run(run, reporter)
        reporter.end(result, False, Peaks())
        return Played(verdict, result, mail.sent, [event for event, _ in reporter.messages])


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def shown(**nodes: Any) -> dict[str, Any]:
    """These nodes, and `s` that shows the first output of the last of them."""
    return nodes | {"s": n("OddShow", v=[list(nodes)[-1], 0])}
