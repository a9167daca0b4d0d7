"""The plugin's callbacks, folded: in any order, doubled, with pieces missing, they end every run rightly."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.wire import Failure, Output, Timings
from orchestrator.dialects.comfydeploy.callbacks import Callback, progress_of, read
from orchestrator.dialects.comfydeploy.reporting import _decoded
from orchestrator.runs.callbacks import SETTLE_S, UNSURE_S, UPLOAD_S, Facts, Made, Verdict, decide, key_of, merge
from orchestrator.runs.comfyui import from_history, made_by, refusal_of
from tests.comfydeploy_recording import Recorded, cases, history, readdressed

CASES = cases()
PICTURES = {"save": "3", "external": "3"}


def file_id(name: str) -> str:
    return str(UUID(int=sum(name.encode()) * 7919))


def told(case: Recorded) -> list[Facts]:
    """What each callback, each upload and the machine's first answer tell."""
    urls = {name: f"https://fleet/api/view?file={file_id(name)}" for name in case.put}
    facts = [read(msgspec.convert(readdressed(body, "r", urls), Callback)) for body in case.bodies]
    facts += [Facts(uploaded={file_id(name): name}) for name in case.put]
    return [*facts, Facts(failure=refusal_of(case.answer)) if "error" in case.answer else Facts(taken=True)]


def folded(facts: list[Facts]) -> Facts:
    whole = Facts()
    for one in facts:
        whole = merge(whole, one)
    return whole


def right(name: str, verdict: Verdict) -> bool:
    """Whether a case ended as it should."""
    case, failure = CASES[name], verdict.failure
    if case.put:
        wanted = {file_id(one) for one in case.put}
        return verdict.rung == "success" and {output.file_id for output in verdict.outputs} == wanted
    if name == "text_only":
        return (verdict.rung, verdict.outputs) == ("success", [Output("2", "text", data=["a cat"])])
    if name == "node_error":
        return failure is not None and (failure.kind, failure.node_id) == ("bad_graph", "1")
    return failure is not None and (failure.kind, failure.node_id) == ("node_error", "2")


def test_the_recording_is_whole() -> None:
    """Five cases, of which one never reports success and one is refused."""
    assert set(CASES) >= {"save", "text_only", "node_error", "runtime_error"}
    assert len(CASES) == 5
    assert not any(body.get("status") == "success" for body in CASES["text_only"].bodies)


@pytest.mark.parametrize("name", CASES)
def test_each_case_ends_rightly_in_the_recorded_order(name: str) -> None:
    """Once nothing more comes, the verdict is the right one; before that the run never ends in another way."""
    facts = Facts()
    for one in told(CASES[name]):
        facts = merge(facts, one)
        verdict = decide(facts, 0.0)
        assert verdict.rung in ("queued", "started", "running", "uploading") or right(name, verdict)
    assert right(name, decide(facts, SETTLE_S))


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(sorted(CASES)), data=st.data())
def test_each_case_ends_rightly_shuffled_and_doubled(name: str, data: st.DataObject) -> None:
    """The order and the repetition of what is told make no difference, and no run ends wrongly on the way."""
    facts = told(CASES[name])
    order = data.draw(st.permutations([*facts, *data.draw(st.lists(st.sampled_from(facts)))]))
    known = Facts()
    for one in order:
        known = merge(known, one)
        verdict = decide(known, 0.0)
        # a refusal's texts may come before the node that is to blame: the kind of end is what must not change
        assert verdict.rung not in ("success", "failed", "cancelled") or verdict.rung == decide(known, UPLOAD_S).rung
    assert known == folded(facts)
    assert right(name, decide(known, SETTLE_S))


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(sorted(set(CASES) - {"node_error"})), data=st.data())
def test_pieces_missing_are_made_up_for_by_the_history(name: str, data: st.DataObject) -> None:
    """Whatever callbacks are lost, ComfyUI's history and the files that arrived lead to the same end."""
    case = CASES[name]
    facts = told(case)
    kept = [one for one in facts if one.uploaded or data.draw(st.booleans())]
    assert right(name, decide(merge(folded(kept), from_history(history(case))), 0.0))


def test_a_file_that_never_arrives_fails_the_run() -> None:
    """A success that lacks a file is none: it is waited for, named, and then the upload has failed."""
    case = CASES["save"]
    lost = case.put[0]
    facts = folded([one for one in told(case) if lost not in one.uploaded.values()])
    waiting = decide(facts, SETTLE_S)
    assert (waiting.rung, [made.name for made in waiting.missing]) == ("uploading", [lost])
    given_up = decide(facts, UPLOAD_S)
    assert given_up.failure is not None
    assert given_up.failure.kind == "upload_failed"
    assert lost in given_up.failure.message
    gone = merge(facts, Facts(gone=[key_of(waiting.missing[0])]))
    assert decide(gone, 0.0).rung == "failed"


def test_a_late_running_never_unfinishes() -> None:
    """Whatever is told after the end leaves the end as it is."""
    done = folded(told(CASES["save"]))
    assert decide(merge(done, Facts(began=True, taken=True)), SETTLE_S) == decide(done, SETTLE_S)


