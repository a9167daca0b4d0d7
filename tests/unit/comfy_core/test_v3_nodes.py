"""The V3 node protocol: types, schemas, the view in V1 words, clones for one call, and what `execute` may return."""

from __future__ import annotations

import asyncio
import inspect
import json
from enum import Enum
from typing import Any

import pytest

from comfy_core.errors import NodeFault
from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.v3 import io
from comfy_core.v3.slot import TypeName


class Sizes(Enum):
    SMALL = "s"
    LARGE = "l"


def options(declared: io.Input) -> dict[str, Any]:
    """What clients are told of one input."""
    told = io.Schema(node_id="N", inputs=[declared]).input_types()
    return dict((told["required"] or told["optional"])[declared.id][1])


class Doubled(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Doubled",
            display_name="Twice",
            category="tests",
            inputs=[io.Int.Input("value", default=1, min=0), io.Image.Input("image", optional=True, lazy=True)],
            outputs=[io.Int.Output(display_name="twice"), io.Custom("FOO").Output(is_output_list=True)],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, value: int, image: Any = None) -> io.NodeOutput:
        return io.NodeOutput(value * 2, [cls.hidden.unique_id])


def answering(answer: Any, *, graphs: bool = False, outputs: int = 1) -> type[io.ComfyNode]:
    """A node class whose `execute` returns this."""

    class Answering(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            given: list[io.Output] = [io.Int.Output() for _ in range(outputs)]
            return io.Schema(node_id="Answering", outputs=given, enable_expand=graphs)

        @classmethod
        def execute(cls) -> Any:
            return answer

    return Answering


def test_a_schema_reads_as_a_v1_class() -> None:
    """2.10.6: the attributes that V1 code asks for follow from the schema."""
    assert Doubled.RETURN_TYPES == ["INT", "FOO"]
    assert Doubled.RETURN_NAMES == ["twice", "FOO"]
    assert Doubled.OUTPUT_IS_LIST == [False, True]
    assert (Doubled.OUTPUT_NODE, Doubled.INPUT_IS_LIST, Doubled.CATEGORY) == (True, False, "tests")
    assert (Doubled.FUNCTION, Doubled.NOT_IDEMPOTENT, Doubled.API_NODE) == ("EXECUTE_NORMALIZED", False, False)
    assert Doubled.INPUT_TYPES() == {
        "required": {"value": ("INT", {"default": 1, "min": 0})},
        "optional": {"image": ("IMAGE", {"lazy": True})},
        "hidden": {"unique_id": ("UNIQUE_ID",), "prompt": ("PROMPT",), "extra_pnginfo": ("EXTRA_PNGINFO",)},
    }


def test_outputs_without_id_get_one() -> None:
    """2.10.3: the id names slot and type."""
    assert [output.id for output in Doubled.GET_SCHEMA().outputs] == ["_0_INT_", "_1_FOO_"]


def test_flags_imply_hidden_inputs_once() -> None:
    """2.10.3: API and output nodes are given keys, prompt and workflow; what is listed already is not listed twice."""
    schema = io.Schema(node_id="N", hidden=[io.Hidden.prompt], is_api_node=True, is_output_node=True)
    schema.finalize()
    assert list(schema.input_types()["hidden"]) == [
        "prompt",
        "auth_token_comfy_org",
        "api_key_comfy_org",
        "extra_pnginfo",
    ]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([io.Int.Input("a"), io.Float.Input("a")], []),
        ([], [io.Int.Output("a"), io.Int.Output("a")]),
        ([io.Int.Input("a")], [io.Int.Output("a")]),
    ],
)
def test_an_id_stands_for_one_slot(inputs: list[io.Input], outputs: list[io.Output]) -> None:
    """2.10.3: two slots of one id are refused, naming the id."""
    with pytest.raises(NodeFault, match="ids a more than once"):
        io.Schema(node_id="N", inputs=inputs, outputs=outputs).validate()


