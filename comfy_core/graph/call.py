"""What one node is called with: its inputs as lists, its hidden values, the arguments of each call.

It knows neither the order of nodes nor any cache, and calls nothing but a class's own questions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from comfy_core.errors import GraphFault
from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.cache import Made
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.node import NodeSpec
from comfy_core.graph.problem import in_words
from comfy_core.graph.prompt import inputs_of, is_link

Arguments = dict[str, list[Any]]
MadeOf = Callable[[str], Made | None]
HIDDEN = frozenset(("PROMPT", "DYNPROMPT", "UNIQUE_ID", "EXTRA_PNGINFO", "AUTH_TOKEN_COMFY_ORG", "API_KEY_COMFY_ORG"))
"""The kinds of hidden inputs there are. One of any other kind is a name that a prompt may give a value, unseen."""
SHOWN_CHARACTERS = 500


class Surroundings(msgspec.Struct, frozen=True):
    """What hidden inputs may ask for."""

    prompt: DynamicPrompt
    extra_data: Mapping[str, Any]

    def hidden(self, kind: str, node_id: str) -> Any:
        """The value of a hidden input of this kind."""
        if kind == "PROMPT":
            return self.prompt.original_prompt
        if kind == "DYNPROMPT":
            return self.prompt
        if kind == "UNIQUE_ID":
            return node_id
        return self.extra_data.get(kind.lower())


def gather(spec: NodeSpec, node_id: str, around: Surroundings, made: MadeOf, *, asking: bool = False) -> Arguments:
    """Every argument of the node as a list of values, the hidden ones of a V1 node included.

    asking: the node is only asked which lazy inputs it needs, so what is not made yet is a None.
    Raises GraphFault for a link to nothing.
    """
    arguments: Arguments = {}
    for name, value in inputs_of(around.prompt, node_id).items():
        declared = spec.inputs.get(name)
        if is_link(value):
            raw = declared is not None and declared.raw_link
            absent = asking or name in spec.lazy_inputs
            arguments[name] = [value] if raw else _linked(name, value, made, absent=absent)
        elif declared is not None or name in spec.hidden:
            arguments[name] = [value]
    if not spec.is_v3:
        for name, kind in spec.hidden.items():
            if name not in arguments and isinstance(kind, str) and kind in HIDDEN:
                arguments[name] = [around.hidden(kind, node_id)]
    return arguments


def _linked(name: str, link: list[Any], made: MadeOf, *, absent: bool) -> list[Any]:
    source, slot = link[0], int(link[1])
    upstream = made(source)
    if upstream is None and absent:
        return [None]
    if upstream is None:
        raise GraphFault(f"input {name} is linked to node {source}, which has no results")
    if slot < 0:
        raise GraphFault(f"input {name} is linked to output {slot} of node {source}, which it does not have")
    return upstream.values[slot] if slot < len(upstream.values) else [None]


def hidden_values(spec: NodeSpec, node_id: str, around: Surroundings) -> dict[str, Any]:
    """The hidden values a V3 class declares, by kind in lower case."""
    return {kind.lower(): around.hidden(kind, node_id) for kind in spec.hidden.values()}


def calls(spec: NodeSpec, arguments: Arguments) -> list[dict[str, Any]]:
    """The arguments of each call. Shorter lists repeat their last value; an empty list means no call at all."""
    if spec.input_is_list:
        return [dict(arguments)]
    count = 1
    for values in arguments.values():
        if not values:
            return []
        count = max(count, len(values))
    if count == 1:
        return [{name: values[0] for name, values in arguments.items()}]
    return [{name: values[min(i, len(values) - 1)] for name, values in arguments.items()} for i in range(count)]


def blocker_in(spec: NodeSpec, passed: Mapping[str, Any]) -> ExecutionBlocker | None:
    """The first blocker among the arguments of one call."""
    for value in passed.values():
        if isinstance(value, ExecutionBlocker):
            return value
        if spec.input_is_list and isinstance(value, list):
            found = next((one for one in value if isinstance(one, ExecutionBlocker)), None)
            if found is not None:
                return found
    return None


async def wanted_lazily(spec: NodeSpec, ask: Any, arguments: Arguments) -> list[str]:
    """Names of the inputs the node asks for, over all its calls; an answer that is no list of names asks for none."""
    names: dict[str, None] = {}
    for passed in calls(spec, arguments):
        if blocker_in(spec, passed) is not None:
            continue
        answer = ask(**passed)
        if inspect.isawaitable(answer):
            answer = await answer
        if not isinstance(answer, Iterable) or isinstance(answer, str):
            continue
        names.update(dict.fromkeys(name for name in answer if isinstance(name, str)))
    return list(names)


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
    except (Exception, SystemExit):  # noqa: BLE001 - a node class's own code; a result that cannot be vouched for is made anew
        return float("nan")


def shown_inputs(arguments: Arguments) -> dict[str, list[Any]]:
    """The arguments as an error report carries them: plain values as they are, others as shortened text."""
    return {
        name: [
            value if isinstance(value, int | float | bool) else in_words(value)[:SHOWN_CHARACTERS] for value in values
        ]
        for name, values in arguments.items()
    }
