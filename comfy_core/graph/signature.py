"""The content signature of each node: equal signatures mean equal results. It knows no cache.

A signature hashes the class, the node's own constants and its sources' signatures (not their ancestry), so the whole
graph is signed in one pass. None means: never the same twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from comfy_core.graph.node import NodeSpec
from comfy_core.graph.prompt import is_link
from comfy_core.scope import present

Signature = bytes
PIECES_AT_MOST = 1_000_000
SCALARS = (str, int, float, type(None))


class Unsigned(Exception):
    """A value that is never equal to itself."""


def sign(
    spec: NodeSpec,
    node_id: str,
    given: Mapping[str, Any],
    changed: Any,
    signed: Callable[[str], Signature | None],
) -> Signature:
    """The signature of a node. changed: what its IS_CHANGED said; signed: the signatures of its sources.

    Raises Unsigned when its result is never the same twice.
    """
    parts = [spec.class_type, _canonical(changed)]
    if spec.keeps_its_id:
        parts.append(f"id={node_id}")
    directory = present()
    if directory is not None and spec.is_output:  # what it shows are files in the prompt's own directory
        parts.append(f"in={directory}")
    for name, value in sorted(given.items()):
        if is_link(value):
            source = signed(value[0])
            if source is None:
                raise Unsigned
            parts.append(f"{name}<-{source.hex()}.{int(value[1])}")
        else:
            parts.append(f"{name}={_canonical(value)}")
    return blake2b("\x00".join(parts).encode("utf-8", "surrogatepass"), digest_size=20).digest()


def _canonical(value: Any) -> str:
    """Text that differs whenever the value does; containers are flattened without recursion.

    Raises Unsigned for what has no such text, and for a value without end, such as a list that holds itself.
    """
    if isinstance(value, SCALARS):
        return _scalar(value)
    out: list[str] = []
    todo: list[Any] = [value]
    while todo:
        if len(out) + len(todo) > PIECES_AT_MOST:
            raise Unsigned
        item = todo.pop()
        if isinstance(item, _Mark):
            out.append(item)
        elif isinstance(item, dict):
            out.append("{")
            todo.append(_Mark("}"))
            for key in sorted(item, key=str):
                todo.extend((item[key], str(key)))
        elif isinstance(item, list | tuple):
            out.append("[")
            todo.append(_Mark("]"))
            todo.extend(reversed(item))
        else:
            out.append(_scalar(item))
    return ",".join(out)


class _Mark(str):
    """A bracket among the values still to be written."""

    __slots__ = ()


def _scalar(value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        raise Unsigned
    if isinstance(value, SCALARS):
        return repr(value)
    raise Unsigned
