"""The command itself, as a person uses it: the demo, and a fleet that is started, killed at, used and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from PIL import Image

from client.stack import demo_folder

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("FLEET_", "DATABASE_URL"))}
FLEET = [sys.executable, "-m", "client"]

pytestmark = pytest.mark.xdist_group("local fleet")


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode() if entry.name.isdigit() else ""
        except OSError:
            continue
        if str(folder) in command and entry.name != str(os.getpid()):
            found.append(f"{entry.name} {command}")
    return found


def until(condition: Callable[[], Any], patience_s: float = 180) -> Any:
    """The condition's value once it has one, up to a deadline."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.05)
    return value


def is_answering(url: str) -> bool:
    """Whether a server takes connections there."""
    where = urlsplit(url)
    with socket.socket() as line:
        return line.connect_ex((where.hostname, where.port)) == 0


def size_of(path: Path | str) -> tuple[int, int]:
    """Width and height of a picture."""
    with Image.open(path) as picture:
        return picture.size


def command(*words: str) -> str:
    """A command's output; it must end well."""
    done = subprocess.run(
        [*FLEET, *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_makes_eight_right_pictures(tmp_path: Path) -> None:
    """`make demo` exits 0 with eight checked PNGs and leaves no process behind."""
    out, data = tmp_path / "out", tmp_path / "data"
    text = command("demo", "--out", str(out), "--data", str(data))
    assert "8 of 8 pictures are right" in text
    assert "alpha" in text
    assert "beta" in text
    sizes = [max(size_of(path)) for path in out.glob("*.png")]
    assert sizes == [768] * 8
    assert not processes_of(data)


class Fleet:
    """A fleet that `comfyfleet up` runs on a folder."""

    started: ClassVar[list[subprocess.Popen[bytes]]] = []

    def __init__(self, data: Path) -> None:
        self.data = data
        self.log = data.with_suffix(".log")
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*FLEET, "up", "--port", "0", "--data", str(data)],
                cwd=ROOT,
                env=ENVIRONMENT,
                stdout=output,
                stderr=output,
            )
        self.started.append(self.process)

    def until_ready(self) -> None:
        """Waits until the fleet says that it takes runs."""
        until(lambda: "ready: local" in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def pid_of(self, words: str) -> int:
        """The process whose command line has those words."""
        found = [int(line.split()[0]) for line in processes_of(self.data) if words in line]
        return found[0] if found else 0


@pytest.fixture
def data(tmp_path: Path) -> Any:
    """A data folder on which nothing is left running, whatever a test did."""
    folder = tmp_path / "fleet"
    yield folder
    for line in processes_of(folder):
        os.kill(int(line.split()[0]), signal.SIGKILL)
    while Fleet.started:
        Fleet.started.pop().wait(30)


def test_a_fleet_survives_kills_and_ends_cleanly(data: Path, tmp_path: Path) -> None:
    """up, deploy, orchestrator and agent killed with -9, run, down: the picture comes and no process stays."""
    fleet = Fleet(data)
    fleet.until_ready()
    up = json.loads((data / "up.json").read_text())
    assert (data / "up.json").stat().st_mode & 0o777 == 0o600
    assert up["api_key"] in fleet.log.read_text()
    here = ("--data", str(data))
    command(*here, "workflows", "push", str(demo_folder() / "workflow.json"), "--name", "enlarge")
    command(*here, "deploy", "enlarge")
    killed = fleet.pid_of("-m orchestrator"), fleet.pid_of("-m machine_agent")
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: fleet.pid_of("-m orchestrator") not in (0, killed[0]))
    until(lambda: is_answering(up["url"]))
    photo = demo_folder() / "photos" / "rocket.jpg"
    answer = json.loads(
        command(*here, "run", "enlarge", "-i", f"photo=@{photo}", "--output-dir", str(tmp_path / "out"), "--json")
    )
    assert answer["run"]["status"] == "success"
    assert size_of(answer["files"][0]) == (768, 512)
    assert "has ended" in command("down", *here)
    assert fleet.process.wait(10) == 0
    assert not processes_of(data)


def test_a_second_start_goes_on_with_the_first(data: Path) -> None:
    """A restart keeps database, key and machine; a second `up` beside it is refused; -9 takes the whole fleet along."""
    fleet = Fleet(data)
    fleet.until_ready()
    key = json.loads((data / "up.json").read_text())["api_key"]
    machine = json.loads(command("--data", str(data), "machines", "ls", "--json"))[0]["id"]
    refused = subprocess.run(
        [*FLEET, "up", "--data", str(data)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert "already" in refused.stderr
    fleet.process.send_signal(signal.SIGINT)
    assert fleet.process.wait(60) == 0
    fleet.log.unlink()
    again = Fleet(data)
    again.until_ready()
    assert json.loads((data / "up.json").read_text())["api_key"] == key
    assert key not in again.log.read_text()
    assert json.loads(command("--data", str(data), "machines", "ls", "--json"))[0]["id"] == machine
    again.process.kill()
    again.process.wait(10)
    until(lambda: not processes_of(data), 30)
