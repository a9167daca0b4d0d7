"""Which driver serves which kind of machine: one literal dictionary and the one lazy import.

A kind whose driver is absent has its room here with the reason, so that registering such a machine can say why.
"""

from __future__ import annotations

import importlib
from typing import cast

from drivers.base import Driver

DRIVERS: dict[str, str] = {
    "classic": "drivers.classic:Classic",
}

ABSENT: dict[str, str] = {
    "runpod-serverless": "its driver (drivers/runpod.py) is not part of this release",
    "modal-serverless": "its driver (drivers/modal.py) is not part of this release",
    "comfy-deploy-serverless": "its driver (drivers/comfy_deploy.py) is not part of this release",
}


def why_absent(kind: str) -> str | None:
    """The reason a kind cannot be used here, or None when its driver stands."""
    return None if kind in DRIVERS else ABSENT.get(kind, "no such machine kind")


def driver_class(kind: str) -> type[Driver]:
    """The driver's class. Raises KeyError for a kind without one."""
    module, _, name = DRIVERS[kind].partition(":")
    return cast("type[Driver]", getattr(importlib.import_module(module), name))
