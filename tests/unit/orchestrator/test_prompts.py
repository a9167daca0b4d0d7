"""Runs in a ComfyUI server's words, and the answers of several executors as one."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from datetime import UTC, datetime

import pytest

from drivers.object_info import pack
from orchestrator.runs import object_info, prompts
from orchestrator.runs.object_info import Answer, union, unpacked
from orchestrator.runs.prompts import Told
from orchestrator.wire import ProgressEvent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = "01a1fddb-9153-7016-a067-11f141b29d4e"


def _kinds(messages) -> list[str]:
    return [name for name, _ in messages]


def test_a_run_is_told_once_from_its_start_to_its_end() -> None:
    """Whatever is told twice or late, a client hears one start and one end."""
    told = Told()
    assert _kinds(prompts.on_status(RUN, "queued", NOW, told, None, {})) == []
    assert _kinds(prompts.on_status(RUN, "running", NOW, told, None, {})) == ["execution_start", "execution_cached"]
    assert _kinds(prompts.on_status(RUN, "running", NOW, told, None, {})) == []
    ui = {"9": {"images": [{"filename": "a.png"}]}}
    assert _kinds(prompts.on_status(RUN, "success", NOW, told, None, ui)) == [
        "executed", "execution_success", "executing",
    ]  # fmt: skip
    assert _kinds(prompts.on_status(RUN, "success", NOW, told, None, ui)) == []
    assert _kinds(prompts.on_progress(ProgressEvent(RUN, 0.5, "9"), NOW, told)) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [("failed", "execution_error"), ("timeout", "execution_error"), ("cancelled", "execution_interrupted")],
)
def test_a_run_that_ends_badly_says_how(status, kind) -> None:
    """Each bad end has its message, then the one that every client waits for."""
    messages = list(prompts.on_status(RUN, status, NOW, Told(), {"message": "no", "node_id": "3"}, {}))
    assert _kinds(messages) == [kind, "executing"]
    assert messages[0][1]["node_id"] == "3"


def test_a_node_is_told_when_it_ends_and_not_again() -> None:
    """Executing, executed, and the state of all; at the end only what was not told, or was told otherwise."""
    told = Told()
    first = list(prompts.on_node(RUN, "3", {"text": ["a"]}, NOW, told))
    assert _kinds(first) == ["execution_start", "execution_cached", "executing", "executed", "progress_state"]
    assert first[3][1] == {"node": "3", "display_node": "3", "output": {"text": ["a"]}, "prompt_id": RUN}
    assert _kinds(prompts.on_progress(ProgressEvent(RUN, 0.1, "3"), NOW, told)) == []
    assert _kinds(prompts.on_progress(ProgressEvent(RUN, 0.1, "4"), NOW, told)) == ["executing", "progress_state"]
    assert _kinds(prompts.on_node(RUN, "4", {"text": ["b"]}, NOW, told)) == ["executed", "progress_state"]
    ui = {"3": {"text": ["a"]}, "4": {"text": ["other"]}, "9": {"images": [{"filename": "a.png"}]}}
    last = list(prompts.on_status(RUN, "success", NOW, told, None, ui))
    assert [data["node"] for name, data in last if name == "executed"] == ["4", "9"]
    assert _kinds(prompts.on_node(RUN, "9", {}, NOW, told)) == []


def test_another_attempt_tells_its_nodes_anew() -> None:
    """What an attempt that was lost had made counts no more."""
    told = Told()
    list(prompts.on_node(RUN, "3", {"text": ["a"]}, NOW, told))
    assert _kinds(prompts.on_status(RUN, "not-started", NOW, told, None, {})) == []
    assert _kinds(prompts.on_node(RUN, "3", {"text": ["a"]}, NOW, told)) == ["executing", "executed", "progress_state"]


def test_progress_moves_from_node_to_node() -> None:
    """`executing` once for each node, `progress` where there are steps, and a state of all that began."""
    told = Told(begun=True)
    first = list(prompts.on_progress(ProgressEvent(RUN, 0.1, "1", step=2, steps=5), NOW, told))
    assert _kinds(first) == ["executing", "progress", "progress_state"]
    assert first[1][1] == {"value": 2, "max": 5, "prompt_id": RUN, "node": "1"}
    assert _kinds(prompts.on_progress(ProgressEvent(RUN, 0.1, "1", step=3, steps=5), NOW, told)) == [
        "progress", "progress_state",
    ]  # fmt: skip
    second = list(prompts.on_progress(ProgressEvent(RUN, 0.5, "2"), NOW, told))
    states = {node_id: state["state"] for node_id, state in second[-1][1]["nodes"].items()}
    assert states == {"1": "finished", "2": "running"}


def test_progress_that_comes_first_begins_the_prompt() -> None:
    """A client hears of the start before anything else, whichever news is here first."""
    told = Told()
    kinds = _kinds(prompts.on_progress(ProgressEvent(RUN, 0.1, "1"), NOW, told))
    assert kinds == ["execution_start", "execution_cached", "executing", "progress_state"]
    assert _kinds(prompts.on_status(RUN, "running", NOW, told, None, {})) == []


def test_previews_are_saved_and_shown_as_sent() -> None:
    """PreviewImage becomes SaveImage on the way in, and itself again on the way out."""
    graph = {"1": {"class_type": "PreviewImage", "inputs": {"images": ["0", 0]}}}
    saved = prompts.saved_previews(graph)
    assert saved["1"]["class_type"] == "SaveImage"
    assert prompts.as_sent(saved) == graph


@pytest.mark.parametrize(
    ("value", "found"),
    [("a.png", True), ("a b/c.webp [input]", True), ("a", False), (".png", False), ("a.", False), ("x\ny.png", False),
     ("a sentence. And more words than an ending has", False)],
)  # fmt: skip
def test_names_of_files_are_told_from_other_texts(value: str, found: bool) -> None:
    """What may name a file has a short ending."""
    assert prompts.file_names({"1": {"inputs": {"image": value}}}) == ({value} if found else set())


@pytest.mark.parametrize("with_metadata", [True, False])
def test_a_preview_is_framed_as_its_client_takes_it(with_metadata: bool) -> None:
    """Event 4 with JSON before the image, or event 1 with the image's type."""
    frame = prompts.preview_frame('a"b', RUN, "image/png", b"PNG", with_metadata=with_metadata)
    kind, number = int.from_bytes(frame[:4], "big"), int.from_bytes(frame[4:8], "big")
    if with_metadata:
        assert (kind, frame[8 + number :]) == (4, b"PNG")
        assert json.loads(frame[8 : 8 + number])["node_id"] == 'a"b'
    else:
        assert (kind, number, frame[8:]) == (1, 2, b"PNG")


