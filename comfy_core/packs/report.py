"""What became of one node pack, for whoever asks. It imports nothing and decides nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["loaded", "failed", "timed_out", "skipped"]


@dataclass(slots=True)
class PackReport:
    """One pack. seconds: spent on its prestart script and import. nodes: class names it added.

    reason: why it is not there, with the last lines of the traceback; also what went wrong in a pack that was loaded
    all the same (a prestart script that failed, a name that a built-in node has). missing: requirements that are not
    installed; nothing is ever installed by the executor. commit: what git has checked out in its folder.
    """

    name: str
    path: str
    status: Status = "loaded"
    seconds: float = 0.0
    nodes: list[str] = field(default_factory=list)
    web: str | None = None
    reason: str | None = None
    missing: list[str] = field(default_factory=list)
    commit: str | None = None

    def remark(self, text: str) -> None:
        """Add to the reason."""
        self.reason = text if self.reason is None else f"{self.reason}\n{text}"

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
