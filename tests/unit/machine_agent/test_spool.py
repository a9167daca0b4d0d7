"""The spool on a real disk: what survives, what is forgotten, what a restart adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.wire import AttemptId, Event, LeaseToken, RunId
from machine_agent.spool import Spool, is_safe

pytestmark = pytest.mark.anyio


def event(seq: int, status: str = "running", attempt: str = "a1") -> Event:
    return Event(RunId("r1"), AttemptId(attempt), LeaseToken("t"), seq, status)


async def test_survives_a_restart(tmp_path: Path) -> None:
    """Unacknowledged events are there after a restart, in sequence; acknowledged ones are not."""
    spool = Spool(tmp_path)
    await spool.append(event(1, "started"))
    await spool.append(event(2))
    await spool.append(event(3, "success"))
    spool.acknowledge(event(1))
    assert Spool(tmp_path).load() == [event(2), event(3, "success")]


async def test_unfinished_attempt_is_ended(tmp_path: Path) -> None:
    """An attempt without a last event gets one with the next number, also when all before it were acknowledged."""
    spool = Spool(tmp_path)
    await spool.append(event(1, "started"))
    spool.acknowledge(event(1))
    [ended] = Spool(tmp_path).load()
    assert (ended.seq, ended.status, ended.token) == (2, "failed", "t")
    assert ended.failure is not None
    assert ended.failure.kind == "agent_restarted"
    assert Spool(tmp_path).load() == [ended]


async def test_forgotten_after_the_last_acknowledgement(tmp_path: Path) -> None:
    """Nothing is left on disk once the last event is acknowledged, and the attempt is no longer named."""
    spool = Spool(tmp_path)
    await spool.append(event(1, "success"))
    assert spool.attempts() == ["a1"]
    spool.acknowledge(event(1, "success"))
    assert spool.attempts() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", range(1, 60, 7))
async def test_torn_last_line(tmp_path: Path, cut: int) -> None:
    """A last line that was written in part is dropped, and what is appended later is readable."""
    spool = Spool(tmp_path)
    await spool.append(event(1, "started"))
    await spool.append(event(2))
    path = tmp_path / "a1.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    reloaded = Spool(tmp_path)
    first, ended = reloaded.load()
    assert first == event(1, "started")
    assert (ended.seq, ended.status) == (2, "failed")
    assert Spool(tmp_path).load() == [first, ended]


async def test_file_without_an_event(tmp_path: Path) -> None:
    """A file whose only line was torn is removed."""
    (tmp_path / "a1.jsonl").write_bytes(b'{"event":{"run_')
    assert Spool(tmp_path).load() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("attempt", ["../x", "", "a/b", "a.b", "a" * 129])
def test_unsafe_ids(attempt: str) -> None:
    """An id that could name a file elsewhere is not used."""
    assert not is_safe(attempt)
