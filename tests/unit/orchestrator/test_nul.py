"""U+0000 taken out of JSON as it comes: nothing else changes, and nothing that was no JSON becomes dangerous."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runs.nul import text_without_nul, without_nul

TEXTS = st.text(alphabet=st.sampled_from(["\0", "\\", "u", "0", '"', "a", "é", "\n"]), max_size=30)


@given(st.dictionaries(TEXTS, st.lists(TEXTS, max_size=3), max_size=3))
def test_only_the_character_is_gone(value: dict[str, list[str]]) -> None:
    """Of every text and name, whatever backslashes stand around it; as bytes and as text."""
    clean = {name.replace("\0", ""): [text.replace("\0", "") for text in texts] for name, texts in value.items()}
    told = json.dumps(value)
    assert json.loads(text_without_nul(told)) == clean
    assert json.loads(without_nul(told.encode())) == clean


@given(TEXTS)
def test_what_is_no_json_holds_none_afterwards_either(noise: str) -> None:
    """Even where taking one out puts another together."""
    for text in (noise, noise.replace("\0", "\\u0000"), "\\u" + noise.replace("\0", "\\u0000") + "0000"):
        left = text_without_nul(text)
        try:
            decoded = json.loads(f'"{left}"')
        except ValueError:
            continue
        assert "\0" not in decoded
