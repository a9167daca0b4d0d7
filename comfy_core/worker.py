"""Executes prompts one after another: in a thread of its own, or where they arrive. It knows no HTTP.

Light prompts are executed on the server's loop: they take less time there than two threads take to wake each other. A
prompt whose turn comes while the thread executes is handed over when it is done. Whoever executes has the turn. After
runs the thread has freed memory given back, and the loop stays awake for a moment.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import structlog

from comfy_core.events import Post, Reporter
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.execute import Engine
from comfy_core.graph.problem import type_name
from comfy_core.graph.run import Failure, Result, Run
from comfy_core.memory import Memory, is_out_of_memory
from comfy_core.queue import SECRETS, History, Item, PromptQueue, dumps

log = structlog.get_logger()

COLLECT_MAIN_S, COLLECT_DEVICE_S = 1.0, 5.0
CHORES_SHARE = 0.01
"""Of the time, that a chore takes at most."""
IDLE_POLL_S = 1.0
AWAKE_S = 0.001
"""After a light prompt: who sends one after another sends the next one within it, and a processor that sleeps takes a
tenth of such a prompt's time to be woken and to find its caches again."""
give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


@dataclass(slots=True)
class Wishes:
    """What clients asked to be freed, done between two prompts."""

    unload_models: bool = False
    free_memory: bool = False


