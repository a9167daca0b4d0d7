"""What the demo shows: a live bar per run on a terminal, plain lines elsewhere, and the table at the end.

It knows the rows it is given, not where they come from.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

COLOURS = {"success": "green", "failed": "red", "timeout": "red", "cancelled": "red"}


class Row(Struct):
    """One run of the demo as it is shown. value is 0..1; times in seconds."""

    number: int
    photo: str
    status: str = "not-started"
    machine: str = ""
    value: float = 0.0
    queue_s: float = 0.0
    execute_s: float = 0.0
    upload_s: float = 0.0
    file: str = ""
    wrong: str = ""


class View:
    """Shows rows as they change. Use it as a context manager around the live part."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = console.is_terminal
        self._tasks: dict[int, TaskID] = {}
        self._said: dict[int, tuple[str, str]] = {}
        self._progress = Progress(
            TextColumn("{task.fields[number]} {task.fields[photo]:<14}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[status]}"),
            TextColumn("[cyan]{task.fields[machine]:<8}"),
            TimeElapsedColumn(),
            console=console,
        )

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, row: Row) -> None:
        """Shows how a row stands now."""
        if not self._live:
            state = (row.status, row.machine)
            if self._said.get(row.number) != state:
                self._said[row.number] = state
                self.say(f"  run {row.number} {row.photo:<14} {row.status:<11} {row.machine}".rstrip())
            return
        colour = COLOURS.get(row.status, "white")
        fields: dict[str, Any] = {
            "number": row.number,
            "photo": row.photo,
            "machine": row.machine,
            "status": f"[{colour}]{row.status:<11}",
        }
        if row.number not in self._tasks:
            self._tasks[row.number] = self._progress.add_task("", total=1.0, **fields)
        self._progress.update(self._tasks[row.number], completed=row.value, **fields)

    def table(self, rows: list[Row]) -> None:
        """The end: every run with its machine, times and file."""
        table = Table("run", "photo", "machine", "queue", "execute", "upload", box=None, pad_edge=False)
        table.add_column("file", overflow="fold")
        for row in rows:
            times = (f"{seconds:.2f} s" for seconds in (row.queue_s, row.execute_s, row.upload_s))
            table.add_row(str(row.number), row.photo, row.machine, *times, row.wrong or row.file)
        self.console.print(table, soft_wrap=True)
