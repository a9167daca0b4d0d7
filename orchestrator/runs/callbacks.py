"""What a ComfyUI that reports piecemeal has said of one attempt, and what follows from it. Pure.

Such a machine (one with the comfyui-deploy plugin) says the same thing twice, late, in any order, or not at all. So
what it says is kept as a set of facts that only grows: `merge` is commutative, associative and idempotent, and `decide`
looks at the whole set. It does not know how the facts were told, nor when: only for how long nothing new has come.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from drivers.wire import Failure, Output, Timings

SETTLE_S: Final = 1.0
"""Reports overtake each other on the way by less than this."""
UNSURE_S: Final = 15.0
"""The graph has ended and nothing says how: taken for a success when for so long nothing says otherwise."""
UPLOAD_S: Final = 300.0
"""A file that was made and has not arrived by then will not arrive."""
MOST_THINGS: Final = 5000
LONGEST: Final = 1000

Rung = Literal["queued", "started", "running", "uploading", "success", "failed", "cancelled"]
SEQUENCE: Final[dict[Rung, int]] = {
    "queued": 0,
    "started": 1,
    "running": 2,
    "uploading": 3,
    "success": 4,
    "failed": 4,
    "cancelled": 4,
}
"""The number each report has within its attempt: fixed, so that a repeated one is known as such."""
LADDER: Final[tuple[Literal["started", "running", "uploading"], ...]] = ("started", "running", "uploading")


class Made(Struct, frozen=True, omit_defaults=True, order=True):
    """A file that a node made. sure: the kind is the node's own word, not one that stands for several kinds."""

    node_id: str
    kind: str
    name: str
    subfolder: str = ""
    place: int = 0
    sure: bool = False


class Facts(Struct, frozen=True, omit_defaults=True):
    """All that is known of an attempt.

    files: by key_of(); uploaded: name by file id; claimed: file id by the key of what it is; values: [node, kind, data]
    by node and kind. ended: the graph is no longer executed; whole: the machine's own history was read, so that `files`
    and `values` are complete; gone: keys of files that the machine cannot give any more.
    """

    taken: bool = False
    began: bool = False
    ended: bool = False
    success: bool = False
    failed: bool = False
    interrupted: bool = False
    whole: bool = False
    failure: Failure | None = None
    files: dict[str, Made] = {}
    uploaded: dict[str, str] = {}
    claimed: dict[str, str] = {}
    values: dict[str, tuple[str, str, Any]] = {}
    gone: list[str] = []
    timings: Timings | None = None


class Verdict(Struct, frozen=True):
    """Where the attempt stands. look_in_s: look again then although nothing more was heard; None: no need to.

    missing: files that were made and have not arrived.
    """

    rung: Rung
    look_in_s: float | None = None
    failure: Failure | None = None
    outputs: list[Output] = []
    missing: list[Made] = []
    timings: Timings | None = None


def key_of(made: Made) -> str:
    """What tells a file from every other of the attempt."""
    return f"{made.node_id}\n{made.subfolder}\n{made.name}"


def merge(one: Facts, other: Facts) -> Facts:
    """Both sets of facts; the order of telling makes no difference."""
    return Facts(
        taken=one.taken or other.taken,
        began=one.began or other.began,
        ended=one.ended or other.ended,
        success=one.success or other.success,
        failed=one.failed or other.failed,
        interrupted=one.interrupted or other.interrupted,
        whole=one.whole or other.whole,
        failure=_likelier(one.failure, other.failure),
        files=_united(one.files, other.files, _surer),
        uploaded=_united(one.uploaded, other.uploaded, min),
        claimed=_united(one.claimed, other.claimed, min),
        values=_united(one.values, other.values, _smaller),
        gone=sorted({*one.gone, *other.gone}),
        timings=_longer(one.timings, other.timings),
    )


def _united(one: dict[str, Any], other: dict[str, Any], choose: Any) -> dict[str, Any]:
    if not other:
        return one
    united = dict(one)
    for key, value in other.items():
        if key in united:
            united[key] = choose(united[key], value)
        else:
            united[key] = value
    return {key: united[key] for key in sorted(united)[:MOST_THINGS]}


