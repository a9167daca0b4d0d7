"""Running validated prompts one at a time, and what is kept between them: results and node objects.

It knows no torch and no sockets: the context to run in and the watcher to tell are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from comfy_core.graph.cache import Keeping, Owner, ResultCache
from comfy_core.graph.execution import Execution
from comfy_core.graph.knowledge import Knowledge
from comfy_core.graph.node import NodeLibrary, Specs
from comfy_core.graph.run import Kept, NodeObjects, Result, Run, Watcher


def _never(_: BaseException) -> bool:
    return False


class Engine:
    """Executes prompts one at a time, keeping results and node objects between them."""

    def __init__(
        self,
        library: NodeLibrary,
        keeping: Keeping | None = None,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        relieve: Callable[[BaseException], bool] = _never,
    ) -> None:
        self._kept = Kept(library, ResultCache(keeping), NodeObjects(), relieve)
        self._context = context

    def forget(self) -> None:
        """Drop every result and node object kept."""
        self._kept.cache.clear()
        self._kept.objects.clear()

    async def run(self, run: Run, watcher: Watcher) -> Result:
        """Execute the prompt. Errors of nodes are part of the result; nothing is raised for them."""
        with self._context():
            knows = Knowledge(run.prompt, Specs(self._kept.library))
            needed = knows.with_ancestors(run.outputs)
            nodes = needed if len(needed) == len(run.prompt) else knows.with_ancestors([*needed, *run.prompt])
            await knows.learn(nodes)
            here = _has(run.prompt)
            self._kept.cache.begin((knows.signature(node_id) for node_id in nodes), here)
            self._kept.objects.begin(here)
            return await Execution(run, knows, watcher, self._kept).execute(needed)


def _has(prompt: Mapping[str, Any]) -> Callable[[Owner], bool]:
    def has(owner: Owner) -> bool:
        node_id, class_type = owner
        return node_id in prompt and prompt[node_id].get("class_type") == class_type

    return has
