"""The messages of whole prompts, as ComfyUI 0.3.64 sent them when it ran the same graphs one after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.loops import nodes
from tests.conformance.stage import Stage

SAMPLES = Path(__file__).parents[3] / "shared/samples/comfyui"
PROMPTS = {name: name for name in ("error", "blocked", "expand", "async", "list")} | {"cached": "list"}
"""Recording -> workflow, in the order in which they were run: what one leaves behind is cached in the next."""
PASSED_OVER = ("status", "progress", "progress_state")
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the recordings are not here")


def recorded(name: str) -> list[tuple[str, Any]]:
    """(event, data) of the messages in the stream of one prompt."""
    lines = [json.loads(line) for line in (SAMPLES / f"ws_capture_{name}.jsonl").read_text().splitlines()]
    return [(line["type"], line["data"]) for line in lines if "type" in line]


def told(messages: list[tuple[str, Any]]) -> list[Any]:
    """What a client goes by: event, node, the node that lights up, what was done, how much is shown."""
    out: list[Any] = []
    for event, data in messages:
        if event in PASSED_OVER or (event == "executing" and data["node"] is None):
            continue
        node = data.get("node", data.get("node_id"))
        shown = len(data["output"]["images"]) if event == "executed" else None
        cached = sorted(data["nodes"]) if event == "execution_cached" else None
        out.append((event, node, data.get("display_node"), data.get("executed"), shown, cached))
    return out


def last_states(messages: list[tuple[str, Any]]) -> dict[str, Any]:
    """Who every node is and how far, at the end."""
    facts = ("state", "display_node_id", "parent_node_id", "real_node_id")
    nodes = [data["nodes"] for event, data in messages if event == "progress_state"][-1]
    return {node_id: [state[fact] for fact in facts] for node_id, state in nodes.items()}


def test_streams_are_those_of_comfyui() -> None:
    """1.5 order, 2.3.2, 2.5.4, 2.6.2, 2.7.1, 2.8.8: an error, a blocker, a loop, a wait, a list, and the same again."""
    stage = Stage(**nodes())
    for name, workflow in PROMPTS.items():
        played = stage.play(json.loads((SAMPLES / f"wf_{workflow}.json").read_text()))
        theirs = recorded(name)
        assert told(played.messages) == told(theirs), name
        assert set(played.messages[0][1]) == {"prompt_id", "timestamp"}
        if name != "error":
            assert last_states(played.messages) == last_states(theirs), name
        else:
            theirs_at_end, ours = last_states(theirs), last_states(played.messages)
            assert {key: value[1:] for key, value in ours.items()} == {k: v[1:] for k, v in theirs_at_end.items()}
            assert ours["4"][0] == "error"


@pytest.mark.parametrize("name", ["error", "blocked"])
def test_messages_about_errors_have_the_same_fields(name: str) -> None:
    """1.5 execution_error: an error and a blocked node, field by field; ours says when, and the memory it took, too."""
    played = Stage(**nodes()).play(json.loads((SAMPLES / f"wf_{name}.json").read_text()))
    ours = played.of("execution_error")[0]
    (theirs,) = [data for event, data in recorded(name) if event == "execution_error"]
    assert set(theirs) <= set(ours)
    assert set(ours) - set(theirs) <= {"peak_ram", "peak_vram", "timestamp"}
    for field in ("node_id", "node_type", "exception_type"):
        assert ours[field] == theirs[field]
    assert set(ours["current_inputs"]) == set(theirs["current_inputs"])
    assert sorted(ours["current_outputs"]) == sorted(theirs["current_outputs"])
    assert ours["exception_message"].endswith("\n") == theirs["exception_message"].endswith("\n")
