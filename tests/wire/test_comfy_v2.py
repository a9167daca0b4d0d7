"""The Comfy API v2 at its border: every refusal with its code, its envelope and its headers; no machine is needed."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx
import pytest
from blake3 import blake3

from tests.wire.strangers import client_with, stranger_of

pytestmark = pytest.mark.anyio

NOBODY = "01a1fddb-9153-7016-a067-11f141b29d4e"
JOB_KEYS = {
    "id", "status", "created_at", "started_at", "completed_at", "expires_at", "queue_position", "progress", "outputs",
    "error", "metrics", "metadata", "urls",
}  # fmt: skip


@pytest.fixture
async def other_organisation(orchestrator):
    """Another organisation's owner."""
    async with stranger_of(orchestrator) as client:
        yield client


def _graph(seed: int = 1) -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": seed}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }


async def _job(api: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await api.post("/api/v2/jobs", json={"workflow": _graph(), **more})


def _refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error of an answer in the API's envelope."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}
    assert (body["error"]["code"], bool(body["error"]["message"])) == (code, True)
    assert answer.headers["x-comfy-request-id"]
    return body["error"]


async def test_a_job_has_every_member_from_the_start(api):
    """A submitted job waits: 201, links relative to the host, null where there is nothing yet."""
    answer = await _job(api, metadata={"a": "b"})
    assert answer.status_code == 201
    job = answer.json()
    assert set(job) == JOB_KEYS
    assert (job["status"], job["outputs"], job["error"], job["progress"]) == ("queued", [], None, None)
    assert job["queue_position"] >= 0
    assert job["urls"]["self"] == f"/api/v2/jobs/{job['id']}" == answer.headers["location"]
    assert (await api.get(job["urls"]["self"])).json()["metadata"] == {"a": "b"}


async def test_a_job_is_a_run_of_the_hidden_workflow(api):
    """The same job by the native API: a run, whose inputs are the graph's values; its workflow is in no list."""
    first, second = (
        (await _job(api)).json()["id"],
        (await api.post("/api/v2/jobs", json={"workflow": _graph(9)})).json(),
    )
    runs = [(await api.get(f"/api/v1/runs/{run_id}")).json() for run_id in (first, second["id"])]
    assert [run["inputs"]["1.color"] for run in runs] == [1, 9]
    assert runs[0]["version_id"] == runs[1]["version_id"]
    names = [workflow["id"] for workflow in (await api.get("/api/v1/workflows?limit=100")).json()["items"]]
    assert runs[0]["workflow_id"] not in names


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b'{"workflow": {}}', 422, "invalid_workflow"),
        (b'{"workflow": 7}', 422, "invalid_workflow"),
        (b"{}", 422, "invalid_workflow"),
        (b'{"workflow": {"1": {"inputs": {}}}}', 422, "invalid_workflow"),
        (b'{"workflow": {"nodes": [], "links": [], "last_node_id": 1}}', 422, "workflow_format_ui"),
        (b'{"workflow": {}, "webhook_url": "https://example.org"}', 422, "invalid_request"),
        (b'{"workflow": {}, "inputs": {}}', 422, "invalid_request"),
        (b'{"workflow": {}, "extra_data": "x"}', 400, "invalid_request"),
    ],
)
async def test_a_body_that_is_no_job_is_refused(api, body: bytes, status: int, code: str):
    """Each kind of wrong body has its code; nothing is queued."""
    _refused(await api.post("/api/v2/jobs", content=body, headers={"Content-Type": "application/json"}), status, code)


async def test_a_wrong_node_is_named(api):
    """The details of a refused graph name the node."""
    graph = {**_graph(), "9": {"class_type": "SaveImage", "inputs": {"images": ["nowhere", 0]}}}
    error = _refused(await api.post("/api/v2/jobs", json={"workflow": graph}), 422, "invalid_workflow")
    assert list(error["details"]["node_errors"]) == ["9"]


@pytest.mark.parametrize(
    "metadata",
    [
        [], {"": "x"}, {"a b": "x"}, {"k" * 41: "x"}, {"a": 1}, {"a": "x" * 257}, {"a": "\u202e"}, {"a": "\u0007"},
        {f"k{n}": "x" for n in range(17)},
    ],
)  # fmt: skip
async def test_labels_have_limits(api, metadata: Any):
    """A label outside the limits refuses the job."""
    _refused(await _job(api, metadata=metadata), 422, "metadata_invalid")


