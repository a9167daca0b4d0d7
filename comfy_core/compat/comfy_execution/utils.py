"""Which node is being called. It reads the executor's own context and changes it for a while."""

from __future__ import annotations

from contextvars import Token
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple

from comfy_core.progress import Scope, scope


class ExecutionContext(NamedTuple):
    """The call under way. list_index: its place when lists make the node run several times."""

    prompt_id: str
    node_id: str
    list_index: int | None


def get_executing_context() -> ExecutionContext | None:
    """The call this code is part of; None outside of any."""
    current = scope.get()
    return None if current is None else ExecutionContext(current.prompt_id, current.node_id, current.call)


class CurrentNodeContext:
    """`with CurrentNodeContext(prompt_id, node_id):` says that what follows is part of that node's call."""

    def __init__(self, prompt_id: str, node_id: str, list_index: int | None = None) -> None:
        self.context = ExecutionContext(prompt_id, node_id, list_index)
        self._token: Token[Scope | None] | None = None

    def __enter__(self) -> CurrentNodeContext:
        current = scope.get()
        if current is not None:
            call = self.context.list_index or 0
            there = replace(current, prompt_id=self.context.prompt_id, node_id=self.context.node_id, call=call)
            self._token = scope.set(there)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            scope.reset(self._token)