@dataclass(slots=True)
class Chore:
    """What is done some time after runs: not more often than every so many seconds, and not all the time."""

    do: Callable[[], None]
    every: float
    due: bool = False
    _not_before: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Do it if it is due and time for it."""
        began = time.monotonic()
        if self.due and began >= self._not_before:
            self.due = False
            self.do()
            ended = time.monotonic()
            self._not_before = ended + max(self.every, (ended - began) / CHORES_SHARE)


class Worker:
    """Takes prompts from the queue until the process ends."""

    def __init__(
        self,
        queue: PromptQueue,
        history: History,
        engine: Engine,
        memory: Memory,
        post: Post,
        around: Callable[[Item], AbstractContextManager[None]],
    ) -> None:
        self._queue = queue
        self._history = history
        self._engine = engine
        self._memory = memory
        self._post = post
        self._around = around
        self._wishes = Wishes()
        self._chores = (Chore(memory.collect_main, COLLECT_MAIN_S), Chore(memory.collect_device, COLLECT_DEVICE_S))
        self._reporter: Reporter | None = None
        self._turn = threading.Lock()
        self._coming: asyncio.Task[None] | None = None
        self._sleeps_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, first: Callable[[], None] = lambda: None) -> None:
        """Start the thread, which ends with the process. first: what it does before any prompt runs.

        Called on the server's loop.
        """
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, args=[first], name="worker", daemon=True).start()

    def come(self) -> None:
        """A prompt was queued. On the server's loop, which executes it next if it is light and nothing runs.

        Not before who queued it has been answered: two threads of Python that are awake get in each other's way.
        """
        if self._coming is None:
            self._coming = asyncio.create_task(self._come())

    async def _come(self) -> None:
        """One light prompt; the next one after the loop's other work. What is for the thread is left to it."""
        self._coming = item = None
        if self._turn.acquire(blocking=False):
            try:
                item = self._queue.take(light=True)
                if item is not None:
                    self._untidy()
                    await self._guarded(item)
            finally:
                self._turn.release()
        following = self._queue.following()
        if item is not None and following is not None and following.light:
            self.come()
        elif following is not None:
            self._queue.announce()
        elif item is not None:
            self._sleeps_at = time.perf_counter() + AWAKE_S
            self._stay_awake()

    def _stay_awake(self) -> None:
        """Have the loop look for what comes next instead of sleeping, unless there is something to do already."""
        if self._coming is None and self._queue.running is None and time.perf_counter() < self._sleeps_at:
            give_way()
            asyncio.get_running_loop().call_soon(self._stay_awake)

    def free(self, unload_models: bool, free_memory: bool) -> None:
        """Ask for memory to be freed after the present prompt."""
        self._wishes.unload_models |= unload_models or free_memory
        self._wishes.free_memory |= free_memory

    def running_node(self, client_id: str) -> str | None:
        """The node this client's prompt is at, when it is running."""
        item, reporter = self._queue.running, self._reporter
        return reporter.last_node if item and reporter and item.client_id == client_id else None

    def _work(self, first: Callable[[], None]) -> None:
        with self._turn:
            try:
                first()
            except Exception:
                log.exception("the worker goes on without what it should do first")
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        """Nothing else runs on this thread's loop, so waiting for a prompt may block it."""
        while True:
            self._queue.wait(IDLE_POLL_S)
            while await self._took_its_turn():
                pass
            following = self._queue.following()
            if following is not None and following.light and self._loop is not None:
                self._loop.call_soon_threadsafe(self.come)

    async def _took_its_turn(self) -> bool:
        """Execute the next prompt unless it is light; whether it was done."""
        with self._turn:
            item = self._queue.take(light=False)
            if item is not None:
                await asyncio.create_task(self._guarded(item))  # a task, for a context of its own
            self._tidy(busy=item is not None)
        return item is not None

    async def _guarded(self, item: Item) -> None:
        try:
            await self._one(item)
        except Exception:
            log.exception("a prompt could not be brought to its end", prompt_id=item.prompt_id)
            self._queue.done()

    async def _one(self, item: Item) -> None:
        prompt = DynamicPrompt(item.prompt)
        reporter = self._reporter = Reporter(item, prompt, self._post)
        started = time.perf_counter()
        stored = dumps(item.shown())  # now, since node code may change the prompt it is handed
        reporter.begin()
        try:
            result = await self._run(item, prompt, reporter)
        except Exception as error:
            log.exception("the engine failed", prompt_id=item.prompt_id)
            result = Result("error", _engine_failure(item, error))
        failure = result.failure
        ran_out = failure is not None and is_out_of_memory(failure.error)
        reporter.end(result, ran_out, self._memory.peaks)
        if ran_out:
            self._wishes.unload_models = True
        self._history.put(item.prompt_id, stored, _entry(result, reporter, prompt))
        took = round(time.perf_counter() - started, 4)
        self._reporter = None
        self._queue.done()
        if item.client_id is not None:
            self._post.send("executing", {"node": None, "prompt_id": item.prompt_id}, item.client_id)
        self._post.hurry()
        log.info("prompt done", prompt_id=item.prompt_id, status=result.status, seconds=took)

    async def _run(self, item: Item, prompt: DynamicPrompt, reporter: Reporter) -> Result:
        with self._around(item):
            return await self._engine.run(_run_of(item, prompt), reporter)

    def _tidy(self, busy: bool) -> None:
        wishes, self._wishes = self._wishes, Wishes()
        if wishes.free_memory:
            self._engine.forget()
        if wishes.unload_models:
            self._memory.unload()
        if busy:
            self._untidy()
        for chore in self._chores:
            chore.look()

    def _untidy(self) -> None:
        for chore in self._chores:
            chore.due = True


def _engine_failure(item: Item, error: Exception) -> Failure:
    """An error outside any node's call, such as a class whose declaration raises, is blamed on the first output."""
    node_id = item.outputs[0]
    lines = traceback.format_tb(error.__traceback__)
    return Failure(node_id, item.prompt[node_id]["class_type"], error, type_name(error), lines, {}, node_id)


def _run_of(item: Item, prompt: DynamicPrompt) -> Run:
    extra = item.extra_data
    hidden = {key: extra.get(key) for key in ("extra_pnginfo", *SECRETS)}
    return Run(item.prompt_id, prompt, hidden, item.outputs, item.stop.is_set)


def _entry(result: Result, reporter: Reporter, prompt: DynamicPrompt) -> dict[str, Any]:
    good = result.status == "success"
    return {
        "outputs": result.ui,
        "status": {
            "status_str": "success" if good else "error",
            "completed": good,
            "messages": reporter.messages,
        },
        "meta": {
            node_id: {
                "node_id": node_id,
                "display_node": prompt.get_display_node_id(node_id),
                "parent_node": prompt.get_parent_node_id(node_id),
                "real_node_id": prompt.get_real_node_id(node_id),
            }
            for node_id in result.ui
        },
    }
