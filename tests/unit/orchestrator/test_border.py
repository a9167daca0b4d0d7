"""What comes from outside: cursors, JSON bodies, validation messages, file names, ranges."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.problems import decode, invalid
from orchestrator.errors import ApiProblem, Invalid
from orchestrator.files import clean_content_type, clean_name
from orchestrator.runs.paging import decode_cursor, encode_cursor, page_of
from orchestrator.runs.ranges import RangeNotSatisfiable, wanted_part
from orchestrator.wire import ApiKeyCreate, RunCreate


class _Item(msgspec.Struct):
    id: str


@given(st.uuids())
def test_a_cursor_comes_back(last: UUID) -> None:
    """Encode, decode, the same id."""
    assert decode_cursor(encode_cursor(str(last))) == last


@given(st.text(max_size=40))
def test_a_made_up_cursor_is_refused(text: str) -> None:
    """Any text is refused, the empty one means the first page."""
    if not text:
        assert decode_cursor(text) is None
        return
    with pytest.raises(Invalid):
        decode_cursor(text)


def test_a_page_has_a_cursor_only_when_there_is_more() -> None:
    """limit + 1 items were asked for; the last of those shown is where the next page starts."""
    items = [_Item(str(UUID(int=number))) for number in range(3)]
    assert page_of(items, 3).next_cursor is None
    page = page_of(items, 2)
    assert decode_cursor(page.next_cursor) == UUID(items[1].id)
    assert page.items == items[:2]


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_body_is_a_fault_of_ours(body: bytes) -> None:
    """Any bytes are the Struct asked for, or a 4xx problem."""
    status = 200
    try:
        decode(body, msgspec.json.Decoder(RunCreate))
    except ApiProblem as problem:
        status = problem.status
    assert status in (200, 400, 422)


@pytest.mark.parametrize(
    ("message", "path", "code"),
    [
        ("Object contains unknown field `x`", "x", "unknown_field"),
        ("Object contains unknown field `x` - at `$.inputs`", "inputs.x", "unknown_field"),
        ("Object missing required field `name`", "name", "missing_field"),
        ("Expected `int`, got `str` - at `$.priority`", "priority", "invalid"),
        ("Expected `str`, got `int` - at `$.pool[...]`", "pool[...]", "invalid"),
        ("Expected `str`, got `int` - at `key in $.pool`", "pool", "invalid"),
        ("Number out of range", "", "invalid"),
        ("Invalid enum value 'toaster' - at `$.kind`", "kind", "invalid"),
    ],
)
def test_a_validation_message_becomes_a_path(message: str, path: str, code: str) -> None:
    """The field is named as a JSON path."""
    problem = invalid(message)
    assert [(error.path, error.code) for error in problem.errors] == [(path, code)]


def test_u0000_is_refused_and_a_backslash_before_it_is_not() -> None:
    """The database cannot hold the character; text that merely looks like its escape is fine."""
    decoder = msgspec.json.Decoder(ApiKeyCreate)
    with pytest.raises(ApiProblem):
        decode(rb'{"name": "a\u0000"}', decoder)
    assert decode(rb'{"name": "a\\u0000"}', decoder).name == "a\\u0000"
    with pytest.raises(ApiProblem):
        decode(rb'{"name": "a\\\u0000"}', decoder)


@given(st.text(max_size=300))
def test_a_cleaned_name_is_always_harmless(name: str) -> None:
    """No folder, no control character, never empty, never too long; cleaning twice changes nothing."""
    clean = clean_name(name)
    assert clean
    assert clean not in (".", "..")
    assert not set(clean) & set("/\\\0\r\n")
    assert len(clean) <= 180
    assert clean_name(clean) == clean
    clean.encode()


@pytest.mark.parametrize(
    ("given_type", "name", "kept"),
    [
        ("IMAGE/PNG; charset=x", "a", "image/png"),
        ("", "a.png", "image/png"),
        ("application/octet-stream", "a.webp", "image/webp"),
        ("text/html\r\nX: y", "a", "application/octet-stream"),
        ("nonsense", "a.unheardof", "application/octet-stream"),
    ],
)
def test_content_types_are_cleaned(given_type: str, name: str, kept: str) -> None:
    """Odd ones are guessed anew from the name."""
    assert clean_content_type(given_type, name) == kept


@given(st.text(max_size=20) | st.from_regex(r"bytes=\d{0,5}-\d{0,5}", fullmatch=True), st.integers(0, 1000))
def test_a_range_is_inside_the_file_or_refused(header: str, size: int) -> None:
    """Whatever is asked, the part lies within the file."""
    try:
        part = wanted_part(header, size)
    except RangeNotSatisfiable:
        return
    assert 0 <= part.start <= part.end <= size
    assert part.partial or (part.start, part.end) == (0, size)
