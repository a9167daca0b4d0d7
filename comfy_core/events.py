"""What clients are told during a run: ComfyUI's messages, in its order. It knows no sockets: `Post` carries them.

progress_state names every node that is not pending; it is sent at most 20 times a second, the last state always. On
graphs of thousands of nodes the newest 2,000 are named, so that a message stays under the 4 MiB a WebSocket client
takes by default.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.problem import in_words
from comfy_core.graph.run import Failure, Result
from comfy_core.queue import Item
from comfy_core.usage import Peaks

PROGRESS_EVERY_S = 0.05
NODES_NAMED = 2_000
ROOM_FOR_NAMES = 200_000
WHOSE = ("node_id", "prompt_id", "display_node_id", "parent_node_id", "real_node_id")
OUT_OF_MEMORY_TIP = "Memory ran out: try smaller images or batches, or a machine with more memory."


class Post(Protocol):
    """The way to the clients; callable from any thread."""

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        """To one client, or to all when client_id is None."""

    def send_preview(self, preview: Any, facts: dict[str, Any], client_id: str | None) -> None:
        """A picture of what a node is at, as the node hands it over, with the facts of whose it is."""

    def hurry(self) -> None:
        """What was said until now goes out at once; without this it may wait for a moment and for more."""

    def later(self, delay: float, call: Callable[[], None], still: Callable[[], bool]) -> None:
        """Call this on the server's loop after so many seconds, if it is still wanted when the loop hears of it."""


