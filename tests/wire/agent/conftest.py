"""A real agent process on a line to a fake orchestrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.wire.agent_process import AgentProcess
from tests.wire.fake_orchestrator import FakeOrchestrator


@pytest.fixture
async def orchestrator() -> AsyncIterator[FakeOrchestrator]:
    """Listening; it welcomes whoever comes."""
    fake = FakeOrchestrator()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def agent(orchestrator: FakeOrchestrator, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """Started, with a fake executor."""
    process = AgentProcess(tmp_path / "data", orchestrator)
    await process.start()
    yield process
    await process.kill()
