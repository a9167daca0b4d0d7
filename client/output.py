"""What the command prints: tables for people, JSON for programs. Knows no resource."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table


def show_json(value: object) -> None:
    """The value as indented JSON on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table; when the output is no terminal, tab-separated lines without a head."""
    console = Console()
    if not console.is_terminal:
        for row in rows:
            print("\t".join(str(cell) for cell in row))
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table)
    if not rows:
        console.print("(none)", style="dim")


def complain(text: str) -> None:
    """One message on standard error."""
    print(f"comfyfleet: {text}", file=sys.stderr)