def test_a_class_must_define_what_is_called() -> None:
    """A class without execute, or with something else for a schema, is named in the error."""

    class Idle(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(node_id="Idle")

    with pytest.raises(NodeFault, match="Idle does not define execute"):
        Idle.GET_SCHEMA()
    wrong = type("Wrong", (Idle,), {"execute": classmethod(print), "define_schema": classmethod(lambda cls: {})})
    with pytest.raises(NodeFault, match="Wrong returned dict"):
        wrong.GET_SCHEMA()


def test_a_base_class_without_schema_can_be_looked_at() -> None:
    """What depends on a schema is simply not there, so that packs may inspect their own base classes."""
    assert not hasattr(io.ComfyNode, "RETURN_TYPES")
    names = dict(inspect.getmembers(type("PackBase", (io.ComfyNode,), {})))
    assert names["FUNCTION"] == "EXECUTE_NORMALIZED"


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (io.Int.Input("a"), {}),
        (
            io.Int.Input("a", default=0, step=2, control_after_generate=True, display_mode=io.NumberDisplay.slider),
            {"default": 0, "step": 2, "control_after_generate": True, "display": "slider"},
        ),
        (io.Float.Input("a", min=0.0, max=1.0, round=0.01), {"min": 0.0, "max": 1.0, "round": 0.01}),
        (
            io.Boolean.Input("a", default=False, label_on="y", label_off="n", force_input=True),
            {"default": False, "label_on": "y", "label_off": "n", "forceInput": True},
        ),
        (
            io.String.Input("a", placeholder="p", dynamic_prompts=True),
            {"multiline": False, "placeholder": "p", "dynamicPrompts": True},
        ),
        (
            io.Combo.Input("a", options=Sizes, default=Sizes.LARGE),
            {"multiselect": False, "options": ["s", "l"], "default": "l"},
        ),
        (
            io.Combo.Input("a", options=["x"], upload=io.UploadType.image, image_folder=io.FolderType.output),
            {"multiselect": False, "options": ["x"], "image_upload": True, "image_folder": "output"},
        ),
        (
            io.Combo.Input("a", options=[], remote=io.RemoteOptions("/r", True, timeout=5)),
            {
                "multiselect": False,
                "options": [],
                "remote": {"route": "/r", "refresh_button": True, "control_after_refresh": "first", "timeout": 5},
            },
        ),
        (
            io.MultiCombo.Input("a", options=["x"], default=["x"], chip=True),
            {"multiselect": True, "multi_select": True, "options": ["x"], "default": ["x"], "chip": True},
        ),
        (io.Image.Input("a", tooltip="t", extra_dict={"rawLink": True, "x": None}), {"tooltip": "t", "rawLink": True}),
        (io.Webcam.Input("a", socketless=True), {"socketless": True}),
    ],
)
def test_options_are_told_in_v1_words(declared: io.Input, told: dict[str, Any]) -> None:
    """2.10.4: each option has its V1 name, and what was not given is not there."""
    assert options(declared) == told


def test_options_are_told_in_comfyuis_order() -> None:
    """2.10.4: what every input has, what every widget has, what this kind has; ways to compare texts find no change."""
    number = io.Int.Input("n", "Name", True, "tip", True, 3, 1, 9, socketless=True, extra_dict={"own": 1})
    assert list(options(number)) == ["display_name", "tooltip", "lazy", "default", "socketless", "min", "max", "own"]


def test_own_types_have_slots_of_their_own() -> None:
    """2.10.5: a type declared by decorator or by name carries its name on both its slots; its own Input class stays."""

    @io.comfytype(io_type="ZED")
    class Zed:
        Type = int

    @io.comfytype(io_type="WITH")
    class With(io.ComfyTypeIO):
        class Input(io.Input):
            def as_dict(self) -> dict[str, Any]:
                return super().as_dict() | {"extra": 1}

    assert (Zed.Input("z").io_type, Zed.Output().io_type, Zed.Input("z").Type) == ("ZED", "ZED", int)  # type: ignore[attr-defined]
    assert (With.Input("w").io_type, With.Output().io_type) == ("WITH", "WITH")
    assert options(With.Input("w")) == {"extra": 1}
    assert io.Custom("A").Input("a").io_type != io.Custom("B").Input("a").io_type


def test_several_types_are_joined_and_show_their_widget() -> None:
    """2.10.5: a slot of several types names all, the widget's first, and keeps the widget's options under its own."""
    several = io.MultiType.Input(io.Int.Input("x", default=3, tooltip="w"), types=[io.Float, io.Int], tooltip="own")
    assert several.get_io_type() == "INT,FLOAT"
    assert options(several) == {"default": 3, "tooltip": "own", "widgetType": "INT"}
    assert io.MultiType.Input("y", types=[io.Custom("A"), io.Image]).get_io_type() == "A,IMAGE"


def test_slots_of_one_template_take_its_types_and_no_others() -> None:
    """On the wire the name is the front end's; as types of links they compare as what the template allows."""
    numbers = io.MatchType.Template("N", [io.Int, io.Float])
    taken, given = io.MatchType.Input("a", template=numbers), io.MatchType.Output("b", template=numbers)
    assert json.dumps(taken.get_io_type()) == '"COMFY_MATCHTYPE_V3"'
    assert not (io.Int.io_type != taken.get_io_type())  # noqa: SIM202 - how links are checked
    assert not (given.get_io_type() != io.Float.io_type)  # noqa: SIM202
    assert io.Image.io_type != taken.get_io_type()
    assert options(taken) == {"template": {"template_id": "N", "allowed_types": "INT,FLOAT"}}


def test_any_type_differs_from_none() -> None:
    """`*` as a type of a link goes along with every name, whichever side it is on, and with nothing that is no name."""
    anything = io.AnyType.Input("a").get_io_type()
    assert not (anything != "IMAGE")  # noqa: SIM202
    assert not (anything != "IMAGE")  # noqa: SIM202
    assert anything == "*"
    assert TypeName("A,B") != "C"
    assert anything != ["a", "b"]


