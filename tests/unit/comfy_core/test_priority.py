"""Threads stay as they were, whatever an encoder makes of them."""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from comfy_core.nodes import video
from comfy_core.priority import unchanged

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="not a system with scheduling classes")


def policies() -> set[int]:
    """Of all threads of this process."""
    return {os.sched_getscheduler(int(path.name)) for path in Path("/proc/self/task").iterdir()}


def test_this_thread_and_those_started_within_are_as_before() -> None:
    """A class that anybody may choose stands for the real-time one that only root may."""
    go, before = threading.Event(), os.sched_getscheduler(0)
    inner = threading.Thread(target=go.wait)
    try:
        with unchanged():
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            inner.start()
            assert os.sched_getscheduler(inner.native_id or 0) == os.SCHED_BATCH
        assert os.sched_getscheduler(0) == os.sched_getscheduler(inner.native_id or 0) == before
    finally:
        go.set()
        inner.join()


def test_an_encoder_run_by_root_makes_nothing_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """SVT-AV1 would: itself and whoever opens it, and so all that is started afterwards."""
    seen: list[set[int]] = []
    monkeypatch.setattr(video, "stop_if_asked", lambda: seen.append(policies()))
    images: Any = torch.rand(3, 64, 64, 3)
    assert video.webm(images, "av1", Fraction(10), 30.0, {})
    assert len(seen) == 3
    assert not {os.SCHED_FIFO, os.SCHED_RR} & set().union(*seen, policies())
