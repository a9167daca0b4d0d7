"""One supervised child process: started, watched, restarted with back-off, ended with everything it started.

It does not know what the program does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from client import leash

LOG_LIMIT = 20_000_000
LOG_LINE = 400  # characters of a line that a message quotes
STEADY_S = 30.0
LONGEST_PAUSE_S = 15.0

Report = Callable[[str], None]


class Child:
    """A program with a name, a log file and a restart policy."""

    def __init__(self, name: str, argv: list[str], log: Path, env: dict[str, str]) -> None:
        self.name = name
        self.argv = argv
        self.log = log
        self._env = env
        self._process: asyncio.subprocess.Process | None = None
        self._stop = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    async def start(self) -> None:
        """Starts the process in its own group, its output appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".1"))
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-IS",
                leash.__file__,
                *self.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._env,
                start_new_session=True,
            )

    async def ended(self) -> int:
        """Waits until the process has ended; its exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def keep(self, report: Report) -> None:
        """Restarts the process whenever it dies, until stop(). Pauses grow from 0.5 s to 15 s."""
        pause = 0.5
        while True:
            since = time.monotonic()
            code = await self.ended()
            if self._stop.is_set():
                return
            if time.monotonic() - since > STEADY_S:
                pause = 0.5
            report(f"{self.name} {describe(code)}; starting it again in {pause:g} s (log: {self.log})")
            self._end_group()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            pause = min(pause * 2, LONGEST_PAUSE_S)
            async with self._turn:
                if self._stop.is_set():
                    return
                await self.start()

    async def stop(self, grace_s: float) -> bool:
        """Asks the process to end, and makes it end after grace_s. Whether it went by itself."""
        self._stop.set()
        async with self._turn:
            process = self._process
        if process is None:
            return True
        willing = True
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(grace_s):
                    await process.wait()
            except TimeoutError:
                willing = False
        self._end_group()
        await process.wait()
        return willing

    def _end_group(self) -> None:
        """Kills what is left of the group: children that outlived the process."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the program wrote."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self.log.stat().st_size - 16_000, 0))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(line[:LOG_LINE] for line in text.splitlines()[-lines:])


def describe(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
