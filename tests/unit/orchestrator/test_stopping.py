"""What the process does when it is told to go. The rest of its end is in tests/wire/test_api_process.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
INTERRUPTED = """
import asyncio, signal, sys
from types import SimpleNamespace
import structlog, uvicorn
from orchestrator.__main__ import Server

class Stream:
    told = False
    def write(self, text):
        if not self.told:
            self.told = True
            signal.raise_signal(signal.SIGTERM)
        return sys.__stdout__.write(text)
    def flush(self):
        sys.__stdout__.flush()

async def main():
    app = SimpleNamespace(state=SimpleNamespace(draining=asyncio.Event()))
    server = Server(uvicorn.Config(app), app, "", 0, None)
    server._loop = asyncio.get_running_loop()
    signal.signal(signal.SIGTERM, server.handle_exit)
    structlog.get_logger().info("a line")
    await app.state.draining.wait()

structlog.configure(logger_factory=structlog.PrintLoggerFactory(Stream()))
asyncio.run(main())
"""


def test_a_signal_in_the_middle_of_a_log_line_is_obeyed() -> None:
    """Whoever writes a line holds the log's lock; the handler must not want it too."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "a line" in done.stdout
    assert "stopping" in done.stdout
