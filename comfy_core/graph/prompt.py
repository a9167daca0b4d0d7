"""A workflow in API format: nodes, their inputs and the links between them. It knows no node classes.

Walks are loops, never recursion, so that a chain of 20,000 nodes is as good as one of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

WorkflowJson = Mapping[str, Any]
"""node id -> {class_type, inputs}, as clients send it."""


def is_link(value: object) -> bool:
    """Whether an input value is `[node id, slot]`."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        return False
    slot = value[1]
    if type(slot) is int:
        return True
    return (isinstance(slot, int) and not isinstance(slot, bool)) or (isinstance(slot, float) and slot.is_integer())


def inputs_of(prompt: WorkflowJson, node_id: str) -> Mapping[str, Any]:
    """The node's inputs; empty when they are absent or no object."""
    found = prompt[node_id].get("inputs")
    return found if isinstance(found, dict) else {}


def links_of(prompt: WorkflowJson, node_id: str) -> Iterator[tuple[str, str, int]]:
    """(input name, source node id, slot) for each link to a node that the prompt has."""
    for name, value in inputs_of(prompt, node_id).items():
        if is_link(value) and value[0] in prompt:
            yield name, value[0], int(value[1])


def ancestors_first(sources: Callable[[str], Iterable[str]], roots: Iterable[str]) -> list[str]:
    """The roots and all they depend on, each after its sources. Links that close a cycle are passed over."""
    done: list[str] = []
    seen: set[str] = set()
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(sources(root)))]
        while stack:
            node_id, links = stack[-1]
            for source in links:
                if source not in seen:
                    seen.add(source)
                    stack.append((source, iter(sources(source))))
                    break
            else:
                stack.pop()
                done.append(node_id)
    return done
