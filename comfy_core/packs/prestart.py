"""Before torch: which packs there are, what they miss, and their prestart scripts. It imports no pack.

When there is no pack nothing is done; in particular the modules that packs import are not put on the path.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import structlog

from comfy_core.packs import requirements
from comfy_core.packs.find import MODULE_PARENT, Pack, find
from comfy_core.packs.guard import Failed, within
from comfy_core.surface import Surface

COMPAT = Path(__file__).resolve().parents[1] / "compat"
SCRIPT = "prestart_script.py"
log = structlog.get_logger()


def prepare(surface: Surface) -> None:
    """Find the packs, open the import surface to them, and run their prestart scripts."""
    settings = surface.settings
    searched = list(settings.folders.models.get(MODULE_PARENT, ([], ()))[0])
    packs = surface.additions.packs = find(searched, settings.packs)
    if not any(pack.wanted for pack in packs):
        return
    open_import_surface(searched)
    for pack in packs:
        if pack.wanted:
            pack.report.missing = requirements.missing(pack.home) if pack.path.is_dir() else []
            _run_script(pack, settings.packs.timeout)


def open_import_surface(searched: list[str]) -> None:
    """Put the modules that packs import first on the path, and let `custom_nodes.<pack>` be imported by that name."""
    if str(COMPAT) not in sys.path:
        sys.path.insert(0, str(COMPAT))
    parent = ModuleType(MODULE_PARENT)
    parent.__path__ = searched
    sys.modules.setdefault(MODULE_PARENT, parent)


def _run_script(pack: Pack, timeout: float) -> None:
    path = pack.path / SCRIPT
    if not path.is_file():
        return
    started = time.monotonic()
    try:
        within(timeout, lambda: _execute(path), f"prestart {pack.report.name}")
    except Failed as error:
        pack.report.remark(f"its prestart script failed: {error}")
    except TimeoutError:
        pack.report.remark(f"its prestart script took longer than {timeout:g} s and was given up")
    pack.report.seconds += time.monotonic() - started


def _execute(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(str(path.with_suffix("")), path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