def test_an_end_of_unknown_kind_is_waited_for_longer() -> None:
    """`executing` with node null ends a success and a failure alike: only long silence makes it a success."""
    facts = read(Callback(ws_event={"event": "executing", "data": {"node": None}}))
    assert facts.ended
    assert decide(facts, SETTLE_S).rung == "uploading"
    assert decide(facts, UNSURE_S).rung == "success"


def test_an_interruption_is_a_cancellation() -> None:
    """execution_interrupted, which the plugin follows by no status, and the status `cancelled` say the same."""
    event = read(Callback(ws_event={"event": "execution_interrupted", "data": {"prompt_id": "p"}}))
    status = read(Callback(status="cancelled"))
    assert decide(event, 0.0).rung == decide(status, 0.0).rung == "cancelled"
    assert decide(merge(event, read(Callback(output_data=[]))), UNSURE_S).rung == "cancelled"


def test_node_errors_alone_are_no_refusal() -> None:
    """A partly invalid graph is executed although the plugin reports an error object: it has no `error` in it."""
    partly = {"error": {"prompt_id": "p", "number": 1, "node_errors": {"4": {"errors": [], "class_type": "X"}}}}
    assert decide(read(Callback(output_data=partly)), UPLOAD_S).rung == "started"
    crashed = read(Callback(output_data={"error": {"error_type": "KeyError", "stack_trace": "a\nb"}}))
    assert decide(crashed, 0.0).failure == Failure("internal", "the plugin failed: KeyError", traceback=["a", "b"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": 7},
        {"status": "unheard of"},
        {"ws_event": "text"},
        {"ws_event": {"event": ["x"], "data": 3}},
        {"ws_event": {"event": "executed", "data": {"output": None}}},
        {"output_data": "text"},
        {"output_data": {"images": [None, 3, {"filename": 3}, {"filename": ""}]}},
        {"output_data": {"images": [{"filename": "a.png", "url": ["x"]}]}, "node_meta": ["x"]},
        {"output_data": {"exception_message": None, "traceback": "x"}},
        {"output_data": {"error": {"error": [], "node_errors": {"1": {"errors": 3}}}}},
        {"live_status": 3, "progress": "x"},
    ],
)
def test_malformed_bodies_are_read_without_an_error(body: dict[str, Any]) -> None:
    """Nothing that a body may hold raises; what it tells can be stored."""
    callback = msgspec.convert(body, Callback)
    msgspec.json.encode(read(callback))
    assert progress_of(callback) is None


def test_kinds_are_the_nodes_own_words() -> None:
    """The plugin calls gifs and sounds `files`; the event that names them rightly wins, in either order."""
    own = made_by("9", {"gifs": [{"filename": "a.mp4", "subfolder": "", "type": "output"}]})
    plugin = made_by("9", {"files": [{"filename": "a.mp4", "subfolder": "", "type": "output"}]}, sure=False)
    for facts in (merge(own, plugin), merge(plugin, own)):
        assert [made.kind for made in facts.files.values()] == ["gifs"]


def test_a_file_of_another_attempt_cannot_be_claimed() -> None:
    """An address counts only with a file that was uploaded for this attempt."""
    made = Made("3", "images", "a.png")
    facts = Facts(success=True, whole=True, files={key_of(made): made}, claimed={key_of(made): file_id("stranger")})
    assert decide(facts, SETTLE_S).missing == [made]


def test_two_nodes_files_of_one_name_are_two() -> None:
    """Each is told apart by its address; without one, a name that two nodes used decides nothing."""
    one, two = Made("3", "images", "a.png"), Made("4", "images", "a.png")
    files = {key_of(one): one, key_of(two): two}
    uploaded = {file_id("first"): "a.png", file_id("second"): "a.png"}
    unclear = Facts(success=True, whole=True, files=files, uploaded=uploaded)
    assert decide(unclear, SETTLE_S).rung == "uploading"
    clear = merge(unclear, Facts(claimed={key_of(one): file_id("second"), key_of(two): file_id("first")}))
    assert [output.file_id for output in decide(clear, 0).outputs] == [file_id("second"), file_id("first")]


def test_what_nodes_took_is_added_up() -> None:
    """The list that ends a prompt tells its execute time, for the choice of machines; nonsense in it is left out."""
    told = [{"id": "1", "time": 0.5, "vram_used": 7}, {"id": "2", "time": 1, "vram_used": 9}, {"time": "x"}, 3]
    facts = merge(read(Callback(output_data=told)), read(Callback(output_data=[])))
    assert facts.timings == Timings(execute_ms=1500, peak_vram_bytes=9)
    assert decide(merge(facts, Facts(success=True)), SETTLE_S).timings == facts.timings


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"run_id": "r", "status": "a\\u0000b"}', "ab"),
        (b'{"run_id": "r", "status": "a\\\\u0000b"}', "a\\u0000b"),
        (b'{"run_id": "r", "status": "\\u0000\\u0000\\u0000"}', ""),
    ],
)
def test_a_character_that_cannot_be_stored_is_left_out(body: bytes, status: str) -> None:
    """U+0000 goes; a backslash followed by u0000, which is text, stays."""
    callback = _decoded(body)
    assert callback is not None
    assert callback.status == status
