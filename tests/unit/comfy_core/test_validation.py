"""What is refused before it is queued, and in which words. The shapes were recorded from ComfyUI 0.3.64."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

from comfy_core.graph.validate import STEPS_AT_MOST, TOLD_AT_MOST, Verdict, validate
from tests.unit.comfy_core.two_line_nodes import INT, Bench, chain, n

FAILED = {
    "type": "prompt_outputs_failed_validation",
    "message": "Prompt outputs failed validation",
    "details": "",
    "extra_info": {},
}


def check(prompt: dict[str, Any], targets: list[str] | None = None) -> Verdict:
    """Validate against the two-line nodes."""
    return asyncio.run(validate(prompt, Bench().library, targets))


def only_error(verdict: Verdict, node_id: str) -> dict[str, Any]:
    """The single error of the single bad node."""
    assert list(verdict.node_errors) == [node_id]
    (error,) = verdict.node_errors[node_id]["errors"]
    assert isinstance(error, dict)
    return error


def test_a_sound_prompt_is_accepted() -> None:
    """All outputs are good and nothing is reported."""
    verdict = check(chain(2))
    assert (verdict.good, verdict.error, verdict.node_errors) == (["out"], None, {})


def test_constants_are_converted_in_place() -> None:
    """Texts become numbers, numbers texts, and a wrapped value is unwrapped."""
    prompt = {"a": n("One", value="7"), "t": n("Text", text=5), "b": n("One", value={"__value__": 3})}
    prompt |= {"o": n("Show", v=["a", 0]), "p": n("Show", v=["b", 0])}
    prompt["q"] = n("Show", v=2.9)
    assert check(prompt).error is None
    assert (prompt["a"]["inputs"]["value"], prompt["b"]["inputs"]["value"]) == (7, 3)
    assert prompt["q"]["inputs"]["v"] == 2


@pytest.mark.parametrize(
    ("prompt", "kind", "message", "details"),
    [
        ({}, "prompt_no_outputs", "Prompt has no outputs", ""),
        ({"a": n("One", value=1)}, "prompt_no_outputs", "Prompt has no outputs", ""),
        (
            {"a": {"inputs": {}}},
            "invalid_prompt",
            "Cannot execute because a node is missing the class_type property.",
            "Node ID '#a'",
        ),
        (
            {"a": n("Nope")},
            "invalid_prompt",
            "Cannot execute because node Nope does not exist.",
            "Node ID '#a'",
        ),
        ({"a": 3}, "invalid_prompt", "Cannot execute because a node is not an object.", "Node ID '#a'"),
    ],
)
def test_a_prompt_that_is_none(prompt: dict[str, Any], kind: str, message: str, details: str) -> None:
    """Refused as a whole, without node errors."""
    verdict = check(prompt)
    assert verdict.error == {"type": kind, "message": message, "details": details, "extra_info": {}}
    assert verdict.node_errors == {}


@pytest.mark.parametrize(
    ("inputs", "kind", "message", "details", "extra"),
    [
        ({}, "required_input_missing", "Required input is missing", "value", {"input_name": "value"}),
        (
            {"value": "abc"},
            "invalid_input_type",
            "Failed to convert an input value to a INT value",
            "value, abc, invalid literal for int() with base 10: 'abc'",
            {
                "input_name": "value",
                "input_config": ["INT", INT],
                "received_value": "abc",
                "exception_message": "invalid literal for int() with base 10: 'abc'",
            },
        ),
        (
            {"value": -1001},
            "value_smaller_than_min",
            "Value -1001 smaller than min of -1000",
            "value",
            {"input_name": "value", "input_config": ["INT", INT], "received_value": -1001},
        ),
        (
            {"value": 1001},
            "value_bigger_than_max",
            "Value 1001 bigger than max of 1000",
            "value",
            {"input_name": "value", "input_config": ["INT", INT], "received_value": 1001},
        ),
        (
            {"value": ["a", 0, 1]},
            "bad_linked_input",
            "Bad linked input, must be a length-2 list of [node_id, slot_index]",
            "value",
            {"input_name": "value", "input_config": ["INT", INT], "received_value": ["a", 0, 1]},
        ),
    ],
)
def test_an_input_that_is_wrong(
    inputs: dict[str, Any], kind: str, message: str, details: str, extra: dict[str, Any]
) -> None:
    """Type, message, details and extra_info are those that clients know."""
    verdict = check({"a": n("One", **inputs), "o": n("Show", v=["a", 0])})
    assert verdict.error == FAILED
    assert only_error(verdict, "a") == {"type": kind, "message": message, "details": details, "extra_info": extra}
    assert verdict.node_errors["a"]["dependent_outputs"] == ["o"]
    assert verdict.node_errors["a"]["class_type"] == "One"


@pytest.mark.parametrize("value", [math.nan, math.inf, "NaN", "1e999"])
def test_numbers_that_are_none_are_refused(value: Any) -> None:
    """NaN and infinities are no values for an input."""
    assert only_error(check({"o": n("Show", v=value)}), "o")["type"] == "invalid_input_type"


def test_links_of_the_wrong_type_and_choices_not_offered() -> None:
    """return_type_mismatch and value_not_in_list."""
    error = only_error(check({"t": n("Text", text="x"), "o": n("Show", v=["t", 0])}), "o")
    assert error["details"] == "v, received_type(STRING) mismatch input_type(INT)"
    assert error["extra_info"]["linked_node"] == ["t", 0]
    error = only_error(check({"c": n("Choice", c="z"), "o": n("Show", v=["c", 0])}), "c")
    assert error["details"] == "c: 'z' not in ['a', 'b']"


def test_a_link_to_nothing_is_reported_where_it_is() -> None:
    """On an output as exception_during_validation, further up as exception_during_inner_validation."""
    verdict = check({"o": n("Show", v=["zz", 0])})
    error = only_error(verdict, "o")
    assert (error["type"], error["details"]) == ("exception_during_validation", "'zz'")
    assert verdict.error is not None
    assert verdict.error["details"] == "Exception when validating node: 'zz'"
    error = only_error(check({"a": n("Add", a=["zz", 0], b=1), "o": n("Show", v=["a", 0])}), "a")
    assert error["type"] == "exception_during_inner_validation"
    assert error["extra_info"]["linked_node"] == ["a", 0]
    error = only_error(check({"a": n("One", value=1), "o": n("Show", v=["a", 4])}), "o")
    assert (error["details"], error["extra_info"]["exception_type"]) == ("tuple index out of range", "IndexError")


@pytest.mark.parametrize("link", [["a", -1], ["a", "0"], [["a"], 0], [None, 0], ["a", None], [{}, 0]])
def test_links_of_odd_shapes_are_errors_not_crashes(link: list[Any]) -> None:
    """Whatever stands in the two places, the node has an error and the validation goes on."""
    verdict = check({"a": n("One", value=1), "o": n("Show", v=link), "p": n("Show", v=["a", 0])})
    assert verdict.good == ["p"]
    assert only_error(verdict, "o")["type"] == "exception_during_validation"


def test_inputs_that_are_missing_or_no_object() -> None:
    """A node without inputs is an error at that node."""
    verdict = check({"a": {"class_type": "One"}, "o": n("Show", v=["a", 0])})
    assert only_error(verdict, "a")["details"] == "'inputs'"
    verdict = check({"a": {"class_type": "One", "inputs": [1]}, "o": n("Show", v=["a", 0])})
    assert only_error(verdict, "a")["details"] == "inputs is not an object"


def test_the_nodes_own_validation_speaks() -> None:
    """A text from VALIDATE_INPUTS follows the input's name; a linked input is not judged."""
    error = only_error(check({"a": n("Picky", v=3), "o": n("Show", v=["a", 0])}), "a")
    assert (error["type"], error["details"]) == ("custom_validation_failed", "v - too odd")
    linked = {"x": n("One", value=3), "a": n("Picky", v=["x", 0]), "o": n("Show", v=["a", 0])}
    assert check(linked).error is None


