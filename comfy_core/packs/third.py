"""Packs of the V3 kind: an entry point that gives an extension, which gives node classes. It registers nothing."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from comfy_core.errors import NodeFault
from comfy_core.v3.node import ComfyNode


def entry_nodes(entry: Callable[[], Any]) -> tuple[dict[str, type], dict[str, str]]:
    """Node classes by id, and the names people see. Runs a loop of its own, so that a pack can block none but itself.

    Raises NodeFault when the entry point gives something else than an extension that lists node classes.
    """
    return asyncio.run(_nodes(entry))


async def _nodes(entry: Callable[[], Any]) -> tuple[dict[str, type], dict[str, str]]:
    extension = await _awaited(entry())
    if not hasattr(extension, "get_node_list"):
        raise NodeFault(f"comfy_entrypoint gave a {type(extension).__name__}, not an extension")
    if hasattr(extension, "on_load"):
        await _awaited(extension.on_load())
    listed = await _awaited(extension.get_node_list())
    if not isinstance(listed, list):
        raise NodeFault(f"get_node_list gave a {type(listed).__name__}, not a list")
    classes: dict[str, type] = {}
    names: dict[str, str] = {}
    for cls in listed:
        if not (isinstance(cls, type) and issubclass(cls, ComfyNode)):
            raise NodeFault(f"get_node_list gave {cls!r}, which is no ComfyNode")
        schema = cls.known_schema()
        classes[schema.node_id] = cls
        if schema.display_name:
            names[schema.node_id] = schema.display_name
    return classes, names


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
