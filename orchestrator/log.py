"""Sets up the orchestrator's log: one line per event on stderr, JSON or text. It does not know what is logged."""

from __future__ import annotations

import logging
import sys

import msgspec
import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _render(_logger: object, _name: str, event: structlog.typing.EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def configure(level: str = "info", *, json: bool = True) -> None:
    """Send every line at or above level to stderr; other libraries' warnings go there too."""
    last: structlog.typing.Processor = _render if json else structlog.dev.ConsoleRenderer(colors=False)
    number = _LEVELS.get(level.lower(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        stream=sys.stderr, level=max(number, logging.WARNING), format="%(levelname)s %(name)s %(message)s"
    )