class Reporter:
    """The watcher of one run. client_id None: nobody but the history hears of it."""

    def __init__(self, item: Item, prompt: DynamicPrompt, post: Post) -> None:
        self._client_id = item.client_id
        self._prompt_id = item.prompt_id
        self._prompt = prompt
        self._post = post
        self._lock = threading.Lock()
        self._states: dict[str, dict[str, Any]] = {}
        self._scheduled = False
        self._dirty = False
        self._closed = False
        self.last_node: str | None = None
        self.messages: list[list[Any]] = []

    def begin(self) -> None:
        """The run starts."""
        self._keep("execution_start", {"prompt_id": self._prompt_id})

    def cached(self, node_ids: list[str]) -> None:
        """These nodes' results are there already."""
        self._keep("execution_cached", {"nodes": node_ids, "prompt_id": self._prompt_id})

    def started(self, node_id: str) -> None:
        """The node is being called."""
        self.last_node = node_id
        self._state(node_id, 0.0, 1.0, "running")
        shown = self._prompt.get_display_node_id(node_id)
        self._send("executing", {"node": node_id, "display_node": shown, "prompt_id": self._prompt_id})

    def progress(self, node_id: str, value: float, maximum: float, preview: Any) -> None:
        """The node says how far it is."""
        self._state(node_id, value, maximum, "running")
        facts = {"value": value, "max": maximum, "prompt_id": self._prompt_id, "node": node_id}
        self._send("progress", facts)
        if preview is not None and self._client_id is not None:
            self._post.send_preview(preview, self._whose(node_id), self._client_id)

    def _whose(self, node_id: str) -> dict[str, Any]:
        state = self._states[node_id]
        return {key: state[key] for key in WHOSE}

    def executed(self, node_id: str, ui: dict[str, Any] | None) -> None:
        """The node has something to show."""
        shown = self._prompt.get_display_node_id(node_id)
        self._send("executed", {"node": node_id, "display_node": shown, "output": ui, "prompt_id": self._prompt_id})

    def blocked(self, node_id: str, message: str, executed: list[str]) -> None:
        """A blocker with a message came to the node; the run goes on, and history does not hear of it."""
        facts = {
            "prompt_id": self._prompt_id,
            "node_id": node_id,
            "node_type": self._prompt[node_id]["class_type"],
            "executed": executed,
            "exception_message": f"Execution Blocked: {message}",
            "exception_type": "ExecutionBlocked",
            "traceback": [],
            "current_inputs": [],
            "current_outputs": [],
            "timestamp": int(time.time() * 1000),
        }
        self._send("execution_error", facts)

    def finished(self, node_id: str) -> None:
        """The node's results are there."""
        known = self._states.get(node_id)
        maximum = 1.0 if known is None else known["max"]
        self._state(node_id, maximum, maximum, "finished")

    def end(self, result: Result, out_of_memory: bool, peaks: Peaks) -> None:
        """The run is over: the last progress, then how it ended, with the most memory it held."""
        failure = result.failure
        if failure is not None:
            known = self._states.get(failure.at, {"value": 0.0, "max": 1.0})
            self._state(failure.at, known["value"], known["max"], "error")
        with self._lock:
            self._closed = True
        self._send_state()
        held = {"peak_ram": peaks.ram, "peak_vram": peaks.vram}
        if failure is None:
            self._keep("execution_success", {"prompt_id": self._prompt_id} | held)
        elif result.status == "interrupted":
            self._keep("execution_interrupted", self._failed(failure, result), broadcast=self._client_id is None)
        else:
            self._keep("execution_error", self._failed(failure, result) | self._error(failure, out_of_memory) | held)

    def _failed(self, failure: Failure, result: Result) -> dict[str, Any]:
        return {
            "prompt_id": self._prompt_id,
            "node_id": failure.node_id,
            "node_type": failure.node_type,
            "executed": result.executed,
        }

    def _error(self, failure: Failure, out_of_memory: bool) -> dict[str, Any]:
        return {
            "exception_message": f"{in_words(failure.error)}\n{OUT_OF_MEMORY_TIP if out_of_memory else ''}",
            "exception_type": failure.exception_type,
            "traceback": failure.traceback,
            "current_inputs": failure.current_inputs,
            "current_outputs": list(self._prompt),
        }

    def _keep(self, event: str, data: dict[str, Any], broadcast: bool = False) -> None:
        stamped = data | {"timestamp": int(time.time() * 1000)}
        self.messages.append([event, stamped])
        if broadcast:
            self._post.send(event, stamped, None)
        else:
            self._send(event, stamped)

    def _send(self, event: str, data: dict[str, Any]) -> None:
        if self._client_id is not None:
            self._post.send(event, data, self._client_id)

    def _state(self, node_id: str, value: float, maximum: float, state: str) -> None:
        known = self._states.get(node_id)
        if known is not None:
            self._states[node_id] = known | {"value": value, "max": maximum, "state": state}
        else:
            self._states[node_id] = {
                "value": value,
                "max": maximum,
                "state": state,
                "node_id": node_id,
                "prompt_id": self._prompt_id,
                "display_node_id": self._prompt.get_display_node_id(node_id),
                "parent_node_id": self._prompt.get_parent_node_id(node_id),
                "real_node_id": self._prompt.get_real_node_id(node_id),
            }
        with self._lock:
            first, self._dirty = not self._scheduled, True
            self._scheduled = True
        if first:
            self._post.later(PROGRESS_EVERY_S, self._flush, self._is_open)

    def _is_open(self) -> bool:
        return not self._closed

    def _flush(self) -> None:
        """Runs on the server's loop: send what has changed since, and stop when nothing has."""
        with self._lock:
            if self._closed:
                return
            self._scheduled = self._dirty
        if self._scheduled:
            self._send_state()
            self._post.later(PROGRESS_EVERY_S, self._flush, self._is_open)

    def _send_state(self) -> None:
        with self._lock:
            self._dirty = False
        states = self._states.copy()
        self._send("progress_state", {"prompt_id": self._prompt_id, "nodes": _newest(states)})


def _newest(states: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """As many of the newest as a message holds; ids of nodes deep within expansions are thousands of letters long."""
    room, named = ROOM_FOR_NAMES, 0
    for node_id in islice(reversed(states), NODES_NAMED):
        room -= len(node_id)
        if room < 0:
            break
        named += 1
    return dict(islice(states.items(), len(states) - named, None))
