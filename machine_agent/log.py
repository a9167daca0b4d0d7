"""Sets up the agent's log: one line per event on stderr, as text or JSON. It does not know what is logged."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import MutableMapping
from typing import Any, Final, Literal

import structlog

from machine_agent.secrets import HELD

LogFormat = Literal["text", "json"]
MOST_LINES: Final = 500
LONGEST_LINE: Final = 2_000


class Tap:
    """The newest lines, for whoever takes them: a processor of structlog's that changes nothing."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MOST_LINES)

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Note a line, unless it is for debugging."""
        if method != "debug":
            first = f"{event.get('timestamp', '')} {event.get('level', method)} {event.get('event', '')}"
            rest = [f"{name}={value}" for name, value in event.items() if name not in ("timestamp", "level", "event")]
            self._lines.append(" ".join([first, *rest])[:LONGEST_LINE])
        return event

    def take(self) -> list[str]:
        """The lines since the last call."""
        lines = list(self._lines)
        self._lines.clear()
        return lines


TAP: Final = Tap()
"""What this process logs."""


def configure(log_format: LogFormat) -> None:
    """Send every log line to stderr in the given form."""
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            HELD,
            TAP,
            last,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
