"""Imports the packs that were found, one after another, each with a time limit, and makes their nodes known.

What fails is reported by name and reason, and what it had registered so far is taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog

from comfy_core.errors import NodeFault
from comfy_core.packs.browser import web_folders
from comfy_core.packs.find import Pack
from comfy_core.packs.guard import Failed, NothingThere, on_main_thread, soon
from comfy_core.packs.third import entry_nodes
from comfy_core.surface import Surface

log = structlog.get_logger()


@dataclass(slots=True)
class Brought:
    """What a module holds. names: class_type -> what people see."""

    classes: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    web: Mapping[str, str] = field(default_factory=dict)


async def load_all(surface: Surface) -> None:
    """Import every pack that is wanted; what built-in nodes are called stays theirs."""
    built_in = frozenset(surface.registry)
    started = time.monotonic()
    for pack in surface.additions.packs:
        if pack.wanted:
            await load(surface, pack, built_in)
    reports = [pack.report for pack in surface.additions.packs]
    if reports:
        counts = {status: sum(report.status == status for report in reports) for status in ("loaded", "skipped")}
        bad = [report.name for report in reports if report.status in ("failed", "timed_out")]
        log.info("node packs", **counts, failed=bad, seconds=round(time.monotonic() - started, 2))


async def load(surface: Surface, pack: Pack, taken: frozenset[str]) -> None:
    """Import one pack and add its nodes, but for names in `taken`. The outcome is in its report."""
    report, timeout = pack.report, surface.settings.packs.timeout
    before = surface.additions.mark()
    started = time.monotonic()
    try:
        _add(surface, pack, await _brought_by(surface, pack), taken)
    except TimeoutError:
        report.status = "timed_out"
        report.remark(f"its import took longer than {timeout:g} s and was given up")
    except Failed as error:
        report.status = "failed"
        report.remark(str(error))
    except NothingThere as error:
        report.status = "skipped"
        report.remark(str(error))
    if report.status in ("failed", "timed_out"):
        surface.additions.back_to(before)
        _forget(pack.module_name)
        log.warning("a node pack is not there", pack=report.name, path=report.path, reason=report.reason)
    elif report.reason or report.missing:
        log.warning("a node pack has remarks", pack=report.name, reason=report.reason, missing=report.missing)
    report.seconds = round(report.seconds + time.monotonic() - started, 3)


async def _brought_by(surface: Surface, pack: Pack) -> Brought:
    """Import it beside the main thread; on it when it cannot be otherwise, as ComfyUI does always."""
    timeout, name = surface.settings.packs.timeout, f"import {pack.report.name}"
    before = surface.additions.mark()
    try:
        module = await soon(timeout, lambda: _beside(surface, pack), name)
    except Failed as error:
        if not error.wants_main_thread:
            raise
        surface.additions.back_to(before)
        _forget(pack.module_name)
        module = on_main_thread(timeout, lambda: import_file(pack.module_name, pack.entry))
    return await soon(timeout, lambda: _brought(pack, module), name)


def _beside(surface: Surface, pack: Pack) -> ModuleType:
    asyncio.set_event_loop(surface.loop)  # modules ask for a loop to post to while they are imported
    return import_file(pack.module_name, pack.entry)


def import_file(name: str, path: Path) -> ModuleType:
    """Import a file under a name; a package when it is an `__init__.py`."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _forget(name: str) -> None:
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        sys.modules.pop(known, None)


def _brought(pack: Pack, module: ModuleType) -> Brought:
    web = web_folders(pack.home, pack.report.name, getattr(module, "WEB_DIRECTORY", None)) if pack.path.is_dir() else {}
    classes = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if classes is not None:
        if not isinstance(classes, Mapping):
            raise NodeFault(f"NODE_CLASS_MAPPINGS is of type {type(classes).__name__}, not a dictionary")
        names = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None)
        return Brought(dict(classes), dict(names) if isinstance(names, Mapping) else {}, web)
    if hasattr(module, "comfy_entrypoint"):
        return Brought(*entry_nodes(module.comfy_entrypoint), web)
    if web:
        return Brought({}, {}, web)
    raise NothingThere("it has neither NODE_CLASS_MAPPINGS nor comfy_entrypoint")


def _add(surface: Surface, pack: Pack, brought: Brought, taken: frozenset[str]) -> None:
    """Make its classes known. Of two packs with a class of one name the later has it, as in ComfyUI."""
    report, registry = pack.report, surface.registry
    for class_type, cls in brought.classes.items():
        if class_type in taken:
            report.remark(f"{class_type} is a built-in node, the pack's is left out")
        elif not isinstance(cls, type):
            report.remark(f"{class_type} is no class, it is left out")
        else:
            with contextlib.suppress(TypeError, AttributeError):  # a class may refuse attributes
                cls.RELATIVE_PYTHON_MODULE = pack.shown_module  # type: ignore[attr-defined]
            registry.classes[str(class_type)] = cls
            report.nodes.append(str(class_type))
    registry.display_names.update({name: text for name, text in brought.names.items() if name not in taken})
    surface.additions.web.update(brought.web)
    surface.additions.homes[report.name] = pack.home
    report.web = next(iter(brought.web.values()), None)