def test_good_outputs_run_although_others_are_bad() -> None:
    """Accepted with the errors of the bad ones, which are blamed on the right outputs only."""
    prompt = {"a": n("One", value=9999), "b": n("One", value=1), "m": n("Add", a=["a", 0], b=["b", 0])}
    prompt |= {"p": n("Show", v=["m", 0]), "q": n("Show", v=["a", 0]), "r": n("Show", v=["b", 0])}
    verdict = check(prompt)
    assert (verdict.good, verdict.error) == (["r"], None)
    assert sorted(verdict.node_errors["a"]["dependent_outputs"]) == ["p", "q"]


def test_only_the_targets_asked_for_are_looked_at() -> None:
    """A bad output that is not asked for does not matter; asking for none is no prompt."""
    prompt = {"a": n("One", value=9999), "bad": n("Show", v=["a", 0]), "good": n("Show", v=1)}
    assert check(prompt, ["good"]).node_errors == {}
    refused = check(prompt, [])
    assert refused.error is not None
    assert refused.error["type"] == "prompt_no_outputs"


def test_a_cycle_is_called_a_cycle() -> None:
    """The circle is named at one of its nodes; an output outside of it is good."""
    prompt = {"a": n("Add", a=["c", 0], b=1), "b": n("Add", a=["a", 0], b=1), "c": n("Add", a=["b", 0], b=1)}
    prompt |= {"o": n("Show", v=["c", 0]), "free": n("Show", v=1)}
    verdict = check(prompt)
    assert verdict.good == ["free"]
    error = only_error(verdict, "c")
    assert (error["type"], error["details"]) == ("dependency_cycle", "c -> b -> a -> c")
    assert verdict.node_errors["c"]["dependent_outputs"] == ["o"]
    own = check({"o": n("Show", v=["o", 0])})
    assert own.good == []


