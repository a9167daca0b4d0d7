"""What an agent does with secrets in its memory: they are hidden in every text, also after they were replaced."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from drivers.wire import Failure, Output
from machine_agent.secrets import HIDDEN, MOST_HIDDEN, Secrets

KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"


def _holding(*values: str) -> Secrets:
    secrets = Secrets()
    assert secrets.take({f"S{number}": value for number, value in enumerate(values)})
    return secrets


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=8), st.text(), st.text())
def test_a_value_is_hidden_wherever_it_stands(value: str, before: str, after: str) -> None:
    """Any value of the shortest length on, between any texts."""
    hidden = _holding(value).hide(before + value + after)
    assert value not in hidden
    assert HIDDEN in hidden


def test_each_line_of_a_value_is_hidden() -> None:
    """A key of several lines, printed line by line, or as its repr."""
    secrets = _holding(KEY)
    assert [secrets.hide(line) for line in KEY.splitlines()] == [HIDDEN] * 4
    for line in (f"the key is {KEY!r}", json.dumps({"printed": KEY})):
        assert "MIIEvQ" not in secrets.hide(line)
    quoted = 'of "quotes" and ☃\tmore'
    for line in (repr(quoted), json.dumps(quoted), json.dumps(quoted, ensure_ascii=False)):
        assert "quotes" not in _holding(quoted).hide(line)


def test_a_longer_value_goes_before_one_within_it() -> None:
    """Nothing of the longer one is left over."""
    assert _holding("abcdefgh", "abcdefgh-and-more").hide("x abcdefgh-and-more y") == f"x {HIDDEN} y"


def test_an_old_value_stays_hidden() -> None:
    """The executor that knows it may still write it; what was hidden longest goes when there are too many."""
    secrets = _holding("the-old-value")
    secrets.take({"S0": "the-new-value"})
    assert secrets.environment == {"S0": "the-new-value"}
    assert secrets.hide("the-old-value, the-new-value") == f"{HIDDEN}, {HIDDEN}"
    secrets.take({f"S{number}": f"value-number-{number:05}" for number in range(MOST_HIDDEN)})
    assert secrets.hide("the-old-value") == "the-old-value"
    assert secrets.hide(f"value-number-{MOST_HIDDEN - 1:05}") == HIDDEN


def test_the_same_again_is_no_change() -> None:
    """An executor is not started anew for nothing."""
    secrets = _holding("abcdefgh")
    assert not secrets.take({"S0": "abcdefgh"})
    assert secrets.take({})
    assert secrets.environment == {}


def test_names_that_are_not_given_away_are_left_out() -> None:
    """Whatever the orchestrator says: no search path, no preloaded library, no NUL that would end the value."""
    secrets = Secrets()
    secrets.take({"LD_PRELOAD": "/tmp/evil.so", "PATH": "/tmp/evil/bin", "lower": "abcdefgh", "NUL": "abcdefgh\0x"})
    assert secrets.environment == {}


def test_failures_outputs_and_log_lines_are_cleaned() -> None:
    """Wherever a value may leave the machine."""
    secrets = _holding("hf_12345678")
    failure = secrets.hide_failure(Failure("node_error", "no hf_12345678", traceback=["at hf_12345678", "x"]))
    assert (failure.message, failure.traceback) == (f"no {HIDDEN}", [f"at {HIDDEN}", "x"])
    (output,) = secrets.hide_outputs([Output("1", "text", data={"text": ["hf_12345678", 1, None]})])
    assert output.data == {"text": [HIDDEN, 1, None]}
    assert secrets(None, "info", {"event": "x", "why": "hf_12345678"}) == {"event": "x", "why": HIDDEN}


def test_keys_that_came_with_a_prompt_are_hidden() -> None:
    """Under names that say so, and long enough to be keys; other texts of a prompt are nobody's secret."""
    secrets = Secrets()
    secrets.hide_keys({"api_key_comfy_org": "comfyui-0123456789abcdef", "token": "short", "note": "n" * 30, "key": 5})
    assert secrets.hide("sent comfyui-0123456789abcdef, short") == "sent ***, short"
    assert secrets.hide("n" * 30) == "n" * 30
    assert secrets.environment == {}
