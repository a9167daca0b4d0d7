"""Who may use a share's link."""

from __future__ import annotations

import pytest

from orchestrator.runs.sharing import admit, refuse_files


@pytest.mark.parametrize(
    ("visitor", "owner", "visibility", "guests", "admission"),
    [
        ("us", "us", "private", False, "member"),
        ("us", "us", "public", True, "member"),
        ("us", "us", "public", False, "member"),
        ("them", "us", "private", True, "stranger"),
        ("them", "us", "public", False, "stranger"),
        ("them", "us", "public", True, "guest"),
        ("them", None, None, True, "stranger"),
        (None, "us", "public", True, "guest"),
        (None, "us", "public", False, "log-in"),
        (None, "us", "private", True, "log-in"),
        (None, None, None, True, "log-in"),
    ],
)
def test_who_comes_in(visitor, owner, visibility, guests, admission) -> None:
    """Nobody but the team sees the difference between a private link and none."""
    assert admit(visitor, owner, visibility, guests=guests) == admission


def test_guests_name_no_stored_files() -> None:
    """A file's id, alone or in a list, is refused with its input's name; URLs are not."""
    errors = refuse_files({"a": {"file_id": "1"}, "b": [{"file_id": "2"}], "c": "https://x", "d": 3})
    assert [error.path for error in errors] == ["inputs.a", "inputs.b"]
