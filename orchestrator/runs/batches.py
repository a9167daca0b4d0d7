"""What a batch asks for, spread out into the inputs of single runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, Final

from orchestrator.errors import FieldError, Invalid

MOST_RUNS: Final = 1000
MOST_AXES: Final = 16


def spread(
    inputs: Sequence[Mapping[str, Any]] | None, grid: Mapping[str, Sequence[Any]] | None, common: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One run's inputs for each of `inputs`, or for each combination of the grid, the last axis turning fastest.

    Raises Invalid unless exactly one of the two is given and makes 1 to MOST_RUNS runs.
    """
    if (inputs is None) == (grid is None):
        raise _invalid("inputs", "give exactly one of inputs and input_grid")
    if inputs is not None:
        _bounded("inputs", len(inputs))
        return [{**common, **one} for one in inputs]
    assert grid is not None
    if len(grid) > MOST_AXES:
        raise _invalid("input_grid", f"has {len(grid)} inputs; at most {MOST_AXES} can be combined")
    _bounded("input_grid", prod(map(len, grid.values())) if grid else 0)
    return [{**common, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]


def _bounded(field: str, count: int) -> None:
    if not 1 <= count <= MOST_RUNS:
        raise _invalid(field, f"makes {count} runs; a batch has 1 to {MOST_RUNS}")


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", errors=[FieldError(field, message, "wrong_batch")])
