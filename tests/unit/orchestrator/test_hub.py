"""Who watches, what they are given, and how many may."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from orchestrator.errors import TooMany
from orchestrator.live import following
from orchestrator.live.hub import MOST_LOGS, MOST_NODES, Hub, NodeEvent
from orchestrator.wire import LogPart, ProgressEvent, RunEvent

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def log(number: int) -> LogPart:
    """A line of the run r."""
    return LogPart(str(number), "r", "a", NOW, [str(number)])


async def test_ends_of_nodes_come_before_the_end_of_their_run() -> None:
    """To whoever asks for them only, in order, the newest when too many wait."""
    hub = Hub()
    with hub.subscribe("o", nodes=True) as reader, hub.subscribe("o") as other:
        for number in range(MOST_NODES + 1):
            hub.publish("o", NodeEvent("r", str(number), []))
        hub.publish("o", RunEvent("r", 2, "success", NOW))
        seen = [await reader.next(0) for _ in range(MOST_NODES + 1)]
        assert [event.node_id for event in seen[:-1]] == [str(number + 1) for number in range(MOST_NODES)]
        assert isinstance(seen[-1], RunEvent)
        assert isinstance(await other.next(0), RunEvent)


async def test_lines_go_to_those_who_ask_for_them_and_come_before_the_end() -> None:
    """Not to the organisation's watchers, not to a run's that did not ask; the newest when too many wait."""
    hub = Hub()
    with hub.subscribe("o", "r", logs=True) as reader, hub.subscribe("o", "r") as other, hub.subscribe("o") as all_runs:
        for number in range(MOST_LOGS + 5):
            hub.publish("o", log(number))
        hub.publish("o", RunEvent("r", 2, "success", NOW))
        hub.publish("o", ProgressEvent("r", 0.5))
        seen = [await reader.next(0) for _ in range(MOST_LOGS + 2)]
        assert [event.id for event in seen[:MOST_LOGS] if isinstance(event, LogPart)] == [
            str(number) for number in range(5, MOST_LOGS + 5)
        ]
        assert isinstance(seen[MOST_LOGS], RunEvent)
        assert await reader.next(0) is None
        for watcher in (other, all_runs):
            assert isinstance(await watcher.next(0), RunEvent)
            assert isinstance(await watcher.next(0), ProgressEvent)
            assert await watcher.next(0) is None


def test_an_organisation_has_so_many_watchers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next is told when to come again; another organisation is not touched; who leaves makes room."""
    monkeypatch.setattr(following, "MOST_WATCHERS", 3)
    hub = Hub()
    with ExitStack() as stack:
        for number in range(3):
            following.check_room(hub, "o")
            stack.enter_context(hub.subscribe("o", f"r{number}"))
        with pytest.raises(TooMany) as refusal:
            following.check_room(hub, "o")
        assert (refusal.value.code, refusal.value.retry_after_s) == ("too_many_streams", 5)
        following.check_room(hub, "p")
    following.check_room(hub, "o")
    assert hub.watchers("o") == 0
