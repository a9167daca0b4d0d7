"""What classes take, read from an /object_info."""

from __future__ import annotations

from orchestrator.runs.specs import NodeSpec, Widget, specs_of


def test_widgets_come_in_the_editors_order_with_what_it_adds():
    """Required before optional, by input_order where given; a seed brings its control, a picture its button."""
    info = {
        "input": {
            "required": {
                "cfg": ["FLOAT", {"default": 8.0}],
                "model": ["MODEL"],
                "seed": ["INT", {"default": 3}],
                "name": [["a", "b"], {}],
                "image": [["x.png"], {"image_upload": True}],
                "wired": ["INT", {"forceInput": True}],
            },
            "optional": {
                "pick": ["COMBO", {"options": ["u", "v"], "default": "v"}],
                "text": ["STRING", {"multiline": True}],
                "on": ["BOOLEAN", {}],
            },
        },
        "input_order": {"required": ["model", "seed", "cfg", "image", "name", "wired"]},
        "python_module": "custom_nodes.some-pack",
    }
    assert specs_of({"N": info}) == {
        "N": NodeSpec(
            [
                Widget("seed", 3),
                Widget("control_after_generate", "fixed", sent=False),
                Widget("cfg", 8.0),
                Widget("image", "x.png"),
                Widget("name", "a"),
                Widget("upload", None, sent=False),
                Widget("pick", "v"),
                Widget("text", ""),
                Widget("on", False),
            ],
            "some-pack",
        )
    }


def test_what_is_described_strangely_is_passed_over():
    """A pack may describe its nodes as it likes; none keeps the others' from being told."""
    strange = {
        "A": None,
        "B": {"input": []},
        "C": {"input": {"required": {"x": "INT", "y": [], "z": ["INT", None], "w": ["INT", {"default": [1]}]}}},
        "D": {"input": {"required": {"x": ["INT"]}}, "input_order": {"required": ["y", "x"]}, "python_module": 3},
    }
    found = specs_of(strange)
    assert sorted(found) == ["B", "C", "D"]
    assert found["C"].widgets == [Widget("z", 0), Widget("w", None)]
    assert found["D"] == NodeSpec([Widget("x", 0)])
