"""Results kept between prompts, by content signature, and what goes when. It knows neither nodes nor prompts.

Four ways to keep: `classic` what the present prompt names, `lru` a number of results more, `none` nothing from one
prompt to the next, `ram` everything while main memory is not scarce.

Results of nodes that an expansion added belong to the node of the client's graph that expanded: they stay while that
node is in the prompt, unless it expanded again without them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from comfy_core.graph.signature import Signature

Owner = tuple[str, str]
"""Id and class_type of an expanding node of the client's graph."""
AGED_BY = 1.5
ENOUGH = 1.1


class Made(msgspec.Struct, frozen=True):
    """What a node made: for each slot the list of values, and what the user interface is shown."""

    values: list[list[Any]]
    ui: dict[str, Any] | None


def _nothing() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Keeping:
    """How results are kept. entries: of lru. headroom: bytes of main memory that ram leaves free.

    available says how many bytes are free now, size_of how many a result's values hold.
    """

    way: Literal["classic", "lru", "none", "ram"] = "classic"
    entries: int = 0
    headroom: int = 0
    available: Callable[[], int] = _nothing
    size_of: Callable[[Any], int] = lambda _: 0


class _Entry(msgspec.Struct):
    made: Made
    used: int
    owner: Owner | None


class ResultCache:
    """Signature to results."""

    def __init__(self, keeping: Keeping | None = None) -> None:
        self._keeping = keeping or Keeping()
        self._entries: OrderedDict[Signature, _Entry] = OrderedDict()
        self._prompts = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def frees_early(self) -> bool:
        """Whether a result may go as soon as nothing in its own prompt needs it."""
        return self._keeping.way == "none"

    def begin(self, wanted: Iterable[Signature | None], owners: Callable[[Owner], bool]) -> None:
        """A prompt starts that names these signatures: drop what has had its time. owners: whether it has this node."""
        self._prompts += 1
        if self._keeping.way == "none":
            self._entries.clear()
            return
        for signature in wanted:
            if signature is not None and signature in self._entries:
                self._use(signature)
        if self._keeping.way == "classic":
            for signature, entry in list(self._entries.items()):
                if entry.used != self._prompts and (entry.owner is None or not owners(entry.owner)):
                    del self._entries[signature]
        self._trim()

    def end(self, expanded: set[Owner]) -> None:
        """A prompt ended in which these nodes expanded: what they no longer led to goes."""
        if self._keeping.way != "classic" or not expanded:
            return
        for signature, entry in list(self._entries.items()):
            if entry.owner in expanded and entry.used != self._prompts:
                del self._entries[signature]

    def get(self, signature: Signature | None) -> Made | None:
        """What was made under this signature, if it is still here."""
        if signature is None or signature not in self._entries:
            return None
        return self._use(signature).made

    def put(self, signature: Signature | None, made: Made, owner: Owner | None = None) -> None:
        """Keep a result; one without a signature cannot be found again and is not kept."""
        if signature is not None and self._keeping.way != "none":
            self._entries[signature] = _Entry(made, self._prompts, owner)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def relieve(self) -> None:
        """Let results of earlier prompts go while main memory is scarce: the oldest and largest first."""
        keeping = self._keeping
        if keeping.way != "ram" or keeping.available() >= keeping.headroom:
            return
        old = [(signature, entry) for signature, entry in self._entries.items() if entry.used != self._prompts]
        old.sort(key=lambda one: keeping.size_of(one[1].made.values) * AGED_BY ** min(self._prompts - one[1].used, 100))
        while old and keeping.available() < keeping.headroom * ENOUGH:
            del self._entries[old.pop()[0]]

    def drop_idle(self) -> None:
        """Memory ran out: keep only what the present prompt uses."""
        for signature in [signature for signature, entry in self._entries.items() if entry.used != self._prompts]:
            del self._entries[signature]

    def _use(self, signature: Signature) -> _Entry:
        entry = self._entries[signature]
        entry.used = self._prompts
        self._entries.move_to_end(signature)
        return entry

    def _trim(self) -> None:
        if self._keeping.way != "lru":
            return
        while len(self._entries) > self._keeping.entries:
            signature, entry = next(iter(self._entries.items()))
            if entry.used == self._prompts:
                return
            del self._entries[signature]
