"""What nodes return, in the shapes that published packs return it in."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_core.graph.node import read as read_class
from comfy_core.graph.returned import merge, read


class Three:
    """Declares three outputs, the second a list."""

    RETURN_TYPES = ("INT", "INT", "INT")
    OUTPUT_IS_LIST = (False, True, False)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        return {"required": {}}

    def go(self) -> None:
        return None


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        ((1,), [[1], [None], [None]]),
        ((1, [2, 3]), [[1], [2, 3], [None]]),
        ((), [[None], [None], [None]]),
        ({"ui": {}}, [[None], [None], [None]]),
        ({"result": (1, [], 3)}, [[1], [], [3]]),
        ((1, [2], 3, 4), [[1], [2], [3]]),
        (None, [[None], [None], [None]]),
    ],
)
def test_what_a_node_leaves_out_is_none(answer: Any, values: list[list[Any]]) -> None:
    """Packs declare an output more than they return, and links to it read None; what is too much is dropped."""
    spec = read_class("Three", Three)
    assert merge(spec, [read(spec, answer)], lambda _: None).values == values