def told(verdict: Verdict) -> int:
    """Entries of (node, output that depends on it)."""
    return sum(len(report["dependent_outputs"]) for report in verdict.node_errors.values())


@pytest.mark.parametrize("last", [{}, {"v": ["0", 9]}], ids=["chain", "circle"])
def test_wrong_nodes_that_depend_on_each_other_are_told_of_within_limits(last: dict[str, Any]) -> None:
    """Each is an output, wrong and linked to the next: to name all that spoils each would take the square of them."""
    count = 5_000
    prompt = {str(place): n("Show", v=[str(place + 1), 9]) for place in range(count - 1)}
    verdict = check(prompt | {str(count - 1): n("Show", **last)})
    assert (verdict.good, verdict.error is None) == ([], False)
    assert len(verdict.node_errors) == TOLD_AT_MOST
    assert TOLD_AT_MOST <= told(verdict) <= STEPS_AT_MOST + count


def test_many_outputs_of_many_wrong_nodes_are_told_of_within_limits() -> None:
    """Every wrong node is named, with the first of the outputs; a good output runs."""
    prompt: dict[str, Any] = {f"w{place}": n("One", value=9999) for place in range(200)}
    joined = "w0"
    for place in range(1, 200):
        prompt[f"j{place}"] = n("Add", a=[joined, 0], b=[f"w{place}", 0])
        joined = f"j{place}"
    prompt |= {f"o{place}": n("Show", v=[joined, 0]) for place in range(5_000)} | {"good": n("Show", v=1)}
    verdict = check(prompt)
    assert (verdict.good, verdict.error) == (["good"], None)
    assert set(verdict.node_errors) == {f"w{place}" for place in range(200)}
    assert 200 * 100 < told(verdict) <= STEPS_AT_MOST


def test_a_chain_of_outputs_is_spoilt_at_its_root() -> None:
    """However far each is from it, the way there is one step."""
    prompt = chain(1_000, start=9999) | {f"o{place}": n("Show", v=[str(place), 0]) for place in range(1_001)}
    verdict = check(prompt)
    assert list(verdict.node_errors) == ["0"]
    assert told(verdict) == 1_002


def test_a_chain_of_20000_nodes_is_checked_in_a_second_or_two() -> None:
    """No recursion, whether the chain is sound or spoilt at its root."""
    started = time.perf_counter()
    assert check(chain(20_000)).good == ["out"]
    spoilt = check(chain(20_000, start=99_999))
    assert list(spoilt.node_errors) == ["0"]
    assert time.perf_counter() - started < 8
