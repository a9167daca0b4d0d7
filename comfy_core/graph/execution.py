"""One run, from the first node to the last: what is cached is taken, the rest is called in order.

Nodes may ask for more inputs, add nodes, or be under way side by side; errors and interruptions end the run. It knows
no torch and no sockets.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from comfy_core.errors import GraphFault, Interrupted, NodeFault
from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.cache import Made, Owner
from comfy_core.graph.call import (
    Arguments,
    Surroundings,
    blocker_in,
    calls,
    gather,
    hidden_values,
    shown_inputs,
    wanted_lazily,
)
from comfy_core.graph.expansion import take_in
from comfy_core.graph.knowledge import Knowledge
from comfy_core.graph.node import NodeSpec
from comfy_core.graph.order import RunOrder
from comfy_core.graph.output import NodeOutput
from comfy_core.graph.problem import type_name
from comfy_core.graph.prompt import inputs_of, is_link
from comfy_core.graph.release import Releases
from comfy_core.graph.returned import Returned, links_into, merge, read, shown
from comfy_core.graph.run import Failure, Kept, Result, Run, Watcher
from comfy_core.progress import INTERRUPTED, Scope, scope, stop_if_asked

PARKED_POLL_S = 0.1
ABANDON_S = 1.0
CYCLE_SHOWN = 20
PLAIN = (tuple, dict, NodeOutput)
"""What most calls return: nothing to wait for."""
CYCLE_ERROR = "graph.DependencyCycleError"


class DependencyCycle(GraphFault):
    """Nodes wait for each other."""


class _Left(Exception):
    """A task asked for the end of the process; an event loop would take that at its word."""


async def _contained(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise _Left from error


@dataclass(slots=True)
class _Parked:
    """A node whose asynchronous calls are under way. answers: results, and tasks that will be results."""

    spec: NodeSpec
    arguments: Arguments
    answers: list[Any]

    @property
    def tasks(self) -> list[asyncio.Future[Any]]:
        return [answer for answer in self.answers if isinstance(answer, asyncio.Future)]

    @property
    def done(self) -> bool:
        return all(task.done() for task in self.tasks)

    def collected(self) -> list[Any]:
        """The answers, tasks replaced by their results. Raises what a task raised."""
        return [answer.result() if isinstance(answer, asyncio.Future) else answer for answer in self.answers]


def _heard(task: asyncio.Future[Any]) -> None:
    """Look at how an abandoned task ended, so that nothing is logged about it."""
    if not task.cancelled():
        task.exception()


class Execution:
    """One run."""

    def __init__(self, run: Run, knows: Knowledge, watcher: Watcher, kept: Kept) -> None:
        self._knows = knows
        self._run = run
        self._prompt = run.prompt
        self._watcher = watcher
        self._kept = kept
        self._around = Surroundings(self._prompt, run.extra_data)
        self._made: dict[str, Made] = {}
        self._parked: dict[str, _Parked] = {}
        self._expanded: dict[str, list[Returned]] = {}
        self._expanders: set[Owner] = set()
        self._result = Result()
        self._order = RunOrder(knows.needs, self._made.__contains__)
        self._releases = Releases(knows.sources, self._adds_links) if kept.cache.frees_early else None

    async def execute(self, needed: list[str]) -> Result:
        """Run to the end. needed: the outputs and all they depend on. Nothing is raised for what nodes do."""
        self._take_cached(self._prompt.original_prompt)
        self._watcher.cached(list(self._made))
        if self._releases is not None:
            self._releases.expect(needed)
        self._order.add(self._run.outputs, self._eager(needed))
        try:
            await self._loop()
        finally:
            await self._abandon()
        self._kept.cache.end(self._expanders)
        return self._result

    async def _loop(self) -> None:
        while self._order and self._result.status == "success":
            node_id = self._order.next()
            if node_id is not None:
                await self._step(node_id)
                if self._parked:
                    await asyncio.sleep(0)
                    await self._collect_parked()
            elif self._parked:
                await self._wait_parked()
            else:
                self._deadlock()

    def _take_cached(self, node_ids: Iterable[str]) -> None:
        for node_id in node_ids:
            found = self._kept.cache.get(self._knows.signature(node_id))
            if found is not None:
                self._made[node_id] = found
                self._show(node_id, found)

    def _show(self, node_id: str, made: Made) -> None:
        if made.ui is not None:
            self._result.ui[node_id] = made.ui

    def _eager(self, node_ids: Iterable[str]) -> set[str]:
        return {node_id for node_id in node_ids if node_id in self._run.outputs or self._knows.spec(node_id).is_async}

    def _adds_links(self, node_id: str) -> bool:
        return self._knows.spec(node_id).sees_the_graph

    def _owner(self, node_id: str) -> Owner | None:
        """The node of the client's graph that an added node belongs to."""
        if self._prompt.get_parent_node_id(node_id) is None:
            return None
        real = self._prompt.get_real_node_id(node_id)
        return (real, self._prompt[real]["class_type"])

    async def _step(self, node_id: str) -> None:
        found = self._made.get(node_id) or self._kept.cache.get(self._knows.signature(node_id))
        if found is not None:
            self._made[node_id] = found
            self._show(node_id, found)
            self._watcher.executed(node_id, found.ui)
            self._done(node_id)
            return
        arguments: Arguments = {}
        token = scope.set(self._scope(node_id))
        try:
            if self._run.interrupted():
                raise Interrupted(INTERRUPTED)
            spec = self._knows.spec(node_id)
            if node_id in self._expanded:
                self._finish(node_id, merge(spec, self._expanded[node_id], self._made.get))
                return
            self._watcher.started(node_id)
            if spec.lazy_inputs and spec.asks_lazily and await self._asks_for_more(node_id, spec):
                return
            arguments = gather(spec, node_id, self._around, self._made.get)
            await self._call(node_id, spec, arguments)
        except BaseException as error:  # noqa: BLE001 - the edge to node code: any error becomes the run's
            self._fail(node_id, arguments, error)
        finally:
            scope.reset(token)

    def _scope(self, node_id: str, call: int = 0) -> Scope:
        return Scope(self._run.prompt_id, node_id, self._watcher.progress, self._run.interrupted, call)

    async def _asks_for_more(self, node_id: str, spec: NodeSpec) -> bool:
        """Ask a node with lazy inputs what it needs; whether it must wait for some of it."""
        ask = self._target(node_id, spec).check_lazy_status
        arguments = gather(spec, node_id, self._around, self._made.get, asking=True)
        given = inputs_of(self._prompt, node_id)
        wanted: list[str] = []
        for name in await wanted_lazily(spec, ask, arguments):
            value: Any = given.get(name)
            if is_link(value):
                wanted.append(value[0])
            elif name not in arguments:
                raise NodeFault(f"{spec.class_type} asks for its input {name}, which is not linked to anything")
        wanted = [source for source in wanted if source not in self._made]
        if not wanted:
            return False
        self._order.require(node_id, wanted, self._eager(self._knows.with_ancestors(wanted)))
        return True

    def _target(self, node_id: str, spec: NodeSpec) -> Any:
        """What a node's methods are called on: its object, or a V3 class's clone with the hidden values of this run."""
        if spec.is_v3:
            return spec.cls.with_hidden(hidden_values(spec, node_id, self._around))
        return self._kept.objects.of(node_id, spec, self._owner(node_id))

    async def _call(self, node_id: str, spec: NodeSpec, arguments: Arguments) -> None:
        method = getattr(self._target(node_id, spec), spec.function)
        answers: list[Any] = []
        waits = False
        for index, passed in enumerate(calls(spec, arguments)):
            if index:
                stop_if_asked()
            block = blocker_in(spec, passed)
            if block is not None:
                answers.append(self._blocked(node_id, block))
                continue
            if index:
                scope.set(self._scope(node_id, index))
            answer = self._invoke(method, passed)
            if not isinstance(answer, PLAIN) and inspect.isawaitable(answer):
                answer = asyncio.ensure_future(_contained(self._awaited(answer, method, passed)))
                waits = True
            answers.append(answer)
        if not waits:
            await self._answered(node_id, spec, answers)
            return
        parked = _Parked(spec, arguments, answers)
        await asyncio.sleep(0)
        if parked.done:
            await self._answered(node_id, spec, parked.collected())
        else:
            self._parked[node_id] = parked

    def _invoke(self, method: Callable[..., Any], passed: dict[str, Any]) -> Any:
        """Call a node; once more when it failed for want of something that could be freed."""
        try:
            return method(**passed)
        except Exception as error:
            if not self._relieved(error):
                raise
        return method(**passed)

    async def _awaited(self, answer: Awaitable[Any], method: Callable[..., Any], passed: dict[str, Any]) -> Any:
        """The same for what a call comes to later."""
        try:
            return await answer
        except Exception as error:
            if not self._relieved(error):
                raise
        again = method(**passed)
        return await again if inspect.isawaitable(again) else again

    def _relieved(self, error: BaseException) -> bool:
        """Whether something could be freed for the want of which a node failed."""
        if not self._kept.relieve(error):
            return False
        self._kept.cache.drop_idle()
        return True

    def _blocked(self, node_id: str, block: ExecutionBlocker) -> ExecutionBlocker:
        """Told once: what is handed on blocks silently."""
        if block.message is None:
            return block
        self._watcher.blocked(node_id, block.message, list(self._result.executed))
        return ExecutionBlocker(None)

    async def _answered(self, node_id: str, spec: NodeSpec, answers: list[Any]) -> None:
        returned = [read(spec, answer) for answer in answers]
        if any(one.expand is not None for one in returned):
            await self._expand(node_id, returned)
        else:
            self._finish(node_id, merge(spec, returned, self._made.get))

    async def _expand(self, node_id: str, returned: list[Returned]) -> None:
        """Take in the nodes that were returned; the node is done when those its results come from are."""
        added = take_in(self._prompt, self._kept.library, node_id, returned)
        new = set(added)
        await self._knows.learn([one for one in self._knows.with_ancestors(added) if one in new])
        self._take_cached(added)
        self._expanders.add(self._owner(node_id) or (node_id, self._prompt[node_id]["class_type"]))
        self._expanded[node_id] = returned
        outputs = [one for one in added if self._knows.spec(one).is_output]
        eager = {one for one in added if self._knows.spec(one).is_async}.union(outputs)
        self._order.add(outputs, eager)
        sources = links_into(returned)
        if self._releases is not None:
            self._releases.expect(added)
            self._releases.wait(node_id, sources)
        shows = shown(returned)
        if shows is not None:
            self._watcher.executed(node_id, shows)
        self._order.require(node_id, sources, eager)

    async def _wait_parked(self) -> None:
        tasks = {task for parked in self._parked.values() for task in parked.tasks if not task.done()}
        if tasks:
            await asyncio.wait(tasks, timeout=PARKED_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        await self._collect_parked()

    async def _collect_parked(self) -> None:
        for node_id, parked in list(self._parked.items()):
            if self._run.interrupted():
                self._fail(node_id, parked.arguments, Interrupted(INTERRUPTED))
                return
            if parked.done:
                del self._parked[node_id]
                await self._guarded(node_id, parked)

    async def _guarded(self, node_id: str, parked: _Parked) -> None:
        try:
            await self._answered(node_id, parked.spec, parked.collected())
        except BaseException as error:  # noqa: BLE001 - the edge to node code: any error becomes the run's
            self._fail(node_id, parked.arguments, error)

    async def _abandon(self) -> None:
        left = [task for parked in self._parked.values() for task in parked.tasks]
        for task in left:
            task.cancel()
            task.add_done_callback(_heard)
        if left:  # one that will not be cancelled goes on by itself: the next prompt does not wait for it
            await asyncio.wait(left, timeout=ABANDON_S)

    def _finish(self, node_id: str, made: Made) -> None:
        again = self._expanded.get(node_id)
        self._made[node_id] = made
        self._kept.cache.put(self._knows.signature(node_id), made, self._owner(node_id))
        self._result.executed.append(node_id)
        self._show(node_id, made)
        if made.ui is not None and again is None:
            self._watcher.executed(node_id, made.ui)
        self._done(node_id)

    def _done(self, node_id: str) -> None:
        self._watcher.finished(node_id)
        self._order.done(node_id)
        self._kept.cache.relieve()
        if self._releases is not None:
            for source in self._releases.done(node_id):
                self._made.pop(source, None)

    def _deadlock(self) -> None:
        circle = self._order.cycle()
        blamed = next((self._shown_as(one) for one in circle if self._shown_as(one) != one), circle[0])
        shown_part = " -> ".join(circle[:CYCLE_SHOWN])
        self._fail(blamed, {}, DependencyCycle(f"Dependency cycle detected: {shown_part}"))

    def _shown_as(self, node_id: str) -> str:
        return self._prompt.get_display_node_id(node_id)

    def _fail(self, node_id: str, arguments: Arguments, error: BaseException) -> None:
        if isinstance(error, _Left) and error.__cause__ is not None:
            error = error.__cause__
        real = self._prompt.get_real_node_id(node_id)
        kind = CYCLE_ERROR if isinstance(error, DependencyCycle) else type_name(error)
        self._result.status = "interrupted" if isinstance(error, Interrupted) else "error"
        self._result.failure = Failure(
            real,
            self._prompt[real]["class_type"],
            error,
            kind,
            traceback.format_tb(error.__traceback__),
            shown_inputs(arguments),
            node_id,
        )
