"""Structured log lines, one JSON object each, on standard error or output; the last of them kept in plain words.

What node packs print becomes lines too. It knows no log files and nobody who reads the lines.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO, cast

import msgspec
import structlog

Entry = dict[str, str]
"""t: when, as ISO 8601 without zone, in UTC; m: the line in plain words, with its line feed."""

Said = MutableMapping[str, Any]
"""A line as the program said it: event, level, timestamp, and whatever else belongs to it."""

LINES_KEPT = 300
LONGEST_LINE = 10_000
NOT_SAID = {"event", "level", "timestamp"}


class Journal:
    """The last lines, for whoever looks at them later, and the one who is told of new ones. Safe from any thread."""

    def __init__(self) -> None:
        self._said: deque[Said] = deque(maxlen=LINES_KEPT)
        self.tell: Callable[[Said], None] = lambda _: None

    def entries(self) -> list[Entry]:
        """The lines, the oldest first."""
        return [in_words(said) for said in tuple(self._said)]

    def add(self, _: Any, __: str, said: Said) -> Said:
        """A step of structlog's: keep the line, hand it on unchanged. It is put into words when somebody reads it."""
        self._said.append(said)
        self.tell(said)
        return said


def in_words(said: Said) -> Entry:
    """A line as people read it."""
    more = "".join(f" {key}={value}" for key, value in said.items() if key not in NOT_SAID)
    words = f"[{said.get('level', 'info')}] {said.get('event', '')}{more}"
    return {"t": str(said.get("timestamp", "")).removesuffix("Z"), "m": words[:LONGEST_LINE] + "\n"}


JOURNAL = Journal()
"""A process has one log."""


class Printed(io.TextIOBase):
    """Stands for a standard stream: whole lines written to it become log lines; of a progress bar, what it ends as."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__()
        self._stream = stream
        self._name = name
        self._part = threading.local()

    def write(self, text: str) -> int:
        """Take text; a line is logged once it is whole."""
        *lines, rest = (getattr(self._part, "text", "") + text).split("\n")
        self._part.text = rest.rpartition("\r")[2][-LONGEST_LINE:]
        for line in lines:
            shown = line.rstrip("\r").rpartition("\r")[2]
            if shown.strip():
                structlog.get_logger().info(shown[:LONGEST_LINE], printed=self._name)
        return len(text)

    def writable(self) -> bool:
        """It takes text."""
        return True

    def fileno(self) -> int:
        """The stream's own, for child processes and crash dumps."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Never: nobody is to colour JSON."""
        return False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own."""
        return self._stream.encoding

    @property
    def buffer(self) -> Any:
        """The stream's own bytes."""
        return self._stream.buffer


def set_up(level: str = "INFO", to_stdout: bool = False) -> None:
    """Send our own log lines, the libraries', Python's warnings and what is printed to one stream as JSON."""
    stream = sys.__stdout__ if to_stdout else sys.__stderr__
    lowest = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            JOURNAL.add,
            structlog.processors.JSONRenderer(_rendered),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(lowest, logging.WARNING), handlers=[_ToStructlog()], force=True)
    logging.captureWarnings(capture=True)
    warnings.simplefilter("once")


def _rendered(said: Said, **_: Any) -> str:
    try:
        return msgspec.json.encode(said, enc_hook=str).decode()
    except (TypeError, ValueError):  # keys that are no texts, half characters, what holds itself
        return json.dumps(said, default=str, skipkeys=True)


def take_prints() -> None:
    """Have what is printed logged: called once by the process that is the executor."""
    sys.stdout = cast(TextIO, Printed(sys.stdout, "stdout"))
    sys.stderr = cast(TextIO, Printed(sys.stderr, "stderr"))


class _ToStructlog(logging.Handler):
    """Hands what the libraries log to our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        line: Any = structlog.get_logger().bind(logger=record.name)
        line.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
