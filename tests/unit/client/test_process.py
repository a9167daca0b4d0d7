"""Supervised children and the claim on a data folder, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from client.claim import Claim, end_fleet, is_held
from client.config import child_environment
from client.errors import SetupProblem
from client.process import Child, describe
from client.stack import check_port

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
WITH_CHILD = (
    "import subprocess, sys, time;"
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"
)


def child(script: str, folder: Path) -> Child:
    """A Python script as a child."""
    return Child(
        "script", [sys.executable, "-c", script], folder / "logs" / "script.log", child_environment(isolated=True)
    )


async def until(condition: Callable[[], object], patience_s: float = 60) -> None:
    """Waits for a condition, up to a deadline."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.anyio
async def test_a_dead_child_comes_back_and_is_reported(tmp_path: Path) -> None:
    """A child killed with -9 is started again; the report says how it ended."""
    said: list[str] = []
    one = child("import time; time.sleep(60)", tmp_path)
    await one.start()
    keeper = asyncio.create_task(one.keep(said.append))
    first = one.pid
    assert first
    os.kill(first, signal.SIGKILL)
    await until(lambda: one.pid not in (None, first))
    assert "SIGKILL" in said[0]
    await one.stop(5)
    await asyncio.wait_for(keeper, 5)
    assert one.pid is None


@pytest.mark.anyio
async def test_a_stubborn_child_is_made_to_end(tmp_path: Path) -> None:
    """A child that ignores SIGTERM is killed once its grace is over, and that is told."""
    one = child(STUBBORN, tmp_path)
    await one.start()
    await until(lambda: "up" in one.log_tail())
    assert await one.stop(0.2) is False
    assert one.pid is None


@pytest.mark.anyio
async def test_grandchildren_end_too(tmp_path: Path) -> None:
    """What a child started ends with it."""
    one = child(WITH_CHILD, tmp_path)
    await one.start()
    await until(lambda: one.log_tail().strip())
    grandchild = int(one.log_tail().strip())
    assert alive(grandchild)
    await one.stop(5)
    await until(lambda: not alive(grandchild))


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
async def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """A parent killed with -9 takes its leashed children along."""
    leash = Path(sys.modules["client.process"].__file__ or "").with_name("leash.py")
    script = (
        "import subprocess, sys, time;"
        f"print(subprocess.Popen([sys.executable, {str(leash)!r}, sys.executable, '-c',"
        " 'import time; print(1, flush=True); time.sleep(60)']).pid, flush=True); time.sleep(60)"
    )
    one = child(script, tmp_path)
    await one.start()
    await until(lambda: len(one.log_tail().split()) == 2)
    leashed = max(int(word) for word in one.log_tail().split())
    parent = one.pid
    assert parent
    os.kill(parent, signal.SIGKILL)
    await until(lambda: not alive(leashed))
    await one.stop(1)


def test_one_fleet_per_folder(tmp_path: Path) -> None:
    """A second claim on a folder says that, and who holds it; afterwards the folder is free."""
    with Claim(tmp_path):
        assert is_held(tmp_path / "up.pid")
        with pytest.raises(SetupProblem, match=f"process {os.getpid()}"), Claim(tmp_path):
            pass
    assert not is_held(tmp_path / "up.pid")
    assert end_fleet(tmp_path) is False


def test_down_ends_the_holder(tmp_path: Path) -> None:
    """`down` ends the process that holds the claim and returns when it is gone."""
    script = (
        "import sys, time; from pathlib import Path; from client.claim import Claim\n"
        "with Claim(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        assert end_fleet(tmp_path, 10) is True
        assert holder.wait(10) == -signal.SIGTERM


def test_a_taken_port_names_the_remedy() -> None:
    """The message about a port in use says PORT=; port 0 finds a free one."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(SetupProblem, match="PORT="):
            check_port(taken)
    assert check_port(0) > 0


def test_exit_codes_are_told_in_words() -> None:
    """Codes and signals read as sentences."""
    assert describe(3) == "ended with code 3"
    assert describe(-9) == "was ended by SIGKILL"
