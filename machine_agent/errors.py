"""The agent's errors, one small tree. It knows what went wrong, not what is done about it.

AgentError
├── Refused          the orchestrator said no to this agent; trying again changes nothing
├── Abandoned        the attempt is no longer ours: say nothing more about it
├── ExecutorGone     the executor process ended, or never came up
└── AttemptFailed    the attempt ended badly; carries the Failure that is reported
"""

from __future__ import annotations

from drivers.wire import Failure, FailureClass


class AgentError(Exception):
    """Something the agent knows how to answer."""


class Refused(AgentError):
    """The orchestrator refused this agent; the text says why."""


class Abandoned(AgentError):
    """The attempt belongs to somebody else now, or to nobody."""


class ExecutorGone(AgentError):
    """The executor ended or did not start; `log` holds the last lines it wrote.

    out_of_memory: the kernel ended it, for want of memory.
    """

    def __init__(self, message: str, log: list[str] | None = None, *, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.log = log or []
        self.out_of_memory = out_of_memory


class AttemptFailed(AgentError):
    """The attempt ended badly, for the reason in `failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure

    @classmethod
    def because(cls, kind: FailureClass, message: str) -> AttemptFailed:
        """A failure with a class and a text only."""
        return cls(Failure(kind=kind, message=message))
