"""Turns an executor's messages into one number and one line about the whole run. Pure: no clock, no I/O."""

from __future__ import annotations

from typing import Any

from drivers.wire import Job, Progress, WorkflowJson


class Tracker:
    """Follows one prompt. The value is the share of its nodes that are done, and never goes back."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._classes = class_names(job.workflow)
        self._done: set[str] = set()
        self._current: str | None = None
        self._part = 0.0
        self._steps = ""
        self._counted: tuple[int, int] | None = None
        self._value = 0.0

    def take(self, name: str, data: dict[str, Any]) -> Progress | None:
        """The progress after a message; None when the message says nothing new."""
        before = (self._value, self._current, self._steps)
        match name:
            case "execution_cached":
                self._done.update(str(node) for node in data.get("nodes", []))
            case "executing":
                self._enter(data.get("display_node") or data.get("node"))
            case "progress":
                self._advance(data)
            case "executed":
                self._done.add(str(data.get("display_node") or data.get("node")))
            case "execution_success":
                self._done.update(self._classes)
            case _:
                return None
        self._value = max(self._value, self._share())
        return None if before == (self._value, self._current, self._steps) else self.frame()

    def frame(self) -> Progress:
        """The progress as it stands."""
        node_type = self._classes.get(self._current) if self._current else None
        text = f"Executing {node_type}{self._steps}" if node_type else "Executing"
        return Progress(
            run_id=self._job.run_id,
            attempt_id=self._job.attempt_id,
            value=round(self._value, 4),
            node_id=self._current,
            node_type=node_type,
            text=text,
            nodes_done=len(self._done & self._classes.keys()),
            nodes_total=len(self._classes),
            step=None if self._counted is None else self._counted[0],
            steps=None if self._counted is None else self._counted[1],
        )

    def _enter(self, node: Any) -> None:
        if self._current is not None and node != self._current:
            self._done.add(self._current)
        self._current = None if node is None else str(node)
        self._part = 0.0
        self._steps = ""
        self._counted = None

    def _advance(self, data: dict[str, Any]) -> None:
        value, limit = data.get("value", 0), data.get("max", 0)
        if isinstance(value, int | float) and isinstance(limit, int | float) and limit > 0:
            self._part = min(1.0, max(0.0, value / limit))
            self._steps = f" {value:g}/{limit:g}"
            self._counted = (round(value), round(limit))

    def _share(self) -> float:
        done = len(self._done & self._classes.keys())
        part = self._part if self._current not in self._done else 0.0
        return min(1.0, (done + part) / max(1, len(self._classes)))


def class_names(workflow: WorkflowJson) -> dict[str, str]:
    """class_type by node id."""
    return {node_id: str(node.get("class_type", "")) for node_id, node in workflow.items() if isinstance(node, dict)}
