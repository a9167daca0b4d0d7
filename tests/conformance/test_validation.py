"""2.1: which prompts are queued, which of their outputs run, and what is said about the others. No server."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from comfy_core.v3 import io
from tests.conformance.nodes import ANY, INT, Anything, node
from tests.conformance.stage import Played, Stage, n, shown


def errors_of(played: Played, node_id: str) -> list[tuple[str, str]]:
    """(type, details) of what is wrong with a node."""
    return sorted((one["type"], one["details"]) for one in played.verdict.node_errors[node_id]["errors"])


def refusal(played: Played) -> tuple[str, str]:
    """(type, details) of why the prompt is refused as a whole."""
    assert played.verdict.error is not None
    assert set(played.verdict.error) == {"type", "message", "details", "extra_info"}
    return played.verdict.error["type"], played.verdict.error["details"]


@pytest.mark.parametrize(
    ("prompt", "kind", "details"),
    [
        ({}, "prompt_no_outputs", ""),
        ({"a": n("OddInt", value=1)}, "prompt_no_outputs", ""),
        ({"a": n("OddInt", value=1), "b": {"inputs": {}}, "c": n("Nope")}, "invalid_prompt", "Node ID '#b'"),
        ({"c": n("Nope"), "b": {"inputs": {}}}, "invalid_prompt", "Node ID '#c'"),
        ({"s": n("OddShow"), "c": n("Nope")}, "invalid_prompt", "Node ID '#c'"),
    ],
)
def test_shape_comes_before_outputs_and_these_before_inputs(prompt: Any, kind: str, details: str) -> None:
    """2.1.1: the first node in the prompt's order that is none is named, and nothing else."""
    played = Stage().play(prompt)
    assert refusal(played) == (kind, details)
    assert played.verdict.node_errors == {}


def test_targets_choose_among_the_outputs() -> None:
    """2.1.1: only those asked for are looked at and run; when they select none, there is no output."""
    prompt = {"i": n("OddInt", value=1), "s": n("OddShow", v=["i", 0]), "bad": n("OddShow")}
    stage = Stage()
    assert stage.play(prompt, ["s"]).verdict.good == ["s"]
    assert stage.play(prompt, ["s"]).verdict.node_errors == {}
    assert refusal(stage.play(prompt, ["i", "nobody"])) == ("prompt_no_outputs", "")


def test_each_node_is_asked_once_however_many_outputs_hang_on_it() -> None:
    """2.1.1: one memory for all outputs of a prompt."""
    asked: Counter[str] = Counter()

    def look(cls: type, v: int) -> bool:
        asked["VALIDATE_INPUTS"] += 1
        return True

    stage = Stage(Asked=node(lambda v: (v,), {"v": INT}, VALIDATE_INPUTS=classmethod(look)))
    prompt = {"a": n("Asked", v=1)} | {f"s{i}": n("OddShow", v=["a", 0]) for i in range(5)}
    assert sorted(stage.play(prompt).verdict.good) == ["s0", "s1", "s2", "s3", "s4"]
    assert asked["VALIDATE_INPUTS"] == 1


def test_good_outputs_run_beside_bad_ones() -> None:
    """2.1.2: accepted, and the bad one's node is reported with the outputs that hang on it."""
    prompt = shown(i=n("OddInt", value=1)) | {
        "bad": n("OddInt", value=5000),
        "b1": n("OddShow", v=["bad", 0]),
        "b2": n("OddShow", v=["bad", 0]),
    }
    played = Stage().play(prompt)
    assert (played.verdict.error, played.verdict.good, played.shown) == (None, ["s"], {"s": ["1"]})
    assert list(played.verdict.node_errors) == ["bad"]
    report = played.verdict.node_errors["bad"]
    assert (sorted(report["dependent_outputs"]), report["class_type"]) == (["b1", "b2"], "OddInt")
    assert errors_of(played, "bad") == [("value_bigger_than_max", "value")]
    assert sorted(played.ran) == ["i", "s"]


def test_a_prompt_without_a_good_output_says_what_its_outputs_lack() -> None:
    """2.1.2, 1.4 prompt: the details are the outputs' own errors, a line each."""
    played = Stage().play({"s": n("OddShow")})
    assert refusal(played) == ("prompt_outputs_failed_validation", "Required input is missing: v")


def test_what_must_be_there() -> None:
    """2.1.3: required ones, lazy or not; not optional, hidden or undeclared ones."""
    stage = Stage(Hides=node(lambda v, h=None: (h,), {"v": INT}, hidden={"h": "PROMPT"}))
    missing = stage.play(shown(l=n("OddLazy pick", which=True, a=1)))
    assert errors_of(missing, "l") == [("required_input_missing", "b")]
    assert stage.play(shown(o=n("OddOptional"))).shown == {"s": ["(None, None)"]}
    assert stage.play(shown(h=n("Hides", v=1, h=["nobody", 77], more={"un": "declared"}))).verdict.good == ["s"]


