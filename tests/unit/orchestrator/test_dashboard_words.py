"""How the dashboard says things, and where it lets a login lead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest

from drivers.wire import FailureClass
from orchestrator.config import Config
from orchestrator.dashboard import words
from orchestrator.dashboard.desk import local_path, security_headers
from orchestrator.runs.state import STATUSES
from orchestrator.store.overview import MachineRow

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "just now"), (2, "just now"), (59, "59 s ago"), (60, "1 min ago"), (7300, "2 h ago"), (200_000, "2 d ago")],
)
def test_age(seconds: float, text: str) -> None:
    """How long ago, in its largest unit; a clock that is ahead is now."""
    assert words.age(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 ms"), (0.34, "340 ms"), (4.25, "4.2 s"), (190, "3 min 10 s"), (7500, "2 h 5 min")],
)
def test_span(seconds: float, text: str) -> None:
    """A duration with the precision a reader wants."""
    assert words.span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (3 * 10**12, "3.0 TB")],
)
def test_size(count: int, text: str) -> None:
    """Bytes in powers of ten."""
    assert words.size(count) == text


def test_times_are_told_in_utc() -> None:
    """Another zone's time is told as the same moment in UTC."""
    at = datetime(2026, 11, 21, 14, 30, 5, tzinfo=timezone(timedelta(hours=2)))
    assert words.clock(at) == "12:30:05 UTC"
    assert words.iso(at) == "2026-11-21T12:30:05.000Z"


def test_every_status_and_failure_has_words() -> None:
    """No status is without a colour, no failure class is told by its bare name."""
    assert {words.tone(status) for status in STATUSES if status not in ("not-started", "cancelled")} <= {
        "good",
        "bad",
        "busy",
    }
    assert [kind for kind in get_args(FailureClass) if kind not in words.LABELS] == []


def _machine(**more: Any) -> MachineRow:
    base: dict[str, Any] = {
        "id": "m",
        "name": "gpu",
        "kind": "classic",
        "state": "ready",
        "connected": True,
        "slots": 1,
        "used_slots": 0,
        "labels": {},
        "inventory": {},
        "agent_version": "",
        "endpoint": None,
        "seen_at": None,
        "created_at": NOW,
        "runs": [],
    }
    return MachineRow(**{**base, **more})


@pytest.mark.parametrize(
    ("state", "connected", "tone", "word"),
    [
        ("ready", True, "ready", "ready"),
        ("ready", False, "bad", "offline"),
        ("draining", True, "warn", "draining"),
        ("draining", False, "bad", "offline, draining"),
        ("pending", False, "idle", "waits for its agent"),
    ],
)
def test_a_machines_light(state: str, connected: bool, tone: str, word: str) -> None:
    """Colour and word say the same thing."""
    machine = _machine(state=state, connected=connected)
    assert (words.light(machine), words.light_word(machine)) == (tone, word)


def test_what_a_machine_computes_with() -> None:
    """Several GPUs are counted, a CPU is called one, nothing known says nothing."""
    gpu = {"name": "NVIDIA L4", "kind": "cuda", "vram": 24 * 2**30}
    assert words.gpu(_machine(inventory={"gpus": [gpu, gpu]})) == "2 × NVIDIA L4, 24 GiB"
    assert words.gpu(_machine(inventory={"gpus": [{"name": "x86_64", "kind": "cpu"}], "cpus": 1})) == "CPU, 1 core"
    assert words.gpu(_machine()) == ""


def test_inputs_are_shown_as_text_or_file() -> None:
    """A stored file keeps its id; a long text is cut."""
    shown = words.shown_inputs({"image": {"file_id": "f1"}, "seed": 7, "prompt": "x" * 600})
    assert shown[0]["file_id"] == "f1"
    assert shown[1] == {"name": "seed", "text": "7", "file_id": ""}
    assert len(shown[2]["text"]) == 500


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("/runs?status=failed", "/runs?status=failed"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/runs\r\nSet-Cookie: a=b", "/"),
        ("", "/"),
    ],
)
def test_a_login_leads_to_our_own_pages_only(path: str, safe: str) -> None:
    """Anything that is not a plain path of this site becomes the overview."""
    assert local_path(path) == safe


def test_the_policy_names_the_object_storage_only_when_there_is_one() -> None:
    """Images may come from the configured storage; scripts never do."""
    assert "img-src 'self' data:;" in security_headers(Config())["Content-Security-Policy"]
    stored = Config(files_url="s3://bucket", files_endpoint="https://s3.example:9000/x")
    policy = security_headers(stored)["Content-Security-Policy"]
    assert "img-src 'self' data: https://s3.example:9000;" in policy
    assert "script-src" not in policy
