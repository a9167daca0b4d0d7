"""What a run takes place within: its own directory, and memory that knows what is coming. It executes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from comfy_core.forecast import models_of
from comfy_core.queue import Item, PromptQueue
from comfy_core.registry import Registry, Services
from comfy_core.scope import directory_of, scoped


class Around:
    """Prepares the place for each prompt, and leaves it."""

    def __init__(self, services: Services, registry: Registry, queue: PromptQueue) -> None:
        self._services = services
        self._registry = registry
        self._queue = queue

    @contextmanager
    def of(self, item: Item) -> Iterator[None]:
        """The prompt runs within."""
        folders, memory = self._services.folders, self._services.memory
        directory = directory_of(item.extra_data)
        with scoped(directory), memory.running(measured=not item.light):
            if not item.light:
                self._expect(item)
            if directory is not None:
                folders.make()
            yield

    def _expect(self, item: Item) -> None:
        """Say what is going to be loaded: nothing by a light prompt."""
        following = self._queue.following()
        coming = {} if following is None else following.prompt
        models = (models_of(prompt, self._registry, self._services.folders) for prompt in (item.prompt, coming))
        self._services.memory.expect(*models)