@pytest.mark.parametrize(
    "reference",
    [
        {"__type": "core/ASSET"},
        {"__type": "core/ASSET", "info": {"id": "../x"}},
        {"__type": "core/ASSET", "info": {"id": NOBODY}},
    ],
)
async def test_a_reference_to_no_asset_is_refused(api, reference: dict):
    """Malformed or not the caller's: the same answer."""
    graph = {**_graph(), "3": {"class_type": "LoadImage", "inputs": {"image": reference}}}
    _refused(await api.post("/api/v2/jobs", json={"workflow": graph}), 422, "missing_asset")


async def test_an_idempotency_key_works_once(api):
    """A second use is refused, with the same body and with another; a refused request leaves its key free."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    refused = await api.post("/api/v2/jobs", json={"workflow": {}}, headers=headers)
    _refused(refused, 422, "invalid_workflow")
    assert (await api.post("/api/v2/jobs", json={"workflow": _graph()}, headers=headers)).status_code == 201
    for seed in (1, 2):
        again = await api.post("/api/v2/jobs", json={"workflow": _graph(seed)}, headers=headers)
        _refused(again, 422, "idempotency_key_reuse")
    malformed = {"Idempotency-Key": "x" * 256}
    _refused(await api.post("/api/v2/jobs", json={"workflow": _graph()}, headers=malformed), 400, "invalid_request")


async def test_jobs_are_found_by_what_they_are(api):
    """One status or several; together with labels; none of a status is an empty list."""
    left = (await _job(api, metadata={"status": "asked"})).json()["id"]
    gone = (await _job(api, metadata={"status": "asked"})).json()["id"]
    assert (await api.post(f"/api/v2/jobs/{gone}/cancel")).status_code == 200

    async def found(query: str) -> set[str]:
        answer = await api.get(f"/api/v2/jobs?metadata[status]=asked&{query}")
        assert answer.status_code == 200, answer.text
        return {job["id"] for job in answer.json()["jobs"]}

    assert await found("status=queued") == {left}
    assert await found("status=canceled") == {gone}
    assert await found("status=canceled,%20queued") == {left, gone}
    assert await found("status=running,succeeded,failed,expired,canceling") == set()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("cursor=made-up", "invalid_cursor"),
        ("limit=0", "invalid_request"),
        ("metadata[a b]=x", "invalid_metadata_filter"),
        ("metadata=x", "invalid_metadata_filter"),
        ("status=success", "invalid_request"),
        ("status=queued,", "invalid_request"),
        ("metadata[a]=1&metadata[b]=1&metadata[c]=1&metadata[d]=1", "invalid_metadata_filter"),
    ],
)
async def test_a_list_is_asked_for_rightly(api, query: str, code: str):
    """A wrong filter, cursor or limit is a bad request."""
    _refused(await api.get(f"/api/v2/jobs?{query}"), 400, code)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/jobs/{NOBODY}"), ("GET", "/jobs/nope"), ("GET", f"/jobs/{NOBODY}/workflow"),
        ("POST", f"/jobs/{NOBODY}/cancel"), ("GET", f"/jobs/{NOBODY}/events"), ("GET", f"/assets/{NOBODY}"),
        ("GET", f"/assets/{NOBODY}/content"), ("DELETE", f"/assets/{NOBODY}"), ("GET", "/assets/nope"),
    ],
)  # fmt: skip
async def test_what_is_not_there_is_not_found(api, nobody, method: str, path: str):
    """An unknown id, and one that is none, are 404; without a credential the answer is 401 either way."""
    _refused(await api.request(method, f"/api/v2{path}"), 404, "not_found")
    _refused(await nobody.request(method, f"/api/v2{path}"), 401, "unauthorized")


async def test_a_key_may_not_do_more_than_its_role(api, orchestrator):
    """A viewer's key sees jobs and may not submit one."""
    key = (await api.post("/api/v1/api-keys", json={"name": "viewer", "role": "viewer"})).json()["key"]
    async with client_with(orchestrator, key) as viewer:
        assert (await viewer.get("/api/v2/jobs")).status_code == 200
        _refused(await viewer.post("/api/v2/jobs", json={"workflow": _graph()}), 403, "forbidden")


async def test_an_asset_is_what_its_hash_says(api):
    """A wrong expected hash refuses the upload; the right one keeps it, once, under its blake3."""
    data = secrets.token_bytes(100)
    shown = f"blake3:{blake3(data).hexdigest()}"
    wrong = {"expected_hash": "blake3:" + "0" * 64, "content_type": "image/png", "file_path": "x.png"}
    refused = await api.post("/api/v2/assets", data=wrong, files={"file": ("x.png", data)})
    _refused(refused, 409, "hash_mismatch")
    assert (await api.head(f"/api/v2/assets/by-hash/{shown}")).status_code == 404
    right = {**wrong, "expected_hash": shown, "tags": ["a", "b"], "expires_in": "3600"}
    answer = await api.post("/api/v2/assets", data=right, files={"file": ("x.png", data)})
    asset = answer.json()
    assert (answer.status_code, asset["hash"], asset["size_bytes"], asset["created_new"]) == (201, shown, 100, True)
    assert asset["expires_at"] is not None
    assert (await api.head(f"/api/v2/assets/by-hash/{shown}")).status_code == 200
    again = await api.post("/api/v2/assets", data=right, files={"file": ("x.png", data)})
    assert (again.status_code, again.json()["created_new"]) == (200, False)