def _class(choices: list[str], **more) -> dict:
    return {"input": {"required": {"model": [choices, {}], "new": ["COMBO", {"options": choices}]}}, **more}


def test_a_union_has_every_class_and_every_choice() -> None:
    """Classes of any machine, their lists united in order, and who has them."""
    one = Answer({"Loader": _class(["a", "b"]), "Own": {"input": {}}}, ["alpha"])
    two = Answer({"Loader": _class(["b", "c"])}, ["beta", "gamma"])
    info = union([one, two])
    required = info["Loader"]["input"]["required"]
    assert (required["model"][0], required["new"][1]["options"]) == (["a", "b", "c"], ["a", "b", "c"])
    assert info["Loader"]["availability"] == {"machines": ["alpha", "beta", "gamma"], "of": 3}
    assert info["Own"]["availability"] == {"machines": ["alpha"], "of": 3}


def test_uploads_stand_where_files_may_be_uploaded() -> None:
    """A list of uploaded files is the sender's own; the machine's is not told."""
    declared = {"LoadImage": {"input": {"required": {"image": [["machine.png"], {"image_upload": True}]}}}}
    packed = pack(declared)
    info = json.loads(zlib.decompress(unpacked(packed.hash, packed.body)))
    assert info["LoadImage"]["input"]["required"]["image"][0] == []
    mine = object_info.with_uploads(info, ["mine.png"])
    assert mine["LoadImage"]["input"]["required"]["image"][0] == ["mine.png"]


@pytest.mark.parametrize(
    "body",
    [b"no zlib", zlib.compress(b"[]"), zlib.compress(b"{}")[:-1], zlib.compress(b"{")],
)
def test_what_is_not_what_its_hash_says_is_not_kept(body: bytes) -> None:
    """Cut off, not compressed, not an object, or another content: refused."""
    assert unpacked(hashlib.sha256(b"[]").hexdigest(), base64.b64encode(body).decode()) is None
    assert unpacked("00" * 32, base64.b64encode(zlib.compress(b"{}")).decode()) is None


@pytest.mark.parametrize(
    ("graph", "kind"),
    [
        ({"1": {"inputs": {}}}, "invalid_prompt"),
        ({"1": {"class_type": "Nope"}}, "invalid_prompt"),
        ({"1": {"class_type": "Loader"}}, "prompt_no_outputs"),
        ({"1": {"class_type": "Save"}}, None),
    ],
)
def test_a_graph_that_cannot_begin_is_named(graph, kind) -> None:
    """ComfyUI's own names for it; where nothing is known of machines nothing is refused."""
    info = {"Loader": {}, "Save": {"output_node": True}}
    why = object_info.why_refused(graph, info)
    assert (why and why[0]) == kind
    unknown = object_info.why_refused(graph, {})
    assert (unknown is None) == ("class_type" in graph["1"])


def test_only_the_targets_are_run() -> None:
    """Other output nodes are left out; what is no output stays."""
    graph = {"1": {"class_type": "Loader"}, "2": {"class_type": "Save"}, "3": {"class_type": "Save"}}
    assert set(object_info.only(graph, ["3"], {"Loader": {}, "Save": {"output_node": True}})) == {"1", "3"}