def test_links_have_two_places() -> None:
    """2.1.4: any other list is no link, and is refused with what was received."""
    for value in ([], ["i"], ["i", 0, 0], [1, 2, 3]):
        played = Stage().play({"i": n("OddInt", value=1), "s": n("OddShow", v=value)})
        assert errors_of(played, "s") == [("bad_linked_input", "v")]
        assert played.verdict.node_errors["s"]["errors"][0]["extra_info"]["received_value"] == value


def test_types_of_links_are_compared() -> None:
    """2.1.4: a text is no number; the error names both types and the link."""
    texts = node(lambda: ("t",), {}, ("STRING",))
    played = Stage(Texts=texts).play(shown(t=n("Texts"), a=n("OddAdd", a=["t", 0], b=1)))
    assert errors_of(played, "a") == [("return_type_mismatch", "a, received_type(STRING) mismatch input_type(INT)")]
    extra = played.verdict.node_errors["a"]["errors"][0]["extra_info"]
    assert (extra["received_type"], extra["linked_node"]) == ("STRING", ["t", 0])


def test_a_class_that_looks_at_types_decides_on_them_itself() -> None:
    """2.1.4, 2.1.8: with `input_types` in its validation nothing is compared, and it sees what links bring."""
    seen: list[Any] = []

    def look(cls: type, input_types: dict[str, Any]) -> bool:
        seen.append(input_types)
        return input_types.get("v") != "STRING"

    picky = node(lambda v, w=0: (v,), {"v": INT}, optional={"w": INT}, VALIDATE_INPUTS=classmethod(look))
    stage = Stage(Picky=picky, Texts=node(lambda: ("t",), {}, ("STRING",)), Odd=node(lambda: (1.5,), {}, ("FLOAT",)))
    assert stage.play(shown(t=n("Odd"), p=n("Picky", v=["t", 0], w=3))).shown == {"s": ["1.5"]}
    refused = stage.play(shown(t=n("Texts"), p=n("Picky", v=["t", 0])))
    assert errors_of(refused, "p") == [("custom_validation_failed", "input_types")]
    assert seen == [{"v": "FLOAT"}, {"v": "STRING"}]


def test_trouble_further_up_is_told_where_it_is() -> None:
    """2.1.4: what is linked to a bad node has no errors of its own."""
    played = Stage().play(shown(a=n("OddInt", value="x"), b=n("OddPass", v=["a", 0]), c=n("OddPass", v=["b", 0])))
    assert list(played.verdict.node_errors) == ["a"]
    assert refusal(played) == ("prompt_outputs_failed_validation", "")


@pytest.mark.parametrize(
    ("gives", "takes", "fits"),
    [
        ("INT", "INT", True),
        ("INT", "FLOAT", False),
        ("INT", "FLOAT,INT", True),
        ("INT, FLOAT", "STRING ,FLOAT", True),
        ("INT,FLOAT", "STRING,IMAGE", False),
        (ANY, "IMAGE", True),
        ("IMAGE", Anything("anything"), True),
        ("IMAGE", "*", True),
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["a"], False),
        ("STRING", ["a", "b"], False),
        (["a", "b"], "COMBO", False),
    ],
)
def test_which_types_fit(gives: Any, takes: Any, fits: bool) -> None:
    """2.1.5: equal, unequal to nothing, or with a name in common; a list of choices fits its equal alone."""
    stage = Stage(Gives=node(lambda: ("a",), {}, (gives,)), Takes=node(lambda v: (v,), {"v": (takes, {})}))
    played = stage.play(shown(g=n("Gives"), t=n("Takes", v=["g", 0])))
    assert (played.verdict.good == ["s"]) is fits
    if not fits:
        assert played.verdict.node_errors["t"]["errors"][0]["type"] == "return_type_mismatch"


def test_constants_become_what_is_declared() -> None:
    """2.1.6: the prompt holds the converted values; a wrapped list is a value and no link."""
    kinds = {"i": "INT", "f": "FLOAT", "t": "STRING", "b": "BOOLEAN", "w": "LIST"}
    every = node(lambda **given: (given,), {name: (kind, {}) for name, kind in kinds.items()})
    prompt = shown(e=n("Every", i="12", f="2", t=3, b="x", w={"__value__": ["i", 0]}))
    played = Stage(Every=every).play(prompt)
    assert prompt["e"]["inputs"] == {"i": 12, "f": 2.0, "t": "3", "b": True, "w": ["i", 0]}
    assert [type(value) for value in prompt["e"]["inputs"].values()] == [int, float, str, bool, list]
    assert played.verdict.good == ["s"]
    assert Stage(Every=every).play(shown(e=n("Every", i=2.9, f=True, t=None, b=0, w=1))).verdict.good == ["s"]


def test_constants_of_other_types_are_not_looked_at() -> None:
    """2.1.6: a number for a picture is found out when the node runs."""
    stage = Stage(Looks=node(lambda v: (v.shape,), {"v": ("IMAGE", {})}))
    played = stage.play(shown(k=n("Looks", v=5)))
    assert played.verdict.good == ["s"]
    assert (played.result.status, played.error["exception_type"]) == ("error", "AttributeError")


