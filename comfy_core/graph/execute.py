"""Running a validated prompt: what is cached is taken, the rest is called in order, results and errors are told.

It knows no torch and no sockets: the context to run in and the watcher to tell are passed in.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from comfy_core.errors import GraphFault, Interrupted
from comfy_core.graph.cache import Made, ResultCache
from comfy_core.graph.call import Arguments, Surroundings, calls, fingerprint, gather, merge, shown_inputs
from comfy_core.graph.node import NodeLibrary, NodeSpec, Specs
from comfy_core.graph.order import RunOrder
from comfy_core.graph.problem import type_name
from comfy_core.graph.prompt import ancestors_first, inputs_of, links_of
from comfy_core.graph.signature import Signature, sign
from comfy_core.progress import Scope, scope, stop_if_asked

PARKED_POLL_S = 0.1


class Watcher(Protocol):
    """Who is told what happens during a run."""

    def cached(self, node_ids: list[str]) -> None:
        """These nodes' results are there already."""

    def started(self, node_id: str) -> None:
        """The node is being called."""

    def progress(self, node_id: str, value: float, maximum: float, preview: Any) -> None:
        """The node says how far it is."""

    def executed(self, node_id: str, ui: dict[str, Any] | None) -> None:
        """The node has something to show."""

    def finished(self, node_id: str) -> None:
        """The node's results are there."""


@dataclass(frozen=True, slots=True)
class Run:
    """A validated prompt to execute. outputs: the nodes to run for."""

    prompt_id: str
    prompt: dict[str, Any]
    extra_data: dict[str, Any]
    outputs: list[str]
    interrupted: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Failure:
    """The node at which a run ended, and why."""

    node_id: str
    node_type: str
    error: BaseException
    exception_type: str
    traceback: list[str]
    current_inputs: dict[str, Any]


@dataclass(slots=True)
class Result:
    """How a run ended. ui: what each node shows. executed: the nodes that were done, in order."""

    status: Literal["success", "error", "interrupted"] = "success"
    failure: Failure | None = None
    executed: list[str] = field(default_factory=list)
    ui: dict[str, dict[str, Any]] = field(default_factory=dict)


