"""The queue and history as packs see them: `PromptServer.instance.prompt_queue`. A view; it keeps nothing itself.

A queue item is the tuple (number, prompt id, prompt, extra data, ids of the output nodes).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from comfy_core.surface import attached

QueueItem = tuple[float, str, dict[str, Any], dict[str, Any], list[str]]


class PackQueue:
    """ComfyUI's names over the executor's queue, history and worker.

    mutex: packs hold it while they look at the queue twice; the executor does not wait for it.
    """

    def __init__(self) -> None:
        self.mutex = threading.RLock()

    @property
    def currently_running(self) -> dict[int, QueueItem]:
        """The prompt the worker has, under a number; empty when it has none."""
        return dict(enumerate(self.get_current_queue()[0]))

    @property
    def queue(self) -> list[QueueItem]:
        """Those that wait."""
        return self.get_current_queue()[1]

    @property
    def history(self) -> dict[str, Any]:
        """prompt id -> what became of it, oldest first. A copy."""
        return attached().history.window(None)

    def get_current_queue(self) -> tuple[list[QueueItem], list[QueueItem]]:
        """(running, waiting)."""
        shown = attached().queue.shown()
        running, waiting = shown["queue_running"], shown["queue_pending"]
        return [_item(one) for one in running], [_item(one) for one in waiting]

    get_current_queue_volatile = get_current_queue

    def get_tasks_remaining(self) -> int:
        """How many wait or run."""
        return attached().queue.remaining

    def put(self, item: Sequence[Any]) -> None:
        """Queue a prompt that the caller has validated."""
        number, prompt_id, prompt, extra_data, outputs = item[:5]
        queue = attached().queue
        queue.put(number, prompt_id, prompt, dict(extra_data), list(outputs))
        queue.announce()

    def delete_queue_item(self, chosen: Callable[[QueueItem], Any]) -> bool:
        """Take the first waiting prompt for which this is true out; whether there was one."""
        found = next((item for item in self.queue if chosen(item)), None)
        if found is None:
            return False
        attached().queue.delete([found[1]])
        return True

    def wipe_queue(self) -> None:
        """Take every waiting prompt out."""
        attached().queue.clear()

    def get_history(
        self,
        prompt_id: str | None = None,
        max_items: int | None = None,
        offset: int = -1,
        map_function: Callable[[Any], Any] | None = None,
    ) -> dict[str, Any]:
        """One prompt's entry, or a window of all."""
        history = attached().history
        found = history.window(max_items, offset) if prompt_id is None else history.get(prompt_id)
        return {key: map_function(value) for key, value in found.items()} if map_function else found

    def wipe_history(self) -> None:
        """Forget what became of all."""
        attached().history.clear()

    def delete_history_item(self, id_to_delete: str) -> None:
        """Forget one."""
        attached().history.delete([id_to_delete])

    def set_flag(self, name: str, data: Any) -> None:
        """Ask for `unload_models` or `free_memory` after the present prompt; other flags mean nothing here."""
        wanted = bool(data)
        attached().worker.free(wanted and name == "unload_models", wanted and name == "free_memory")

    def get_flags(self, reset: bool = True) -> dict[str, Any]:
        """Flags go to the worker at once: none are ever left here."""
        return {}


def _item(shown: Sequence[Any]) -> QueueItem:
    number, prompt_id, prompt, extra_data, outputs = shown[:5]
    return (number, prompt_id, prompt, extra_data, outputs)