def test_an_input_grows_within_its_limits() -> None:
    """2.10.5: copies of the template are numbered from 1; those beyond the least number are optional."""
    grown = io.Autogrow.Input("g", template_input=io.Int.Input("n", display_name="N"), min=1, max=3)
    declared = io.Schema(node_id="N", inputs=[grown]).input_types()
    assert list(declared["required"]) == ["n1_$g_ag$"]
    assert list(declared["optional"]) == ["n2_$g_ag$", "n3_$g_ag$"]
    assert declared["required"]["n1_$g_ag$"] == ("INT", {"forceInput": True, "display_name": "N1"})


def test_each_call_has_its_hidden_values() -> None:
    """2.10.2: two clones hold their own values, answer by them, and leave the class as it was."""
    first, second = Doubled.with_hidden({"unique_id": "1"}), Doubled.with_hidden({"unique_id": "2"})
    answers = [getattr(clone, clone.FUNCTION)(value=4).args for clone in (first, second)]
    assert answers == [(8, ["1"]), (8, ["2"])]
    assert Doubled.hidden.unique_id is None
    assert first.hidden.no_such_value is None
    assert first.__name__ == "Doubled"


def test_a_running_node_cannot_change_its_class() -> None:
    """Nothing can be set on or taken from a clone, so calls under way cannot meet there."""
    clone = Doubled.with_hidden({})
    with pytest.raises(AttributeError, match=r"Doubled\.seen cannot be set"):
        clone.seen = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        del clone.hidden
    assert clone is Doubled.with_hidden()


def test_classes_with_a_metaclass_of_their_own_are_cloned() -> None:
    """A node class may be made by any metaclass."""
    counted = type("Counted", (type,), {"__len__": lambda cls: 5})("Special", (Doubled,), {})
    clone = counted.with_hidden({"unique_id": "9"})
    assert len(clone) == 5  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        clone.seen = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "args", "ui"),
    [
        (io.NodeOutput(1, ui={"text": ["t"]}), (1,), {"text": ["t"]}),
        ((1,), (1,), None),
        ({"result": (1,), "ui": {"text": ["t"]}}, (1,), {"text": ["t"]}),
        ({"ui": {"text": ["t"]}}, (), {"text": ["t"]}),
        (None, (), None),
    ],
)
def test_every_shape_of_answer_is_read(answer: Any, args: tuple[Any, ...], ui: Any) -> None:
    """NodeOutput, tuple, dict and None come out as NodeOutput."""
    read = answering(answer).EXECUTE_NORMALIZED()
    assert (read.args, read.ui, read.expand, read.block_execution) == (args, ui, None, None)


def test_outputs_left_out_are_none() -> None:
    """A node that returns fewer values than it declares leaves the others empty."""
    assert answering((7,), outputs=3).EXECUTE_NORMALIZED().args == (7, None, None)


def test_a_blocker_blocks_all() -> None:
    """A bare blocker blocks every output with its message."""
    assert answering(ExecutionBlocker("stop")).EXECUTE_NORMALIZED().block_execution == "stop"


@pytest.mark.parametrize("answer", [5, [1], "x"])
def test_other_answers_are_refused(answer: Any) -> None:
    """What is none of these shapes is named."""
    with pytest.raises(NodeFault, match=f"returned {type(answer).__name__}"):
        answering(answer).EXECUTE_NORMALIZED()


def test_a_graph_must_be_announced() -> None:
    """2.7.6: only a schema with enable_expand may return a graph."""
    graph = {"result": (["1", 0],), "expand": {"1": {"class_type": "X", "inputs": {}}}}
    with pytest.raises(NodeFault, match="enable_expand"):
        answering(graph).EXECUTE_NORMALIZED()
    assert answering(graph, graphs=True).EXECUTE_NORMALIZED().expand == graph["expand"]


def test_coroutines_are_awaited() -> None:
    """An `execute` that is a coroutine function is announced as one and its answer read alike."""

    class Waiting(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(node_id="Waiting", outputs=[io.Int.Output()])

        @classmethod
        async def execute(cls) -> tuple[int]:
            await asyncio.sleep(0)
            return (3,)

    assert Waiting.FUNCTION == "EXECUTE_NORMALIZED_ASYNC"
    assert asyncio.run(Waiting.EXECUTE_NORMALIZED_ASYNC()).args == (3,)


def test_choices_are_read_anew() -> None:
    """What a schema finds, such as files, may change between two readings; flags stay as first read."""
    names = ["a"]

    class Files(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(node_id="Files", inputs=[io.Combo.Input("name", options=list(names))])

        @classmethod
        def execute(cls, name: str) -> None:
            return None

    assert Files.INPUT_TYPES()["required"]["name"][1]["options"] == ["a"]
    names.append("b")
    assert Files.INPUT_TYPES()["required"]["name"][1]["options"] == ["a", "b"]
    assert Files.GET_NODE_INFO_V1()["input"]["required"]["name"][1]["options"] == ["a", "b"]