class Engine:
    """Executes prompts one at a time, keeping results and node objects between them."""

    def __init__(
        self,
        library: NodeLibrary,
        keep: int | None = 0,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._library = library
        self._cache = ResultCache(keep)
        self._context = context
        self._objects: dict[tuple[str, str], Any] = {}

    def forget(self) -> None:
        """Drop every result and node object kept."""
        self._cache.clear()
        self._objects.clear()

    async def run(self, run: Run, watcher: Watcher) -> Result:
        """Execute the prompt. Errors of nodes are part of the result; nothing is raised for them."""
        specs = Specs(self._library)
        needed = ancestors_first(run.prompt, run.outputs)
        changed = await self._fingerprints(run, needed, specs)
        signatures = sign(run.prompt, needed, specs, changed)
        self._cache.begin({signature for signature in signatures.values() if signature is not None})
        self._keep_objects(run)
        with self._context():
            return await _Execution(run, watcher, specs, signatures, self._cache, self._object).execute(needed)

    async def _fingerprints(self, run: Run, needed: Iterable[str], specs: Specs) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for node_id in needed:
            node = run.prompt[node_id]
            spec = specs.of(node["class_type"])
            if spec.is_changed is not None:
                given = inputs_of(run.prompt, node_id)
                changed[node_id] = node.get("is_changed") or await fingerprint(spec, given)
        return changed

    def _keep_objects(self, run: Run) -> None:
        self._objects = {
            key: made
            for key, made in self._objects.items()
            if key[0] in run.prompt and run.prompt[key[0]]["class_type"] == key[1]
        }

    def _object(self, node_id: str, spec: NodeSpec) -> Any:
        key = (node_id, spec.class_type)
        if key not in self._objects:
            self._objects[key] = spec.cls()
        return self._objects[key]


@dataclass(slots=True)
class _Parked:
    """A node whose asynchronous calls are under way."""

    spec: NodeSpec
    arguments: Arguments
    tasks: list[asyncio.Task[Any]]


class _Execution:
    """One run, from the first node to the last."""

    def __init__(
        self,
        run: Run,
        watcher: Watcher,
        specs: Specs,
        signatures: dict[str, Signature | None],
        cache: ResultCache,
        node_object: Callable[[str, NodeSpec], Any],
    ) -> None:
        self._run = run
        self._watcher = watcher
        self._specs = specs
        self._signatures = signatures
        self._cache = cache
        self._object = node_object
        self._around = Surroundings(run.prompt, run.extra_data)
        self._made: dict[str, Made] = {}
        self._parked: dict[str, _Parked] = {}
        self._result = Result()
        self._order = RunOrder(self._sources, self._made.__contains__)

    async def execute(self, needed: list[str]) -> Result:
        for node_id in needed:
            found = self._cache.get(self._signatures[node_id])
            if found is not None:
                self._made[node_id] = found
        self._watcher.cached(list(self._made))
        eager = set(self._run.outputs)
        eager.update(node_id for node_id in needed if self._spec(node_id).is_async)
        self._order.add(self._run.outputs, eager)
        try:
            await self._loop()
        finally:
            await self._abandon()
        self._result.ui = {node_id: made.ui for node_id, made in self._made.items() if made.ui is not None}
        return self._result

    async def _loop(self) -> None:
        while self._order and self._result.status == "success":
            node_id = self._order.next()
            if node_id is not None:
                await self._step(node_id)
            elif self._parked:
                await self._wait_parked()
            else:
                self._deadlock()

    def _spec(self, node_id: str) -> NodeSpec:
        return self._specs.of(self._run.prompt[node_id]["class_type"])

    def _sources(self, node_id: str) -> list[str]:
        return [source for _, source, _ in links_of(self._run.prompt, node_id)]

    async def _step(self, node_id: str) -> None:
        found = self._made.get(node_id)
        if found is not None:
            self._watcher.executed(node_id, found.ui)
            self._done(node_id)
            return
        arguments: Arguments = {}
        token = scope.set(Scope(self._run.prompt_id, node_id, self._watcher.progress, self._run.interrupted))
        try:
            stop_if_asked()
            self._watcher.started(node_id)
            spec = self._spec(node_id)
            arguments = gather(spec, node_id, self._around, self._made.get)
            await self._call(node_id, spec, arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the edge to node code: any error becomes the run's
            self._fail(node_id, arguments, error)
        finally:
            scope.reset(token)

    async def _call(self, node_id: str, spec: NodeSpec, arguments: Arguments) -> None:
        method = getattr(self._object(node_id, spec), spec.function)
        returned: list[Any] = []
        for passed in calls(spec, arguments):
            stop_if_asked()
            answer = method(**passed)
            returned.append(asyncio.ensure_future(answer) if inspect.isawaitable(answer) else answer)
        tasks = [answer for answer in returned if isinstance(answer, asyncio.Task)]
        if not tasks:
            self._finish(node_id, merge(spec, returned))
            return
        self._parked[node_id] = _Parked(spec, arguments, tasks)
        await asyncio.sleep(0)

    async def _wait_parked(self) -> None:
        tasks = {task for parked in self._parked.values() for task in parked.tasks if not task.done()}
        if tasks:
            await asyncio.wait(tasks, timeout=PARKED_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        for node_id, parked in list(self._parked.items()):
            if self._run.interrupted():
                self._fail(node_id, parked.arguments, Interrupted("the run was interrupted"))
                return
            if all(task.done() for task in parked.tasks):
                del self._parked[node_id]
                self._collect(node_id, parked)

    def _collect(self, node_id: str, parked: _Parked) -> None:
        try:
            self._finish(node_id, merge(parked.spec, [task.result() for task in parked.tasks]))
        except Exception as error:  # noqa: BLE001 - the edge to node code: any error becomes the run's failure
            self._fail(node_id, parked.arguments, error)

    async def _abandon(self) -> None:
        left = [task for parked in self._parked.values() for task in parked.tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _finish(self, node_id: str, made: Made) -> None:
        self._made[node_id] = made
        self._cache.put(self._signatures[node_id], made)
        self._result.executed.append(node_id)
        if made.ui is not None:
            self._watcher.executed(node_id, made.ui)
        self._done(node_id)

    def _done(self, node_id: str) -> None:
        self._watcher.finished(node_id)
        self._order.done(node_id)

    def _deadlock(self) -> None:
        circle = self._order.cycle()
        self._fail(circle[0], {}, GraphFault(f"Dependency cycle detected: {' -> '.join(circle[:20])}"))

    def _fail(self, node_id: str, arguments: Arguments, error: BaseException) -> None:
        self._result.status = "interrupted" if isinstance(error, Interrupted) else "error"
        self._result.failure = Failure(
            node_id,
            self._run.prompt[node_id]["class_type"],
            error,
            type_name(error),
            traceback.format_tb(error.__traceback__),
            shown_inputs(arguments),
        )