def _surer(one: Made, other: Made) -> Made:
    return min((one, other), key=lambda made: (not made.sure, made))


def _smaller(one: Any, other: Any) -> Any:
    return min((one, other), key=msgspec.json.encode)


def _longer(one: Timings | None, other: Timings | None) -> Timings | None:
    if one is None or other is None:
        return one or other
    return max((one, other), key=lambda timings: (timings.execute_ms, timings.peak_vram_bytes))


def _likelier(one: Failure | None, other: Failure | None) -> Failure | None:
    """The failure that says more: a node's before one without a node."""
    if one is None or other is None:
        return one or other
    return min((one, other), key=lambda failure: (failure.node_id is None, msgspec.json.encode(failure)))


def decide(facts: Facts, quiet_s: float) -> Verdict:
    """Where the attempt stands when nothing new was told for quiet_s seconds.

    A failure counts before an interruption, and that before an end; an end counts once all that was made has arrived.
    """
    if facts.failed or facts.failure is not None:
        return _failed(facts, quiet_s)
    if facts.interrupted:
        return Verdict("cancelled")
    if facts.ended or facts.success:
        return _ended(facts, quiet_s)
    if facts.began:
        return Verdict("running")
    return Verdict("started" if facts.taken else "queued")


def _failed(facts: Facts, quiet_s: float) -> Verdict:
    """The reason is told apart from the failure: it is waited for a little."""
    if facts.failure is None and quiet_s < SETTLE_S:
        return Verdict("running" if facts.began else "started", SETTLE_S - quiet_s)
    return Verdict("failed", failure=facts.failure or Failure("internal", "the machine gave no reason"))


def _ended(facts: Facts, quiet_s: float) -> Verdict:
    stored = _stored(facts)
    missing = [made for key, made in facts.files.items() if key not in stored]
    given_up = [made for made in missing if key_of(made) in facts.gone or quiet_s >= UPLOAD_S]
    if given_up:
        reason = f"{given_up[0].name}, which node {given_up[0].node_id} made, never arrived"
        return Verdict("failed", failure=Failure("upload_failed", reason, given_up[0].node_id))
    if missing:
        return Verdict("uploading", UPLOAD_S - quiet_s, missing=missing)
    patience = 0.0 if facts.whole else SETTLE_S if facts.success else UNSURE_S
    if quiet_s < patience:
        return Verdict("uploading", patience - quiet_s)
    return Verdict("success", outputs=_outputs(facts, stored), timings=facts.timings)


def _stored(facts: Facts) -> dict[str, str]:
    """File ids by the keys of what they are: those claimed, and those whose name leaves no other choice."""
    stored = {
        key: file_id for key, file_id in facts.claimed.items() if file_id in facts.uploaded and key in facts.files
    }
    used = set(stored.values())
    by_name: dict[str, list[str]] = {}
    for file_id, name in facts.uploaded.items():
        if file_id not in used:
            by_name.setdefault(name, []).append(file_id)
    wanting: dict[str, list[str]] = {}
    for key, made in facts.files.items():
        if key not in stored:
            wanting.setdefault(made.name, []).append(key)
    for name, keys in wanting.items():
        if len(keys) == 1 and by_name.get(name):
            stored[keys[0]] = min(by_name[name])
    return stored


def _outputs(facts: Facts, stored: dict[str, str]) -> list[Output]:
    """In the order of node ids, then as each node listed them."""
    found: list[tuple[tuple[Any, ...], Output]] = []
    for key, made in facts.files.items():
        order = (*_natural(made.node_id), made.kind, made.place, made.name)
        found.append((order, Output(made.node_id, made.kind, file_id=stored[key])))
    for node_id, kind, data in facts.values.values():
        found.append(((*_natural(node_id), kind, 0, ""), Output(node_id, kind, data=data)))
    return [output for _, output in sorted(found, key=lambda pair: pair[0])]


def _natural(node_id: str) -> tuple[int, str]:
    return (int(node_id) if node_id.isdecimal() and len(node_id) < 18 else 2**62, node_id)
