"""Structured log lines on standard error, one JSON object each. It knows no log files and no levels from outside."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

import structlog


def set_up() -> None:
    """Send our own log lines, the libraries' and Python's warnings to standard error as JSON."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_ToStructlog()], force=True)
    logging.captureWarnings(capture=True)
    warnings.simplefilter("once")


class _ToStructlog(logging.Handler):
    """Hands what the libraries log to our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        line: Any = structlog.get_logger().bind(logger=record.name)
        line.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
