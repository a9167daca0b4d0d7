"""Supervises one executor process: starts it, waits until it answers, restarts it when it dies.

It knows how to start and end the process and when it is healthy, not what a prompt is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from pathlib import Path
from typing import BinaryIO

import aiohttp
import psutil
import structlog
from msgspec import Struct

from machine_agent.backoff import Backoff
from machine_agent.config import executor_command
from machine_agent.errors import ExecutorGone

_START_S = 300.0
_PROBE_S = 15.0
_PROBES_MISSED = 6
_LOG_LIMIT = 20_000_000
_KEPT_OUTPUTS = 2_000_000_000
_KEPT_PREVIEWS = 200_000_000
_log = structlog.get_logger()


class ExecutorSettings(Struct, frozen=True):
    """How one executor is started. `device` is its CUDA_VISIBLE_DEVICES, None on CPU."""

    template: str
    home: Path
    models: Path
    threads: int
    environment: dict[str, str]
    device: str | None = None


class Executor:
    """One executor and its folders. `url` and `generation` change with each restart."""

    def __init__(self, index: int, settings: ExecutorSettings, session: aiohttp.ClientSession) -> None:
        self.index = index
        self.input_directory = settings.home / "input"
        self.output_directory = settings.home / "output"
        self.url = ""
        self.generation = 0
        self._settings = settings
        self._session = session
        self._process: asyncio.subprocess.Process | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        self._log_path = settings.home / "log.txt"
        self._ended = ""

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
        return ExecutorGone(self._ended or "the executor is not running", self.log_tail())

    def log_tail(self, lines: int = 30) -> list[str]:
        """The last lines the executor wrote."""
        try:
            with self._log_path.open(encoding="utf-8", errors="replace") as file:
                return [line.rstrip("\n")[:500] for line in deque(file, maxlen=lines)]
        except OSError:
            return []

    def memory(self) -> int:
        """Bytes of main memory held by the executor now; 0 when it is not running."""
        if self._process is None:
            return 0
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def trim(self) -> None:
        """Delete the oldest files it made, beyond a limit. The newest stay: its cache may name them again."""
        _trim(self.output_directory, _KEPT_OUTPUTS)
        _trim(self._settings.home / "temp", _KEPT_PREVIEWS)

    def kill(self) -> None:
        """End the process at once; the supervisor starts another."""
        if self._process is not None and self._process.returncode is None:
            _kill_group(self._process.pid)

    async def supervise(self) -> None:
        """Keep an executor running until cancelled, then end it."""
        backoff = Backoff(first=0.2, cap=5.0)
        clock = asyncio.get_running_loop()
        while True:
            started = clock.time()
            await self._life()
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
        watch = asyncio.create_task(self._watch(process))
        try:
            code = await process.wait()
            self._ended = f"the executor was killed by {signal.Signals(-code).name}" if code < 0 else (
                f"the executor ended with status {code}"
            )  # fmt: skip
        finally:
            watch.cancel()
            self._up.clear()
            self._down.set()
            _kill_group(process.pid)
            await process.wait()
            self._process = None

    async def _start(self) -> asyncio.subprocess.Process:
        home = self._settings.home
        temp = home / "temp"
        for folder in (self.input_directory, self.output_directory, temp, self._settings.models):
            folder.mkdir(parents=True, exist_ok=True)
        port = _free_port()
        words = {
            "port": str(port),
            "input": str(self.input_directory),
            "output": str(self.output_directory),
            "temp": str(temp),
            "models": str(self._settings.models),
            "threads": str(self._settings.threads),
        }
        command = executor_command(self._settings.template, words)
        with self._open_log() as log:
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "machine_agent.leash", *command],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
            )
        self._process = process
        self._down.clear()
        self.url = f"http://127.0.0.1:{port}"
        self.generation += 1
        return process

    def _environment(self) -> dict[str, str]:
        threads = str(self._settings.threads)
        added = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
        if self._settings.device is not None:
            added["CUDA_VISIBLE_DEVICES"] = self._settings.device
        return {**self._settings.environment, **added}

    def _open_log(self) -> BinaryIO:
        if self._log_path.exists() and self._log_path.stat().st_size > _LOG_LIMIT:
            self._log_path.replace(self._log_path.with_suffix(".old.txt"))
        return self._log_path.open("ab")

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Say when it is up; kill it when it never comes up or stops answering."""
        clock = asyncio.get_running_loop()
        end = clock.time() + _START_S
        while not await self._answers(5.0):
            if clock.time() > end:
                _kill_group(process.pid)
                return
            await asyncio.sleep(0.05)
        _log.info("executor_up", slot=self.index, url=self.url, pid=process.pid)
        self._up.set()
        missed = 0
        while missed < _PROBES_MISSED:
            await asyncio.sleep(_PROBE_S)
            missed = 0 if await self._answers(_PROBE_S) else missed + 1
        _log.warning("executor_silent", slot=self.index)
        _kill_group(process.pid)

    async def _answers(self, timeout: float) -> bool:
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.get(f"{self.url}/system_stats", timeout=limit) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False


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


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