def test_ranges_and_choices() -> None:
    """2.1.7, 1.4 nodes: least and most are allowed; of long lists only the length is told."""
    bounds = {"v": ("FLOAT", {"min": 1, "max": 2}), "c": (["a", 2], {}), "l": (list(range(30)), {})}
    stage = Stage(Bound=node(lambda **given: (0,), bounds))
    for v in (1, 2):
        assert stage.play(shown(b=n("Bound", v=v, c=2, l=29))).verdict.good == ["s"]
    played = stage.play(shown(b=n("Bound", v=2.5, c="z", l=30)))
    assert errors_of(played, "b") == [
        ("value_bigger_than_max", "v"),
        ("value_not_in_list", "c: 'z' not in ['a', 2]"),
        ("value_not_in_list", "l: '30' not in (list of length 30)"),
    ]
    assert errors_of(stage.play(shown(b=n("Bound", v=0, c=2, l=1))), "b") == [("value_smaller_than_min", "v")]


@pytest.mark.parametrize("takes_all", [False, True])
def test_a_class_that_validates_an_input_answers_for_it(takes_all: bool) -> None:
    """2.1.7: neither range nor choice is checked for inputs named by VALIDATE_INPUTS, or for all with **kwargs."""

    def one(cls: type, v: int) -> bool:
        return True

    def every(cls: type, **given: Any) -> bool:
        return True

    look = classmethod(every if takes_all else one)
    bound = node(lambda **given: (0,), {"v": INT, "c": (["a"], {})}, VALIDATE_INPUTS=look)
    played = Stage(Bound=bound).play(shown(b=n("Bound", v=5000, c="z")))
    assert (played.verdict.good == ["s"]) is takes_all
    if not takes_all:
        assert errors_of(played, "b") == [("value_not_in_list", "c: 'z' not in ['a']")]


def test_choices_of_v3_classes_are_their_own_business() -> None:
    """2.1.7: a COMBO with options takes any text here, as this version of ComfyUI has it."""

    class Chooses(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            choice = io.Combo.Input("c", options=["a", "b"])
            return io.Schema(node_id="Chooses", inputs=[choice], outputs=[io.String.Output()])

        @classmethod
        def execute(cls, c: str) -> io.NodeOutput:
            return io.NodeOutput(c)

    assert Stage(Chooses=Chooses).play(shown(c=n("Chooses", c="nope"))).shown == {"s": ["nope"]}


def test_what_a_class_is_told_when_it_validates() -> None:
    """2.1.8: the inputs it names, None for a linked one; all that are declared when it takes **kwargs."""
    seen: list[Any] = []

    def some(cls: type, a: int, b: Any) -> bool:
        seen.append((a, b))
        return True

    def every(cls: type, **given: Any) -> bool:
        seen.append(given)
        return True

    inputs = {"a": INT, "b": INT, "c": INT}
    stage = Stage(
        Some=node(lambda **given: (0,), inputs, VALIDATE_INPUTS=classmethod(some)),
        Every=node(lambda **given: (0,), inputs, VALIDATE_INPUTS=classmethod(every)),
    )
    for class_type in ("Some", "Every"):
        stage.play(shown(i=n("OddInt", value=1), x=n(class_type, a="2", b=["i", 0], c=3, d=4)))
    assert seen == [(2, None), {"a": 2, "b": None, "c": 3}]


@pytest.mark.parametrize(
    ("kind", "details"),
    [("false", "v"), ("text", "v - odd"), ("none", "v - None"), ("number", "v - 1"), ("list", "v - ['x']")],
)
def test_only_true_is_a_yes(kind: str, details: str) -> None:
    """2.1.8, 1.4 nodes: a text is the reason; False has none."""
    played = Stage().play(shown(v=n(f"OddValid {kind}", v=1)))
    assert errors_of(played, "v") == [("custom_validation_failed", details)]


def test_a_no_is_told_of_every_input_that_was_passed() -> None:
    """2.1.8: one error per name; a class that is asked only after its inputs are sound is not asked in vain."""
    asked: list[int] = []

    def look(cls: type, a: int, b: int) -> str:
        asked.append(a)
        return "no"

    both = node(lambda **given: (0,), {"a": INT, "b": INT, "c": INT}, VALIDATE_INPUTS=classmethod(look))
    played = Stage(Both=both).play(shown(x=n("Both", a=1, b=2, c=3)))
    assert errors_of(played, "x") == [("custom_validation_failed", "a - no"), ("custom_validation_failed", "b - no")]
    Stage(Both=both).play(shown(x=n("Both", a=1, b="x", c=3)))
    assert asked == [1]


def test_circles_are_refused_and_leave_others_alone() -> None:
    """2.1.9: however long, and an output beside the circle runs."""
    ring = {str(i): n("OddPass", v=[str((i + 1) % 2000), 0]) for i in range(2000)}
    played = Stage().play(ring | {"o": n("OddShow", v=["0", 0])} | shown(i=n("OddInt", value=1)))
    assert (played.verdict.good, played.shown) == (["s"], {"s": ["1"]})
    found = [error["type"] for report in played.verdict.node_errors.values() for error in report["errors"]]
    assert found == ["dependency_cycle"]
    assert Stage().play(ring | {"o": n("OddShow", v=["0", 0])}).verdict.error is not None
