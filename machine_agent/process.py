"""Supervises one executor process: starts it, waits until it answers, restarts it when it dies or has had its time.

It knows how to start and end the process and when it is healthy, not what a prompt is.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections import deque
from pathlib import Path
from typing import BinaryIO

import aiohttp
import psutil
import structlog
from msgspec import Struct, field

from drivers.wire import Gpu, ModelFile
from machine_agent import leash
from machine_agent.backoff import Backoff
from machine_agent.comfy import Comfy
from machine_agent.errors import ExecutorGone
from machine_agent.executor import Traits
from machine_agent.launch import Checkout, Place, Program
from machine_agent.log_tail import LogTail
from machine_agent.memory_kills import MemoryKills
from machine_agent.secrets import Secrets
from machine_agent.shelf import LocalShelf

_START_S = 300.0
_PROBE_S = 15.0
_PROBES_MISSED = 6
_GOODBYE_S = 5.0
_LOG_LIMIT = 20_000_000
_KEPT_OUTPUTS = 2_000_000_000
_KEPT_PREVIEWS = 200_000_000
_DIRECTORY = "run-"
_log = structlog.get_logger()


class Recycling(Struct, frozen=True):
    """When an executor has had its time: after so many runs, or holding so many bytes after one. None: never."""

    runs: int | None = None
    memory: int | None = None


class ProcessSettings(Struct, frozen=True):
    """How one executor is started. device: its CUDA_VISIBLE_DEVICES, None on CPU. kills: where memory kills show.

    secrets: what it is given beside the environment, as they are when it is started.
    """

    program: Program | Checkout
    home: Path
    models: Path
    threads: int
    environment: dict[str, str]
    device: str | None = None
    recycling: Recycling = Recycling()
    kills: list[Path] | None = None
    secrets: Secrets = field(default_factory=Secrets)


class ExecutorProcess:
    """One executor and its folders."""

    ours = True

    def __init__(self, index: int, settings: ProcessSettings, session: aiohttp.ClientSession) -> None:
        self.index = index
        self.url = ""
        self.generation = 0
        self._settings = settings
        self._session = session
        self._traits = Traits(session)
        self._process: asyncio.subprocess.Process | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        self._log_path = settings.home / "log.txt"
        self._ended = ""
        self._killed_by_us = ""
        self._out_of_memory = False
        self._retired = ""
        self._runs = 0
        self._given: dict[str, str] = {}
        self._kills = MemoryKills(settings.kills)

    @property
    def is_up(self) -> bool:
        """Whether the process runs and has answered."""
        return self._up.is_set()

    async def ready(self, timeout: float) -> None:
        """Wait until the executor answers. Raises ExecutorGone when it does not come up in time."""
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
        except TimeoutError as error:
            raise ExecutorGone(f"the executor did not start in {timeout:.0f} s", self.log_tail()) from error

    async def gone(self) -> ExecutorGone:
        """Wait until the present process ends; says how."""
        await self._down.wait()
        return ExecutorGone(
            self._ended or "the executor is not running", self.log_tail(), out_of_memory=self._out_of_memory
        )

    @property
    def _comfy(self) -> Comfy:
        return Comfy(self._session, self.url)

    async def shelf(self, directory: str) -> LocalShelf:
        """Folders that both of us see."""
        apart = await self._traits.directories(self.url, self.generation)
        return LocalShelf(self._settings.home, f"{_DIRECTORY}{directory}" if apart else None)

    async def classes(self) -> frozenset[str]:
        """The node classes it has."""
        return await self._traits.classes(self.url, self.generation)

    async def models(self) -> list[ModelFile] | None:
        """Those of the machine's folder."""
        return None

    async def gpus(self) -> list[Gpu] | None:
        """Those of the machine."""
        return None

    def log_tail(self, lines: int = 30) -> list[str]:
        """The last lines the executor wrote."""
        try:
            with self._log_path.open(encoding="utf-8", errors="replace") as file:
                return [self._settings.secrets.hide(line.rstrip("\n"))[:500] for line in deque(file, maxlen=lines)]
        except OSError:
            return []

    def log(self) -> LogTail:
        """What it writes from now on."""
        return LogTail(self._log_path, self._settings.secrets.hide)

    def memory(self) -> int:
        """Bytes of main memory held by the executor now; 0 when it is not running."""
        self._kills.look()
        if self._process is None:
            return 0
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    async def after_run(self) -> None:
        """Delete the oldest files it made, beyond a limit (the newest stay: its cache may name them again), and end it
        when it has had its time. Another is started at once.
        """
        for folder, limit in (("output", _KEPT_OUTPUTS), ("temp", _KEPT_PREVIEWS)):
            await asyncio.to_thread(_trim, self._settings.home / folder, limit)
        self._runs += 1
        told, held = self._settings.recycling, self.memory()
        if told.runs is not None and self._runs >= told.runs:
            self._retire(f"it has done {self._runs} runs")
        elif told.memory is not None and held > told.memory:
            self._retire(f"it holds {held / 1e9:.1f} GB after a run, more than {told.memory / 1e9:g}")

    def freshen(self) -> None:
        """End it when it was started with other secrets than there are now; another is started at once."""
        if self._process is not None and not self._retired and self._given != self._settings.secrets.environment:
            self._retire("its secrets have changed")

    def kill(self) -> None:
        """End the process at once; the supervisor starts another."""
        self._end("it did not let go of a run")

    def _retire(self, reason: str) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._retired = reason
        self._up.clear()
        _signal_group(process.pid, signal.SIGTERM)
        asyncio.get_running_loop().call_later(_GOODBYE_S, self._end_of, process)

    def _end_of(self, process: asyncio.subprocess.Process) -> None:
        if process is self._process:
            self._end("it did not end when asked to")

    def _end(self, reason: str) -> None:
        if self._process is not None and self._process.returncode is None:
            self._killed_by_us = reason
            _signal_group(self._process.pid, signal.SIGKILL)

    async def supervise(self) -> None:
        """Keep an executor running until cancelled, then end it."""
        backoff = Backoff(first=0.2, cap=5.0)
        clock = asyncio.get_running_loop()
        # Once only: a run whose executor died may still be uploading from its directory.
        await asyncio.to_thread(_drop_directories, self._place(0))
        while True:
            started = clock.time()
            await self._life()
            if self._retired:
                _log.info("executor_recycled", slot=self.index, reason=self._retired)
                self._retired = ""
                continue
            if clock.time() - started > 60:
                backoff.reset()
            delay = backoff.next()
            _log.warning("executor_restart", slot=self.index, reason=self._ended, wait_s=round(delay, 2))
            await asyncio.sleep(delay)

    async def _life(self) -> None:
        """One process from start to end."""
        try:
            process = await self._start()
        except OSError as error:
            self._ended = f"the executor cannot be started: {error}"
            return
        self.freshen()
        watch = asyncio.create_task(self._watch(process))
        try:
            self._note_end(await process.wait())
        finally:
            watch.cancel()
            self._up.clear()
            self._down.set()
            _signal_group(process.pid, signal.SIGKILL)
            await process.wait()
            self._process = None

    def _note_end(self, code: int) -> None:
        self._out_of_memory = code == -signal.SIGKILL and not self._killed_by_us and self._kills.risen()
        if self._out_of_memory:
            self._ended = "the kernel killed the executor: the machine ran out of memory"
        elif self._killed_by_us:
            self._ended = f"the agent ended the executor: {self._killed_by_us}"
        elif code < 0:
            self._ended = f"the executor was killed by {signal.Signals(-code).name}"
        else:
            self._ended = f"the executor ended with status {code}"

    async def _start(self) -> asyncio.subprocess.Process:
        port = _free_port()
        place = self._place(port)
        await asyncio.to_thread(_make_folders, place)
        command = self._settings.program.command(place)
        self._given = self._settings.secrets.environment
        with self._open_log() as log:
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-I", leash.__file__, *command.arguments],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd=command.folder,
                start_new_session=True,
            )
        self._process = process
        self._killed_by_us, self._out_of_memory, self._runs = "", False, 0
        self._kills.look()
        self._down.clear()
        self.url = f"http://127.0.0.1:{port}"
        self.generation += 1
        return process

    def _place(self, port: int) -> Place:
        told = self._settings
        return Place(port, told.home, told.models, told.threads, told.device is not None)

    def _environment(self) -> dict[str, str]:
        threads = str(self._settings.threads)
        added = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
        if self._settings.device is not None:
            added["CUDA_VISIBLE_DEVICES"] = self._settings.device
        return {**self._settings.environment, **self._given, **added}

    def _open_log(self) -> BinaryIO:
        if self._log_path.exists() and self._log_path.stat().st_size > _LOG_LIMIT:
            self._log_path.replace(self._log_path.with_suffix(".old.txt"))
        return self._log_path.open("ab")

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Say when it is up; kill it when it never comes up or stops answering."""
        clock = asyncio.get_running_loop()
        end = clock.time() + _START_S
        while not await self._comfy.answers(5.0):
            if clock.time() > end:
                self._end(f"it did not answer within {_START_S:.0f} s of its start")
                return
            await asyncio.sleep(0.05)
        if self._retired:
            return  # it still answers, and is about to end
        _log.info("executor_up", slot=self.index, url=self.url, pid=process.pid)
        self._up.set()
        missed = 0
        while missed < _PROBES_MISSED:
            await asyncio.sleep(_PROBE_S)
            missed = 0 if await self._comfy.answers(_PROBE_S) else missed + 1
        _log.warning("executor_silent", slot=self.index)
        self._end("it no longer answered")


def _trim(folder: Path, limit: int) -> None:
    files = sorted(
        ((path.stat(), path) for path in folder.rglob("*") if path.is_file()),
        key=lambda item: item[0].st_mtime_ns,
    )
    size = sum(stat.st_size for stat, _ in files)
    for stat, path in files:
        if size <= limit:
            return
        path.unlink(missing_ok=True)
        size -= stat.st_size


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _drop_directories(place: Place) -> None:
    """Take away the directories of runs that an earlier agent left behind."""
    received, made, temporary = place.folders
    for root in (received, made, temporary / "temp"):
        for left in root.glob(f"{_DIRECTORY}*"):
            shutil.rmtree(left, ignore_errors=True)


def _make_folders(place: Place) -> None:
    for folder in (*place.folders, place.models):
        folder.mkdir(parents=True, exist_ok=True)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return