async def test_an_asset_is_downloaded_in_part(api):
    """Content comes by a signed address that takes a range, and refuses one outside the file."""
    asset = (await api.post("/api/v2/assets", files={"file": ("x.bin", b"0123456789")})).json()
    answer = await api.get(f"/api/v2/assets/{asset['id']}/content")
    assert answer.status_code == 302
    part = await api.get(answer.headers["location"], headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    outside = await api.get(answer.headers["location"], headers={"Range": "bytes=20-30"})
    assert outside.status_code == 416


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"expires_in": "5"}, 422, "invalid_request"),
        ({"expires_in": "x"}, 422, "invalid_request"),
        ({"file_path": "p" * 1025}, 422, "invalid_request"),
        ({"tags": ["t"] * 70}, 400, "invalid_request"),
    ],
)
async def test_what_is_said_of_an_asset_has_limits(api, fields: dict, status: int, code: str):
    """A field outside its limits refuses the upload."""
    _refused(await api.post("/api/v2/assets", data=fields, files={"file": ("x", b"x")}), status, code)


async def test_an_upload_without_a_file_or_too_large_is_refused(api):
    """No file, no multipart, and more bytes than are allowed."""
    _refused(await api.post("/api/v2/assets", files={"other": ("x", b"x")}), 400, "invalid_request")
    _refused(await api.post("/api/v2/assets", json={}), 415, "invalid_request")
    large = {"file": ("x", b"x" * 5_000_000)}
    _refused(await api.post("/api/v2/assets", files=large), 413, "payload_too_large")


async def test_unknown_content_cannot_be_minted(api):
    """from-hash of content that is not there, and of no hash."""
    absent = {"hash": f"blake3:{'ab' * 32}"}
    _refused(await api.post("/api/v2/assets/from-hash", json=absent), 404, "blob_not_found")
    _refused(await api.post("/api/v2/assets/from-hash", json={"hash": "md5:00"}), 422, "invalid_request")


async def test_an_asset_that_a_job_needs_is_not_deleted(api):
    """Deleting it waits for the job's end; then it goes, once."""
    asset = (await api.post("/api/v2/assets", files={"file": ("x.png", b"png")})).json()
    image = {"__type": "core/ASSET", "info": {"id": asset["id"]}}
    graph = {**_graph(), "3": {"class_type": "LoadImage", "inputs": {"image": image}}}
    job = (await api.post("/api/v2/jobs", json={"workflow": graph})).json()
    _refused(await api.delete(f"/api/v2/assets/{asset['id']}"), 409, "asset_in_use")
    assert (await api.post(job["urls"]["cancel"])).json()["status"] == "canceled"
    assert (await api.delete(f"/api/v2/assets/{asset['id']}")).status_code == 204
    _refused(await api.delete(f"/api/v2/assets/{asset['id']}"), 404, "not_found")


async def test_another_organisation_sees_nothing(api, other_organisation):
    """Jobs, assets and contents of one organisation are not there for another."""
    job = (await _job(api)).json()
    data = secrets.token_bytes(10)
    asset = (await api.post("/api/v2/assets", files={"file": ("x", data)})).json()
    for path in (f"/jobs/{job['id']}", f"/assets/{asset['id']}"):
        _refused(await other_organisation.get(f"/api/v2{path}"), 404, "not_found")
    assert (await other_organisation.head(f"/api/v2/assets/by-hash/{asset['hash']}")).status_code == 404
    _refused(
        await other_organisation.post("/api/v2/assets/from-hash", json={"hash": asset["hash"]}), 404, "blob_not_found"
    )
    assert (await other_organisation.get("/api/v2/jobs")).json()["jobs"] == []


async def test_the_stream_of_a_job_that_ended_says_so_and_ends(api):
    """A cancelled job: one status, no replay of what is over."""
    job = (await _job(api)).json()
    await api.post(job["urls"]["cancel"])
    stream = (await api.get(job["urls"]["events"])).text
    events = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
    assert events == [{"status": "canceled", "queue_position": None}]


async def test_health_needs_no_credential(nobody):
    """The probe that clients use."""
    assert (await nobody.get("/api/v2/health")).json() == {"status": "healthy"}
