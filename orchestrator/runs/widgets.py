"""The values of an editor's node by the names of the inputs they belong to. Pure.

The editor saves them in the order of its widgets, of which some are its own (what to do with a seed afterwards, a
button). Newer front ends write the widgets' names beside them, which are the names of then; for other graphs the order
is that which a machine told of the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from orchestrator.runs.editor import Node, Slot
from orchestrator.runs.specs import NodeSpec, Widget

CONTROL: Final = "control_after_generate"
_CONTROLS: Final = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
_BUTTONS: Final = frozenset({"upload", "audioUI"})


class UnknownWidgets(Exception):
    """Nobody told what the values are of."""


def widget_values(node: Node, spec: NodeSpec | None) -> dict[str, Any]:
    """Input name -> value. Raises UnknownWidgets when the node has values and nothing says what they are."""
    if isinstance(node.widgets, dict):
        return _by_name(node.widgets, spec)
    values = node.widgets if isinstance(node.widgets, list) else []
    named = _as_named(node, values)
    if spec is not None:
        return _by_name(named, spec) if named else _in_order(spec.widgets, values)[0]
    if values and not named:
        raise UnknownWidgets(
            f"no machine has told what the class {node.type} takes, and the graph does not say it: connect a machine "
            "that has it, save the graph with a newer front end, or send api_graph"
        )
    return named


def shown_value(node: Node, wanted: Slot) -> tuple[bool, Any]:
    """Whether a subgraph's node shows a value for one of its inputs, and the value."""
    slots = [slot for slot in node.inputs if slot.widget is not None]
    if node.proxies or wanted not in slots or not isinstance(node.widgets, list):
        return False, None
    places = [Widget(str(place)) for place in range(len(slots))]
    value = _in_order(places, node.widgets)[0][str(slots.index(wanted))]
    return value is not None, value


def _as_named(node: Node, values: Sequence[Any]) -> dict[str, Any]:
    """By the names that the node itself has; empty unless there is one for every value."""
    names = [slot.widget for slot in node.inputs if slot.widget is not None]
    for tried in (names, [name for name in names if name not in _BUTTONS]):
        found, taken = _in_order([Widget(name, sent=name not in _BUTTONS) for name in tried], values)
        if taken == len(values) and len(values) >= len(tried):
            return found
    return {}


def _by_name(values: dict[str, Any], spec: NodeSpec | None) -> dict[str, Any]:
    if spec is None:
        return dict(values)
    defaults = {widget.name: widget.default for widget in spec.widgets if widget.sent}
    return {name: values.get(name, default) for name, default in defaults.items()}


def _in_order(widgets: Sequence[Widget], values: Sequence[Any]) -> tuple[dict[str, Any], int]:
    """Values by name, defaults where they end early, and how many of them were taken."""
    found: dict[str, Any] = {}
    place = 0
    before: Any = None
    for widget in widgets:
        if widget.name == CONTROL and not widget.sent:
            continue  # it is passed over where it stands: not every front end has put one there
        if place < len(values) and _is_control(values[place], widget.default, before):
            place += 1
        value = values[place] if place < len(values) else widget.default
        place += 1
        if widget.sent:
            found[widget.name] = before = value
    if place < len(values) and _is_control(values[place], None, before):
        place += 1
    return found, place


def _is_control(value: Any, default: Any, before: Any) -> bool:
    """Whether this value tells what to do with the number before it, and is not the next widget's."""
    after_number = isinstance(before, int) and not isinstance(before, bool)
    return after_number and isinstance(value, str) and value in _CONTROLS and default not in _CONTROLS
