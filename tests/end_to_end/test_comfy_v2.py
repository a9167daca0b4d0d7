"""Comfy's official client, comfy-sdk, unchanged, against the whole fleet: what it submits is executed on a machine."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import pytest
from comfy_sdk import Comfy
from comfy_sdk.events import OutputReady, Progress, StatusChange
from comfy_sdk.exceptions import IdempotencyKeyReuse, InvalidWorkflow, JobFailed, MissingAsset, NotFound
from PIL import Image

from tests.fleet_process import FleetProcess
from tests.system import laborious, new_colour, node


@pytest.fixture
def comfy(fleet: FleetProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Comfy]:
    """The client, with nothing changed but the address."""
    monkeypatch.setenv("COMFY_BASE_URL", fleet.url)
    with Comfy(api_key=fleet.api_key) as client:
        yield client


def _picture(size: tuple[int, int], colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (colour >> 16, colour >> 8 & 255, colour & 255)).save(buffer, "PNG")
    return buffer.getvalue()


def _inverted(picture: object) -> dict:
    return {
        "1": node("LoadImage", image=picture),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="inverted"),
    }


def _square(colour: int) -> dict:
    return {
        "1": node("EmptyImage", width=16, height=16, batch_size=1, color=colour),
        "2": node("SaveImage", images=["1", 0], filename_prefix="square"),
    }


def test_an_uploaded_image_goes_through_a_job_and_comes_back(comfy: Comfy) -> None:
    """Upload, submit, wait, download whole and in part: the picture is the inverted one, and is sized and named."""
    sent = comfy.assets.from_bytes(_picture((24, 8), 0x0000FF), filename="blue.png", content_type="image/png")
    job = comfy.submit(comfy.workflows.from_json(_inverted(sent)), metadata={"kind": "inverted"})
    assert job.result().status == "succeeded"
    (output,) = job.outputs
    data = output.to_bytes()
    with Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.convert("RGB").getpixel((0, 0))) == ((24, 8), (255, 255, 0))
    assert (output.node_id, output.type, output.content_type, output.size_bytes) == (
        "3",
        "image",
        "image/png",
        len(data),
    )
    assert output.to_bytes(range=(1, 3)) == b"PNG"
    assert httpx.get(output.get_download_url().url).content == data
    assert job.metadata == {"kind": "inverted"}
    assert job.get_workflow().graph["1"]["inputs"]["image"]["info"]["id"] == sent.commit()


def test_a_job_is_followed_live_until_its_output(comfy: Comfy) -> None:
    """Events: progress that counts nodes, the output, and the end, in that order."""
    graph = laborious(6, side=256)
    graph["1"]["inputs"] = {"input_id": "colour", "default_value": new_colour()["colour"]}
    job = comfy.submit(comfy.workflows.from_json(graph))
    events = list(job.events())
    states = [event.status for event in events if isinstance(event, StatusChange)]
    assert states[-1] == "succeeded"
    assert sorted(states, key=["queued", "running", "succeeded"].index) == states
    assert [type(event) for event in events[-2:]] == [OutputReady, StatusChange]
    progress = [event for event in events if isinstance(event, Progress)]
    assert all(event.nodes_total == len(graph) and event.nodes_done <= len(graph) for event in progress)
    assert job.refresh().outputs[0].name == events[-2].output.name


def test_the_same_shape_is_one_version_and_the_values_differ(comfy: Comfy) -> None:
    """Two graphs that differ in a value are executed with their own values."""
    colours = (0x102030, 0x405060)
    jobs = [comfy.submit(comfy.workflows.from_json(_square(colour))) for colour in colours]
    for job, colour in zip(jobs, colours, strict=True):
        with Image.open(io.BytesIO(job.result().outputs[0].to_bytes())) as image:
            assert image.convert("RGB").getpixel((0, 0)) == (colour >> 16, colour >> 8 & 255, colour & 255)


def test_jobs_are_found_by_their_labels(comfy: Comfy) -> None:
    """The list filters by label, newest first, page by page."""
    ids = [
        comfy.submit(comfy.workflows.from_json(_square(number)), metadata={"batch": "b-1", "n": str(number)}).id
        for number in range(3)
    ]
    assert [job.id for job in comfy.list_jobs(metadata={"batch": "b-1"}, limit=2)] == ids[::-1]
    (only,) = comfy.list_jobs(metadata={"batch": "b-1", "n": "1"})
    assert (only.id, only.metadata["n"]) == (ids[1], "1")
    assert only.create_time is not None


def test_a_job_is_cancelled(comfy: Comfy) -> None:
    """Cancelling ends a job; cancelling it again changes nothing."""
    graph = laborious(400)
    graph["1"]["inputs"] = {"input_id": "colour", "default_value": 77}
    job = comfy.submit(comfy.workflows.from_json(graph))
    assert job.cancel().status == "canceled"
    assert job.wait(10).status == "canceled"
    assert job.cancel().status == "canceled"


def test_a_node_that_raises_fails_the_job(comfy: Comfy) -> None:
    """The client's JobFailed names the node and its class."""
    graph = {
        "1": node("EmptyImage", width=16, height=16, batch_size=1, color=1),
        "2": node("ImageFromBatch", image=["1", 0], batch_index=0, length=1),
        "3": node("ImageCrop", image=["2", 0], width=16, height=16, x=0, y=0),
        "4": node("LoadImage", image="there-is-none.png"),
        "5": node("SaveImage", images=["4", 0], filename_prefix="never"),
    }
    with pytest.raises(JobFailed) as failed:
        comfy.submit(comfy.workflows.from_json(graph)).result()
    assert failed.value.code in ("invalid_workflow", "node_execution_error")


def test_what_is_refused_is_the_clients_own_error(comfy: Comfy, fleet: FleetProcess) -> None:
    """Refusals arrive as the exceptions that the client has for them."""
    with pytest.raises(InvalidWorkflow) as unknown:
        comfy.submit(comfy.workflows.from_json({"7": node("ThereIsNoSuchNode")}))
    assert unknown.value.details
    gone = {"__type": "core/ASSET", "info": {"id": "01a1fddb-9153-7016-a067-11f141b29d4e"}}
    with pytest.raises(MissingAsset):
        comfy.submit(comfy.workflows.from_json(_inverted(gone)))
    with pytest.raises(NotFound):
        comfy.jobs.get("01a1fddb-9153-7016-a067-11f141b29d4e")
    comfy.submit(comfy.workflows.from_json(_square(5)), idempotency_key="once only").result()
    with pytest.raises(IdempotencyKeyReuse):
        comfy.submit(comfy.workflows.from_json(_square(5)), idempotency_key="once only")


def test_content_is_stored_once_and_deleted_by_record(comfy: Comfy) -> None:
    """The same bytes under another path are a new record without an upload; each record is deleted on its own."""
    data = _picture((5, 7), 0xABCDEF)
    first = comfy.assets.from_bytes(data, filename="a.png")
    second = comfy.assets.from_bytes(data, filename="b.png")
    assert first.commit() != second.commit()
    assert first.hash == second.hash
    gone, kept = first.commit(), second.commit()
    first.delete()
    with pytest.raises(NotFound):
        comfy.assets.get(gone)
    assert httpx.get(comfy.assets.get(kept).get_download_url().url).content == data
