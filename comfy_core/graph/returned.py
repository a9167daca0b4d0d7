"""What the calls of one node returned, read into lists of values per output. It calls nothing.

A node is called once per element of its input lists. Each call may return values, something to show, or a graph to go
on with; a blocker may stand for one output or for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from comfy_core.errors import NodeFault
from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.cache import Made
from comfy_core.graph.node import NodeSpec
from comfy_core.graph.output import NodeOutput
from comfy_core.graph.prompt import is_link

VALUES = (tuple, list, ExecutionBlocker)


class Returned(msgspec.Struct):
    """One call's answer. values: one per output; links into `expand` where there is one."""

    values: Any
    ui: dict[str, Any] | None = None
    expand: dict[str, Any] | None = None


def read(spec: NodeSpec, answer: Any) -> Returned:
    """An answer of any shape the node protocols allow. Raises NodeFault for any other."""
    if isinstance(answer, NodeOutput):
        return _of_v3(spec, answer)
    if isinstance(answer, dict):
        return Returned(_spread(spec, answer.get("result", ())), _ui(spec, answer.get("ui")), answer.get("expand"))
    if answer is None:
        return Returned(())
    if isinstance(answer, VALUES):
        return Returned(_spread(spec, answer))
    if hasattr(answer, "__getitem__") and hasattr(answer, "__len__"):
        return Returned(answer)
    raise NodeFault(f"{spec.class_type} returned {type(answer).__name__}, not a tuple or dict")


def _ui(spec: NodeSpec, ui: Any) -> dict[str, Any] | None:
    if ui is None or isinstance(ui, dict):
        return ui
    raise NodeFault(f"{spec.class_type} shows a {type(ui).__name__}, not a dict of lists")


def _of_v3(spec: NodeSpec, answer: NodeOutput) -> Returned:
    values: Any = answer.args
    if answer.block_execution is not None:
        values = ExecutionBlocker(answer.block_execution)
    shown = answer.ui.as_dict() if hasattr(answer.ui, "as_dict") else answer.ui
    return Returned(_spread(spec, values), _ui(spec, shown), answer.expand)


def _spread(spec: NodeSpec, values: Any) -> Any:
    return (values,) * len(spec.returns) if isinstance(values, ExecutionBlocker) else values


def shown(returned: list[Returned]) -> dict[str, Any] | None:
    """What the calls show, joined by the keys of the first that shows something."""
    parts = [one.ui for one in returned if one.ui]
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    return {key: [value for part in parts for value in part.get(key, ())] for key in parts[0]}


def merge(spec: NodeSpec, returned: list[Returned], made: Callable[[str], Made | None]) -> Made:
    """Results of all calls as lists per output; links into graphs that were added become what came over them.

    An output that a call returned nothing for is None, as packs that declare one too many rely on.
    """
    values: list[list[Any]] = [[] for _ in spec.returns]
    for one in returned:
        for slot, several in enumerate(spec.output_is_list[: len(values)]):
            values[slot].extend(_values(one, slot, several, made))
    return Made(values, shown(returned))


def _values(one: Returned, slot: int, several: bool, made: Callable[[str], Made | None]) -> Iterable[Any]:
    if slot >= len(one.values):
        return (None,)
    value = one.values[slot]
    if one.expand is not None and is_link(value):
        source = made(value[0])
        if source is None or not 0 <= int(value[1]) < len(source.values):
            raise NodeFault(f"an expansion's result is linked to {value}, which does not exist")
        return source.values[int(value[1])]
    if several and not isinstance(value, ExecutionBlocker):
        return value  # type: ignore[no-any-return]
    return (value,)


def links_into(returned: list[Returned]) -> list[str]:
    """The nodes whose results the node's own results wait for."""
    return [value[0] for one in returned if one.expand is not None for value in one.values if is_link(value)]
