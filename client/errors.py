"""What can go wrong between a client and a fleet.

ClientError           anything a user of the SDK or the command has to be told
├── FleetError        the orchestrator answered with a problem: code is stable, detail is for people
├── Unreachable       no orchestrator answered
├── BadDownload       the bytes that came are not the output's
└── SetupProblem      the local fleet cannot be started or found; the text says what to do
"""

from __future__ import annotations

import msgspec
from msgspec import Struct


class FieldProblem(Struct, frozen=True):
    """One wrong field of a request, as the problem names it."""

    path: str = ""
    message: str = ""
    code: str = ""


class Problem(Struct, frozen=True):
    """The parts of an RFC 9457 body that the SDK uses."""

    title: str = ""
    code: str = ""
    detail: str = ""
    request_id: str = ""
    errors: list[FieldProblem] = []


class ClientError(Exception):
    """Anything a user of the SDK or the command has to be told."""


class FleetError(ClientError):
    """The orchestrator refused. code is stable and machine-readable; request_id is for its log."""

    def __init__(self, status: int, problem: Problem) -> None:
        self.status = status
        self.code = problem.code or f"http_{status}"
        self.detail = problem.detail or problem.title
        self.request_id = problem.request_id
        self.errors = problem.errors
        fields = "".join(f"\n  {error.path}: {error.message}" for error in problem.errors)
        super().__init__(f"{self.detail or 'the orchestrator refused'} ({status} {self.code}){fields}")


class Unreachable(ClientError):
    """No orchestrator answered."""


class BadDownload(ClientError):
    """The bytes that came are not the output's."""


class SetupProblem(ClientError):
    """The local fleet cannot be started or found; the text says what to do."""


def from_answer(status: int, body: bytes) -> FleetError:
    """The error that an answer stands for; a body that is no problem+json gives its text as detail."""
    try:
        return FleetError(status, msgspec.json.decode(body, type=Problem, strict=False))
    except msgspec.DecodeError:
        return FleetError(status, Problem(detail=body[:300].decode(errors="replace").strip()))
