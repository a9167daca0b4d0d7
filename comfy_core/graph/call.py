"""Calling one node: gather its inputs as lists, call its method as often as the lists ask, merge what comes back.

It knows neither the order of nodes nor any cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from comfy_core.errors import GraphFault, NodeFault
from comfy_core.graph.cache import Made
from comfy_core.graph.node import NodeSpec
from comfy_core.graph.prompt import inputs_of, is_link

Arguments = dict[str, list[Any]]
SHOWN_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What hidden inputs may ask for."""

    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]

    def hidden(self, kind: str, node_id: str) -> Any:
        """The value of a hidden input of this kind; None for a kind we do not have."""
        if kind in ("PROMPT", "DYNPROMPT"):
            return self.prompt
        if kind == "UNIQUE_ID":
            return node_id
        if kind in ("EXTRA_PNGINFO", "AUTH_TOKEN_COMFY_ORG", "API_KEY_COMFY_ORG"):
            return self.extra_data.get(kind.lower())
        return None


def gather(spec: NodeSpec, node_id: str, around: Surroundings, made: Callable[[str], Made | None]) -> Arguments:
    """Every argument of the node as a list of values. Raises GraphFault for a link to nothing."""
    arguments: Arguments = {}
    for name, value in inputs_of(around.prompt, node_id).items():
        declared = spec.inputs.get(name)
        if is_link(value):
            raw = declared is not None and declared.options.get("rawLink")
            arguments[name] = [value] if raw else _linked(name, value, made)
        elif declared is not None or name in spec.hidden:
            arguments[name] = [value]
    for name, kind in spec.hidden.items():
        if name not in arguments:
            arguments[name] = [around.hidden(kind, node_id)]
    return arguments


def _linked(name: str, link: list[Any], made: Callable[[str], Made | None]) -> list[Any]:
    source, slot = link[0], int(link[1])
    upstream = made(source)
    if upstream is None:
        raise GraphFault(f"input {name} is linked to node {source}, which has no results")
    if not 0 <= slot < len(upstream.values):
        raise GraphFault(f"input {name} is linked to output {slot} of node {source}, which it does not have")
    return upstream.values[slot]


def calls(spec: NodeSpec, arguments: Arguments) -> list[dict[str, Any]]:
    """The arguments of each call. Shorter lists repeat their last value; an empty list means no call at all."""
    if spec.input_is_list:
        return [dict(arguments)]
    if any(not values for values in arguments.values()):
        return []
    count = max((len(values) for values in arguments.values()), default=1)
    return [{name: values[min(i, len(values) - 1)] for name, values in arguments.items()} for i in range(count)]


def merge(spec: NodeSpec, returned: list[Any]) -> Made:
    """Results of all calls as lists per output, and the shown parts joined. Raises NodeFault for a wrong shape."""
    values: list[list[Any]] = [[] for _ in spec.returns]
    ui: dict[str, Any] | None = None
    for answer in returned:
        result, shown = _split(spec, answer)
        if shown is not None:
            ui = shown if ui is None else {key: [*ui[key], *shown.get(key, ())] for key in ui}
        for slot, several in enumerate(spec.output_is_list):
            if slot >= len(result):
                raise NodeFault(f"{spec.class_type} returned {len(result)} results, it declares {len(values)}")
            if several:
                values[slot].extend(result[slot])
            else:
                values[slot].append(result[slot])
    return Made(values, ui)


def _split(spec: NodeSpec, answer: Any) -> tuple[Any, dict[str, Any] | None]:
    blank = (None,) * len(spec.returns)
    if answer is None:
        return blank, None
    if isinstance(answer, dict):
        if "expand" in answer:
            raise NodeFault(f"{spec.class_type} expands into a graph, which this version does not execute")
        return answer.get("result", blank), answer.get("ui")
    if isinstance(answer, tuple | list):
        return answer, None
    raise NodeFault(f"{spec.class_type} returned {type(answer).__name__}, not a tuple or dict")


async def fingerprint(spec: NodeSpec, given: Mapping[str, Any]) -> Any:
    """What IS_CHANGED says about the constants; NaN when it raises, so that nothing is taken from the cache."""
    ask = spec.is_changed
    if ask is None:
        return None
    accepted = inspect.getfullargspec(ask)
    arguments = {
        name: (None if is_link(value) else value)
        for name, value in given.items()
        if name in spec.inputs and (accepted.varkw or name in accepted.args or name in accepted.kwonlyargs)
    }
    try:
        answer = ask(**arguments)
        return await answer if inspect.isawaitable(answer) else answer
    except Exception:  # noqa: BLE001 - a node class's own code; a result that cannot be vouched for is made anew
        return float("nan")


def shown_inputs(arguments: Arguments) -> dict[str, list[Any]]:
    """The arguments as an error report carries them: plain values as they are, others as shortened text."""
    return {
        name: [value if isinstance(value, int | float | bool) else str(value)[:SHOWN_CHARACTERS] for value in values]
        for name, values in arguments.items()
    }
