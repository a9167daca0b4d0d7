"""The image loop's frames and its bookkeeping: the newest only, one input at a time with the machine."""

from __future__ import annotations

import asyncio
import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.wire import AttemptId, LiveEnd, LiveImage, LiveInput, LiveOutput
from machine_agent import realtime as machine
from orchestrator.live.realtime import Session, checked_values
from orchestrator.runs.realtime import HEADER, Picture, read, write

ATTEMPT = AttemptId("a")


def _sent(name: str, kind: int, image: bytes) -> bytes:
    return (0).to_bytes(4, "little") + kind.to_bytes(4, "little") + name.encode().ljust(24, b" ") + image


def test_a_clients_frame_is_read() -> None:
    """Event, type, name and image, whatever pads the name."""
    assert read(_sent("camera", 3, b"x")) == Picture("camera", "image/webp", b"x")
    assert read(_sent("camera\0\0", 1, b"x")) == Picture("camera", "image/jpeg", b"x")


@pytest.mark.parametrize("frame", [b"", _sent("a", 9, b"x"), _sent("a", 1, b""), _sent("", 1, b"x"), b"\1" + b" " * 40])
def test_what_is_no_frame_is_passed_over(frame: bytes) -> None:
    """Another event, an unknown type, no name, no image."""
    assert read(frame) is None


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_no_frame_breaks_the_reader(frame: bytes) -> None:
    """Any bytes are a frame or none."""
    found = read(frame)
    assert found is None or found.image == frame[HEADER:]


def test_a_frame_for_a_client_is_big_endian_and_padded_with_nuls() -> None:
    """32 bytes of header; a name that is too long is cut."""
    frame = write(Picture("s" * 30, "image/png", b"x"))
    assert (frame[:8], frame[8:32], frame[32:]) == (b"\0\0\0\1\0\0\0\2", b"s" * 24, b"x")


def _answer(number: int) -> LiveOutput:
    return LiveOutput(ATTEMPT, number, [LiveImage("o", "image/png", base64.b64encode(b"r").decode())], 5.0)


@pytest.mark.anyio
async def test_one_input_is_with_the_machine_and_the_newest_follows() -> None:
    """Pictures that come meanwhile replace each other; the next goes when the answer is there."""
    session = Session()
    session.offer(Picture("camera", "image/png", b"1"))
    first = await session.next_input(lambda: ATTEMPT)
    for shade in (b"2", b"3"):
        session.offer(Picture("camera", "image/png", shade))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await session.next_input(lambda: ATTEMPT)
    session.answered(_answer(first.number))
    result = await session.next_result()
    assert (result.pictures, result.machine_ms, result.dropped) == ([Picture("o", "image/png", b"r")], 5.0, 1)
    second = await session.next_input(lambda: ATTEMPT)
    assert [base64.b64decode(image.data) for image in second.images] == [b"3"]
    session.answered(_answer(first.number))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await session.next_result()


@pytest.mark.anyio
async def test_an_input_that_was_lost_is_sent_again(monkeypatch) -> None:
    """Without an answer for long, the same picture goes again under a new number."""
    monkeypatch.setattr("orchestrator.live.realtime.LOST_S", 0.02)
    monkeypatch.setattr("orchestrator.live.realtime.LOOK_S", 0.01)
    session = Session()
    session.offer(Picture("camera", "image/png", b"1"))
    first = await session.next_input(lambda: ATTEMPT)
    second = await session.next_input(lambda: ATTEMPT)
    assert (second.number, second.images) == (first.number + 1, first.images)


@pytest.mark.parametrize("values", [None, [], {"a": {}}, {"a": []}])
def test_values_are_plain(values) -> None:
    """Files come as pictures, not as values."""
    with pytest.raises(ValueError, match="inputs are texts"):
        checked_values(values)
    assert checked_values({"a": 1, "b": "x"}) == {"a": 1, "b": "x"}


@pytest.mark.anyio
async def test_the_machine_takes_the_newest_of_each_input() -> None:
    """Frames that were not taken are passed over; other inputs' pictures and the workflow stay; the end ends it."""
    feed = machine.Feed()
    feed.offer(LiveInput(ATTEMPT, 1, [LiveImage("a", "image/png", "1"), LiveImage("b", "image/png", "2")], {"1": {}}))
    feed.offer(LiveInput(ATTEMPT, 2, [LiveImage("a", "image/png", "3")]))
    frame = await feed.next()
    assert frame is not None
    assert ({image.id: image.data for image in frame.images}, frame.workflow) == ({"a": "3", "b": "2"}, {"1": {}})
    feed.offer(LiveEnd(ATTEMPT))
    assert await feed.next() is None


def test_the_ends_of_a_workflow_are_said_with_core_nodes() -> None:
    """A picture is loaded; results go over the socket where the executor has no node of ours; outputs keep names."""
    workflow = {
        "1": {"class_type": machine.INPUT, "inputs": {"input_id": "camera"}},
        "2": {"class_type": machine.OUTPUT, "inputs": {"output_id": "screen", "images": ["1", 0]}},
    }
    laid = machine.with_pictures(workflow, {"camera": "live/0-1.png"}, {"LoadImage"})
    assert laid["1"]["inputs"] == {"image": "live/0-1.png"}
    assert (laid["2"]["class_type"], laid["2"]["inputs"]) == (machine.SENT, {"images": ["1", 0]})
    assert machine.with_pictures(workflow, {}, {machine.OUTPUT}) == workflow
    collector = machine.Collector(workflow)
    for node, image in (("1", b"no result"), ("2", b"result")):
        collector.on_message("executing", {"node": node})
        collector.on_preview("image/png", image)
    assert {name: base64.b64decode(image.data) for name, image in collector.images.items()} == {"screen": b"result"}
