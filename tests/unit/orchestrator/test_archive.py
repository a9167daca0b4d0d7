"""A version as a zip file, and zip files that somebody else made."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Invalid
from orchestrator.runs.archive import pack, unpack
from orchestrator.wire import WorkflowExport

MOST = 100_000
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.text("äb/..\\", min_size=1, max_size=9), st.dictionaries(st.text("12", min_size=1), JSON), JSON, JSON)
def test_an_archive_comes_back_as_it_went(name: str, api_graph, ui_graph, snapshot) -> None:
    """Whatever the graphs hold; and the same version gives the same bytes."""
    export = WorkflowExport(
        name=name, version=3, comment="c", api_graph=api_graph, ui_graph=ui_graph, snapshot=snapshot
    )
    assert unpack(pack(export), MOST) == export
    assert pack(export) == pack(export)


def _zip(**files: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_json", ".json"), text)
    return buffer.getvalue()


ABOUT = json.dumps({"name": "w"})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cannot be read"),
        (b"PK\x05\x06" + b"\0" * 18, "no export.json"),
        (_zip(other_json="{}"), "no export.json"),
        (_zip(export_json="[]"), "no export.json"),
        (_zip(export_json="{"), "is not JSON"),
        (_zip(export_json='{"name": "w", "strange": 1}'), "strange"),
        (_zip(export_json='{"name": ""}'), "name"),
        (_zip(export_json=ABOUT, workflow_api_json=b'{"a": "' + b"x" * 200_000 + b'"}'), "larger than"),
        (_zip(export_json=ABOUT, workflow_api_json='{"a": "\\u0000"}'), r"U\+0000"),
        (_zip(export_json=ABOUT, workflow_api_json='{"a": NaN}'), "is not JSON"),
        (_zip(export_json=ABOUT, workflow_api_json="[" * 50_000), "is not JSON"),
        (_zip(export_json=ABOUT, workflow_api_json=b"\xff\xfe"), "is not JSON"),
        (_zip(export_json=ABOUT)[:-30], "cannot be read"),
    ],
)
def test_a_bad_archive_is_refused_with_the_reason(data: bytes, says: str) -> None:
    """Broken, empty, too large when unpacked, not JSON, or about something else."""
    with pytest.raises(Invalid, match=says) as refused:
        unpack(data, MOST)
    assert refused.value.code == "bad_archive"


@given(st.data())
def test_damage_is_an_error_of_the_archive(data) -> None:
    """Some bytes of a good archive changed: it is read all the same, or refused, and nothing else happens."""
    good = bytearray(pack(WorkflowExport(name="w", api_graph={"1": {"class_type": "A", "inputs": {"x": "y" * 50}}})))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Invalid):
        assert unpack(bytes(good), MOST).name
