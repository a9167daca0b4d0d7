"""The queue and the history: what is kept, for how long, and how much of it."""

from __future__ import annotations

import json

import pytest

from comfy_core import queue as queues
from comfy_core.errors import QueueFull
from comfy_core.queue import History, PromptQueue


def history(entries: int, at_most: int = 100, bytes_at_most: int = 1 << 20, padding: int = 0) -> History:
    kept = History(at_most, bytes_at_most)
    for number in range(entries):
        kept.put(f"p{number}", json.dumps([number, "x" * padding]), {"outputs": {}, "status": {"n": number}})
    return kept


def test_an_entry_comes_back_as_it_was_put() -> None:
    """The prompt's own text and the rest make one object; what JSON does not have is written as Python shows it."""
    kept = History()
    kept.put("a", '[1, "é"]', {"outputs": {"o": {"x": [{1}, 1j]}}})
    assert kept.get("a") == {"a": {"prompt": [1, "é"], "outputs": {"o": {"x": [[1], "1j"]}}}}
    assert kept.get("b") == {}
    assert json.loads(kept.window_text(None)) == kept.window(None)


@pytest.mark.parametrize(
    ("most", "offset", "expected"),
    [(None, -1, [0, 1, 2, 3, 4]), (2, -1, [3, 4]), (2, 1, [1, 2]), (9, 3, [3, 4]), (None, 3, [3, 4]), (0, 0, [])],
)
def test_windows(most: int | None, offset: int, expected: list[int]) -> None:
    """The last ones without an offset, else from the offset on; the text says the same."""
    kept = history(5)
    names = [f"p{number}" for number in expected]
    assert list(kept.window(most, offset)) == names
    assert list(json.loads(kept.window_text(most, offset))) == names


def test_the_oldest_go_when_there_are_too_many_or_too_large_ones() -> None:
    """By number, by bytes, and the newest stays although it is larger than all that is allowed."""
    assert list(history(5, at_most=3).window(None)) == ["p2", "p3", "p4"]
    assert list(history(50, bytes_at_most=5000, padding=1000).window(None)) == ["p46", "p47", "p48", "p49"]
    assert list(history(3, bytes_at_most=10, padding=1000).window(None)) == ["p2"]


def test_long_entries_are_packed() -> None:
    """Ten thousand nodes that say the same take little, so more runs are kept; what comes back is what was put."""
    said = {"outputs": {str(number): {"text": ["the same"]} for number in range(10_000)}}
    kept = History(bytes_at_most=4 * len(json.dumps(said)) // 10)
    for number in range(4):
        kept.put(f"p{number}", json.dumps([number, "é"]), said)
    expected = {f"p{number}": {"prompt": [number, "é"]} | said for number in range(4)}
    assert kept.window(None) == json.loads(kept.window_text(None)) == expected


def test_what_was_deleted_makes_room_again() -> None:
    """Deleting, replacing and clearing give their bytes back."""
    kept = history(3, bytes_at_most=3500, padding=1000)
    kept.delete(["p0", "p1", 5])
    kept.put("p2", json.dumps("x" * 1000), {"again": True})
    kept.put("p3", json.dumps("x" * 1000), {})
    kept.put("p4", json.dumps("x" * 1000), {})
    assert list(kept.window(None)) == ["p2", "p3", "p4"]
    kept.clear()
    assert kept.window(None) == {}


def put(queue: PromptQueue, number: int, size: int = 0) -> None:
    queue.put(number, f"p{number}", {"a": {}}, {}, ["a"], size)
    queue.announce()


def test_a_queue_that_is_full_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by bytes; there is room again when one is taken or deleted."""
    monkeypatch.setattr(queues, "WAITING_AT_MOST", 3)
    monkeypatch.setattr(queues, "WAITING_BYTES", 100)
    queue = PromptQueue(lambda: None)
    for number in range(3):
        put(queue, number)
    with pytest.raises(QueueFull, match="3 prompts wait"):
        put(queue, 3)
    assert queue.take() is not None
    put(queue, 3, 60)
    queue.delete(["p1"])
    with pytest.raises(QueueFull):
        put(queue, 4, 60)
    queue.clear()
    put(queue, 4, 60)
    following = queue.following()
    assert following is not None
    assert following.prompt_id == "p4"
