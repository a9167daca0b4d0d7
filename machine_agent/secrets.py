"""The machine's secrets: held in memory only, given to its executors, and taken out of whatever is told or logged.

It knows no wire and no process. A value that was replaced is still taken out: an executor may know it yet.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

from msgspec import structs

from drivers.environment import why_not
from drivers.wire import Failure, Output

HIDDEN: Final = "***"
SHORTEST: Final = 8
SHORTEST_KEY: Final = 16
MOST_HIDDEN: Final = 2_000
_KEY: Final = re.compile(r"key|token|secret|password", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Secrets:
    """What this machine was given last, and what of it must not be seen."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self._hidden: OrderedDict[str, None] = OrderedDict()
        self._pattern: re.Pattern[str] | None = None

    def take(self, values: dict[str, str]) -> bool:
        """These and no others from now on; whether anything changed. Names that are not given away are left out."""
        allowed = {name: value for name, value in values.items() if why_not(name) is None and "\0" not in value}
        if allowed == self.environment:
            return False
        self.environment = allowed
        self._add(allowed.values())
        return True

    def hide_keys(self, extra: Mapping[str, Any]) -> None:
        """Hide from now on the keys of other services that came with a prompt: texts under names that say so."""
        self._add(
            value
            for name, value in extra.items()
            if isinstance(value, str) and len(value) >= SHORTEST_KEY and _KEY.search(name)
        )

    def _add(self, values: Iterable[str]) -> None:
        for value in values:
            for part in _parts(value):
                self._hidden[part] = None
                self._hidden.move_to_end(part)
        while len(self._hidden) > MOST_HIDDEN:
            self._hidden.popitem(last=False)
        longest_first = sorted(self._hidden, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def hide(self, text: str) -> str:
        """The text without any value."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def hide_all(self, thing: Any) -> Any:
        """The same for every text in JSON, its names included."""
        if self._pattern is None:
            return thing
        if isinstance(thing, str):
            return self.hide(thing)
        if isinstance(thing, list | tuple):
            return [self.hide_all(one) for one in thing]
        if isinstance(thing, dict):
            return {self.hide_all(name): self.hide_all(one) for name, one in thing.items()}
        return thing

    def hide_failure(self, failure: Failure) -> Failure:
        """The same for why an attempt failed."""
        lines = [self.hide(line) for line in failure.traceback]
        return structs.replace(failure, message=self.hide(failure.message), traceback=lines)

    def hide_outputs(self, outputs: list[Output]) -> list[Output]:
        """The same for outputs that are no files."""
        return [structs.replace(output, data=self.hide_all(output.data)) for output in outputs]

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A processor of structlog's: lines of the agent's own log."""
        if self._pattern is not None:
            for name, value in event.items():
                event[name] = self.hide_all(value)
        return event


HELD: Final = Secrets()
"""Those of this process."""


def _parts(value: str) -> set[str]:
    """A value as it may stand in a line: whole and by lines, as it is and as Python and JSON write texts."""
    lines = [_CONTROL.sub("", line).strip() for line in value.splitlines()]
    found = {written for text in (value, *lines) for written in _written(text)}
    return {part for part in found if len(part) >= SHORTEST}


def _written(text: str) -> tuple[str, str, str, str]:
    return text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
