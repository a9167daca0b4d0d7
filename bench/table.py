"""What a measurement is, and how it is shown and kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table


class Measure(Struct):
    """One figure. baseline is in the same unit; ratio is value / baseline; bound_by says what limits the value."""

    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    bound_by: str


def measure(name: str, value: float, unit: str, baseline: float | None, bound_by: str) -> Measure:
    """A measure with its ratio."""
    ratio = value / baseline if baseline else None
    return Measure(name, round(value, 3), unit, _rounded(baseline), _rounded(ratio), bound_by)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def save(measures: list[Measure], path: Path) -> None:
    """Write the list; measures of other names that stand there are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept: list[Measure] = []
    if path.exists():
        names = {item.name for item in measures}
        kept = [item for item in msgspec.json.decode(path.read_bytes(), type=list[Measure]) if item.name not in names]
    path.write_bytes(msgspec.json.format(msgspec.json.encode([*kept, *measures]), indent=2) + b"\n")


def show(measures: list[Measure]) -> None:
    """Print the table."""
    table = Table("name", "value", "unit", "baseline", "ratio", "bound by")
    for item in measures:
        baseline = "" if item.baseline is None else f"{item.baseline:g}"
        ratio = "" if item.ratio is None else f"{item.ratio:.2f}"
        table.add_row(item.name, f"{item.value:g}", item.unit, baseline, ratio, item.bound_by)
    Console(width=160).print(table)
