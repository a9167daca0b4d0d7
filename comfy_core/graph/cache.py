"""Results kept between prompts, by content signature. It knows neither nodes nor prompts.

`keep` is the number of entries that may outlive the prompts that use them (`--cache-lru`); 0 keeps what the present
prompt names and drops the rest, None keeps nothing from one prompt to the next.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from comfy_core.graph.signature import Signature


@dataclass(frozen=True, slots=True)
class Made:
    """What a node made: for each slot the list of values, and what the user interface is shown."""

    values: list[list[Any]]
    ui: dict[str, Any] | None
    meta: dict[str, Any] = field(default_factory=dict)


class ResultCache:
    """Signature to results."""

    def __init__(self, keep: int | None = 0) -> None:
        self._keep = keep
        self._made: OrderedDict[Signature, Made] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def begin(self, wanted: set[Signature]) -> None:
        """A prompt starts that names these signatures: drop what has had its time."""
        if self._keep is None:
            self._made.clear()
        elif self._keep == 0:
            for signature in [known for known in self._made if known not in wanted]:
                del self._made[signature]
        for signature in wanted:
            if signature in self._made:
                self._made.move_to_end(signature)
        self._trim(len(wanted))

    def get(self, signature: Signature | None) -> Made | None:
        """What was made under this signature, if it is still here."""
        return self._made.get(signature) if signature is not None else None

    def put(self, signature: Signature | None, made: Made) -> None:
        """Keep a result; one without a signature cannot be found again and is not kept."""
        if signature is not None:
            self._made[signature] = made

    def clear(self) -> None:
        """Forget everything."""
        self._made.clear()

    def _trim(self, in_use: int) -> None:
        if not self._keep:
            return
        while len(self._made) > max(self._keep, in_use):
            self._made.popitem(last=False)
