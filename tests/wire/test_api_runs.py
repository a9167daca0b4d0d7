"""Runs in batches, waited for, streamed, retried, marked, logged and explained, with a real agent and its executor."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.system import until
from tests.wire.agent_process import FAKE_EXECUTOR

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]
FAILING = {"1": {"class_type": "Raise", "inputs": {"type": "ValueError", "message": "no"}}}
WANTING = {
    "1": {"class_type": "ComfyUIDeployExternalNumber", "inputs": {"input_id": "seed"}},
    "2": {"class_type": "ComfyUIDeployExternalText", "inputs": {"input_id": "prompt"}},
}


def talking() -> dict[str, Any]:
    """A graph that says two lines; no two are alike, since the executor does not run the same one twice."""
    return {
        "1": {"class_type": "Say", "inputs": {"text": "hello\nfrom the node\n", "mark": str(uuid4())}},
        "2": {"class_type": "Text", "inputs": {"text": "done"}},
    }


@pytest.fixture(scope="module")
def machine(orchestrator, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """A connected machine whose executor says what it is told to."""
    with httpx.Client(base_url=orchestrator.url, headers=orchestrator.headers, timeout=20) as client:
        machine = client.post("/api/v1/machines", json={"name": "talker"}).json()
        token = client.post(f"/api/v1/machines/{machine['id']}/enrol-token").json()["token"]
    data = tmp_path_factory.mktemp("talker")
    command = [sys.executable, "-m", "machine_agent", "run", "--url", orchestrator.url, "--data", str(data)]
    with (data / "agent.log").open("ab") as log:
        agent = subprocess.Popen(
            [*command, "--enrol-token", token, "--executor", FAKE_EXECUTOR], cwd=ROOT, stdout=log, stderr=log
        )
    try:
        yield machine
    finally:
        agent.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            agent.wait(15)
        agent.kill()
        agent.wait()


async def _version(api: httpx.AsyncClient, graph: dict[str, Any]) -> str:
    answer = await api.post("/api/v1/workflows", json={"name": f"w {uuid4()}", "api_graph": graph})
    assert answer.status_code == 201, answer.text
    return answer.json()["version"]["id"]


async def _ready(api: httpx.AsyncClient, machine: dict[str, Any]) -> None:
    async def look() -> dict[str, Any]:
        return (await api.get(f"/api/v1/machines/{machine['id']}")).json()

    await until(look, lambda seen: seen["connected"] and seen.get("inventory", {}).get("node_classes"))


async def _waiting_run(api: httpx.AsyncClient, version: str, **more: Any) -> str:
    answer = await api.post("/api/v1/runs", json={"version_id": version, "pool": {"no": "machine"}} | more)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def _done(api: httpx.AsyncClient, machine: dict[str, Any], graph: dict[str, Any]) -> dict[str, Any]:
    """A run that has ended."""
    await _ready(api, machine)
    body = {"version_id": await _version(api, graph), "max_attempts": 1}
    answer = await api.post("/api/v1/runs", json=body, headers={"Prefer": "wait=60"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_grid_becomes_a_batch_that_is_listed_and_cancelled(api, stranger):
    """Every combination is a run of its own; the batch counts them, and ends whole; others never see it."""
    version = await _version(api, WANTING)
    grid = {"seed": [1, 2, 3], "prompt": ["a", "b"]}
    body = {"version_id": version, "input_grid": grid, "pool": {"no": "machine"}, "priority": 5}
    answer = await api.post("/api/v1/runs/batch", json=body)
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert answer.headers["location"] == f"/api/v1/runs/batches/{batch['id']}"
    listed = (await api.get("/api/v1/runs", params={"batch_id": batch["id"], "limit": 100})).json()["items"]
    assert [run["id"] for run in reversed(listed)] == batch["run_ids"]
    assert [(run["inputs"]["seed"], run["inputs"]["prompt"]) for run in reversed(listed)] == [
        (seed, prompt) for seed in (1, 2, 3) for prompt in "ab"
    ]
    assert {run["priority"] for run in listed} == {5}
    path = f"/api/v1/runs/batches/{batch['id']}"
    stands = (await api.get(path)).json()
    assert (stands["total"], stands["counts"], stands.get("ended", 0)) == (6, {"not-started": 6}, 0)
    assert (await api.get("/api/v1/runs/batches")).json()["items"][0]["id"] == batch["id"]
    assert (await stranger.get(path)).json()["code"] == "batch_not_found"
    assert (await stranger.post(f"{path}/cancel")).status_code == 404
    assert (await stranger.get("/api/v1/runs", params={"batch_id": batch["id"]})).json()["items"] == []
    for _ in range(2):
        cancelled = (await api.post(f"{path}/cancel")).json()
        assert (cancelled["counts"], cancelled["ended"]) == ({"cancelled": 6}, 6)


async def test_a_batch_with_one_wrong_run_starts_none(api):
    """The error names the run; nothing was stored."""
    version = await _version(api, WANTING)
    body = {"version_id": version, "inputs": [{"seed": 1}, {"seed": "x"}, {"sed": 1}], "common_inputs": {"prompt": "p"}}
    answer = await api.post("/api/v1/runs/batch", json=body)
    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == ["inputs[1].seed", "inputs[2].sed"]
    assert (await api.get("/api/v1/runs", params={"version_id": version})).json()["items"] == []
    both = await api.post("/api/v1/runs/batch", json={"version_id": version, "inputs": [{}], "input_grid": {"a": [1]}})
    assert both.json()["errors"][0]["code"] == "wrong_batch"


async def test_a_caller_that_waits_gets_the_run_or_its_address(api, machine):
    """`Prefer: wait` answers 200 with the ended run and its outputs; one that does not end in time is a 202."""
    await _ready(api, machine)
    version = await _version(api, talking())
    ended = await api.post("/api/v1/runs", json={"version_id": version}, headers={"Prefer": "respond-async, wait=60"})
    assert (ended.status_code, ended.headers["preference-applied"]) == (200, "wait=60")
    assert (ended.json()["status"], ended.json()["outputs"][0]["data"]) == ("success", ["done"])
    body = {"version_id": version, "pool": {"no": "machine"}}
    waiting = await api.post("/api/v1/runs", json=body, headers={"Prefer": "wait=1"})
    assert (waiting.status_code, waiting.json()["status"]) == (202, "not-started")
    assert waiting.headers["location"] == f"/api/v1/runs/{waiting.json()['id']}"


async def test_a_deployments_own_address_takes_what_runs_take(api, machine):
    """It can be waited for, and metadata given there is the run's."""
    await _ready(api, machine)
    deployed = await api.post("/api/v1/deployments", json={"version_id": await _version(api, talking())})
    address = f"/api/v1/deployments/{deployed.json()['id']}/runs"
    ended = await api.post(address, json={"metadata": {"order": "7"}}, headers={"Prefer": "wait=60"})
    assert (ended.status_code, ended.json()["status"]) == (200, "success")
    assert ended.json()["metadata"] == {"order": "7"}


async def test_a_caller_that_streams_sees_the_whole_run(api, machine):
    """Accepted, every change of status, the executor's lines, and last the run with its outputs."""
    await _ready(api, machine)
    body = {"version_id": await _version(api, talking())}
    answer = await api.post("/api/v1/runs", json=body, headers={"Accept": "text/event-stream"}, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    seen = []
    for message in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in message.splitlines() if not line.startswith(":"))
        if "data" in fields:
            seen.append((fields["event"], json.loads(fields["data"])))
    assert seen[0][0] == "accepted"
    statuses = [data["status"] for name, data in seen if name == "status"]
    assert statuses == ["not-started", "queued", "started", "running", "uploading", "success"]
    assert [line for name, data in seen if name == "log" for line in data["lines"]] == ["hello", "from the node"]
    assert (seen[-1][0], seen[-1][1]["outputs"][0]["data"]) == ("run", ["done"])


async def test_what_the_executor_wrote_can_be_read_later(api, machine, stranger):
    """The lines are kept, by attempt; a run that is another's, or another attempt, has none."""
    run = await _done(api, machine, talking())
    path = f"/api/v1/runs/{run['id']}/logs"

    async def look() -> dict[str, Any]:
        return (await api.get(path)).json()

    page = await until(look, lambda seen: seen["items"])
    assert [line for part in page["items"] for line in part["lines"]] == ["hello", "from the node"]
    assert (await api.get(path, params={"attempt": 1})).json() == page
    assert (await api.get(path, params={"attempt": 2})).json()["items"] == []
    assert (await stranger.get(path)).status_code == 404


async def test_a_run_says_where_its_time_went_and_why_it_is_where_it_is(api, machine, stranger):
    """Phases in order that add up, the machine's measures, and what counted when it was chosen."""
    run = await _done(api, machine, talking())
    path = f"/api/v1/runs/{run['id']}"
    seen = (await api.get(f"{path}/timeline")).json()
    (attempt,) = seen["attempts"]
    names = ["waiting", "placed", "preparing", "running", "uploading"]
    assert [phase["name"] for phase in attempt["phases"]] == names
    assert abs(sum(phase["duration_ms"] for phase in attempt["phases"]) - seen["total_ms"]) <= 5
    assert (attempt["machine_name"], attempt["outcome"]) == ("talker", "success")
    assert attempt["execute_ms"] > 0
    placed = (await api.get(f"{path}/placement")).json()
    assert (placed["machine_name"], placed["why"]["fitting"]) == ("talker", 1)
    assert placed["reason"].startswith("it is on talker: the only machine that fits")
    waiting = await _waiting_run(api, run["version_id"])
    why = (await api.get(f"/api/v1/runs/{waiting}/placement")).json()
    assert why["reason"] == "no machine has the label no=machine"
    assert {"machine_id": machine["id"], "name": "talker", "fits": False, "lacks": "lacks the label no=machine"} in why[
        "machines"
    ]
    assert (await stranger.get(f"{path}/timeline")).status_code == 404
    assert (await stranger.get(f"{path}/placement")).status_code == 404


async def test_an_ended_run_is_started_again(api, machine, stranger):
    """The same version, inputs and machines under a new id that says what it repeats; a run under way is refused."""
    run = await _done(api, machine, FAILING)
    assert run["status"] == "failed"
    answer = await api.post(f"/api/v1/runs/{run['id']}/retry")
    assert answer.status_code == 202, answer.text
    again = (await api.get(answer.headers["location"])).json()
    assert (again["retry_of"], again["origin"], again["version_id"]) == (run["id"], "retry", run["version_id"])
    listed = (await api.get("/api/v1/runs", params={"retry_of": run["id"]})).json()["items"]
    assert [one["id"] for one in listed] == [again["id"]]
    waiting = await _waiting_run(api, run["version_id"], priority=7, max_attempts=2)
    early = await api.post(f"/api/v1/runs/{waiting}/retry")
    assert (early.status_code, early.json()["code"]) == (409, "run_not_ended")
    await api.post(f"/api/v1/runs/{waiting}/cancel")
    copy = (await api.get((await api.post(f"/api/v1/runs/{waiting}/retry")).headers["location"])).json()
    assert (copy["status"], copy["priority"], copy["max_attempts"]) == ("not-started", 7, 2)
    assert copy["waiting_reason"] == "no machine has the label no=machine"
    assert (await stranger.post(f"/api/v1/runs/{run['id']}/retry")).status_code == 404


async def test_runs_are_marked_and_found_by_their_marks(api, stranger):
    """Favourite, note and tags change one by one; bounds hold; a stranger can neither mark nor find."""
    version = await _version(api, WANTING)
    first, second = [await _waiting_run(api, version) for _ in range(2)]
    path = f"/api/v1/runs/{first}"
    marked = (await api.patch(path, json={"favourite": True, "tags": ["night", "cat", "night"]})).json()
    assert (marked["favourite"], marked["tags"]) == (True, ["night", "cat"])
    noted = (await api.patch(path, json={"note": "the good one"})).json()
    assert (noted["favourite"], noted["note"], noted["tags"]) == (True, "the good one", ["night", "cat"])

    async def found(**params: Any) -> list[str]:
        items = (await api.get("/api/v1/runs", params={"version_id": version} | params)).json()["items"]
        return [run["id"] for run in items]

    assert await found(favourite=True) == await found(tag="cat") == [first]
    assert await found(favourite=False) == [second]
    assert await found(tag="dog") == []
    for wrong in ({"note": "x" * 2001}, {"tags": ["t"] * 21}, {"tags": [""]}, {"favourite": 1}):
        assert (await api.patch(path, json=wrong)).status_code == 422
    assert (await stranger.patch(path, json={"favourite": True})).status_code == 404
    assert (await stranger.get("/api/v1/runs", params={"tag": "cat"})).json()["items"] == []


async def test_the_list_of_runs_is_narrowed_by_every_filter(api):
    """Workflow, origin, status and time; times need a zone; pages go on within the filter."""
    version = await _version(api, WANTING)
    ids = [await _waiting_run(api, version) for _ in range(3)]
    run = (await api.get(f"/api/v1/runs/{ids[1]}")).json()

    async def found(**params: Any) -> list[str]:
        answer = await api.get("/api/v1/runs", params={"version_id": version} | params)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    assert await found(created_after=run["created_at"]) == [ids[2], ids[1]]
    assert await found(created_before=run["created_at"]) == [ids[0]]
    assert await found(workflow_id=run["workflow_id"], origin="api", status="not-started") == ids[::-1]
    assert await found(origin="retry") == await found(status="success") == await found(machine_id=str(uuid4())) == []
    page = (await api.get("/api/v1/runs", params={"version_id": version, "limit": 2})).json()
    rest = await found(limit=2, cursor=page["next_cursor"])
    assert rest == [ids[0]]
    naive = await api.get("/api/v1/runs", params={"created_after": "2026-01-01T00:00:00"})
    assert naive.status_code == 422


async def test_usage_and_quotas(api, machine, stranger):
    """What a run used is told by day, deployment and key; a quota that is reached refuses by its name until lifted."""
    run = await _done(api, machine, talking())
    for by in ("day", "deployment", "key"):
        report = (await api.get("/api/v1/usage", params={"by": by})).json()
        assert report["total"]["succeeded"] >= 1
        assert report["total"]["runs"] == sum(item["runs"] for item in report["items"])
    theirs = (await stranger.get("/api/v1/usage")).json()
    assert (theirs["items"], theirs["total"]["runs"]) == ([], 0)
    backwards = await api.get("/api/v1/usage", params={"from": "2026-02-01", "to": "2026-01-01"})
    assert (backwards.status_code, backwards.json()["errors"][0]["path"]) == (422, "from")
    try:
        set_to = (await api.put("/api/v1/usage/quotas", json={"max_queued_runs": 0})).json()
        assert set_to == {"max_queued_runs": 0, "max_running_runs": None, "max_storage_bytes": None}
        full = await api.post("/api/v1/runs", json={"version_id": run["version_id"]})
        assert (full.status_code, full.json()["code"]) == (429, "quota_exceeded")
        assert full.json()["errors"][0]["path"] == "max_queued_runs"
        assert full.headers["retry-after"]
        assert (await stranger.get("/api/v1/usage")).json()["quotas"]["max_queued_runs"] is None
    finally:
        await api.put("/api/v1/usage/quotas", json={})
    assert (await api.post("/api/v1/runs", json={"version_id": run["version_id"]})).status_code == 202
    assert (await api.put("/api/v1/usage/quotas", json={"max_queued_runs": -1})).status_code == 422


async def test_a_quarantined_machine_takes_nothing_until_it_is_released(api, machine, stranger):
    """Its runs wait and say why; draining cannot undo it; released it works at once, and its events tell the story."""
    await _ready(api, machine)
    path = f"/api/v1/machines/{machine['id']}"
    assert (await stranger.post(f"{path}/quarantine", json={"reason": "mine"})).status_code == 404
    assert (await stranger.post(f"{path}/release")).status_code == 404
    assert (await stranger.get(f"{path}/events")).status_code == 404
    try:
        shown = (await api.post(f"{path}/quarantine", json={"reason": "smells"})).json()
        assert (shown["state"], shown["quarantine_reason"]) == ("quarantined", "smells")
        refused = await api.post(f"{path}/undrain")
        assert (refused.status_code, refused.json()["code"]) == (409, "machine_quarantined")
        body = {"version_id": await _version(api, talking())}
        waiting = await api.post("/api/v1/runs", json=body, headers={"Prefer": "wait=2"})
        assert (waiting.status_code, waiting.json()["status"]) == (202, "not-started")
        run = (await api.get(waiting.headers["location"])).json()
        assert "quarantined (smells)" in run["waiting_reason"]
    finally:
        released = (await api.post(f"{path}/release")).json()
    assert (released["state"], "quarantine_reason" in released) == ("ready", False)

    async def look() -> dict[str, Any]:
        return (await api.get(waiting.headers["location"])).json()

    assert (await until(look, lambda seen: seen["status"] == "success"))["machine_name"] == "talker"
    kinds = [event["kind"] for event in (await api.get(f"{path}/events", params={"limit": 100})).json()["items"]]
    assert {"registered", "enrolled", "connected", "inventory_changed", "quarantined", "released"} <= set(kinds)
    assert (await api.post(f"{path}/quarantine", json={"reason": ""})).status_code == 422


async def test_a_policy_keeps_a_machine_for_versions_and_bounds_its_runs(api, machine):
    """Other versions wait and say why; an attempt that takes longer than the policy allows times out."""
    await _ready(api, machine)
    hanging = {"1": {"class_type": "Wait", "inputs": {"mark": str(uuid4())}}}
    mine, other = await _version(api, hanging), await _version(api, talking())
    path = f"/api/v1/machines/{machine['id']}"
    try:
        policy = {"version_ids": [mine], "max_run_s": 1}
        assert (await api.patch(path, json={"policy": policy})).json()["policy"] == policy

        async def applied() -> dict[str, Any]:
            body = {"version_id": other}
            run = (await api.post("/api/v1/runs", json=body, headers={"Prefer": "wait=1"})).json()
            return (await api.get(f"/api/v1/runs/{run['id']}")).json()

        waiting = await until(applied, lambda run: run["status"] == "not-started")
        assert waiting["waiting_reason"] == "every machine is kept for other versions by its policy"
        body = {"version_id": mine, "timeout_s": 600}
        late = await api.post("/api/v1/runs", json=body, headers={"Prefer": "wait=60"})
        assert (late.status_code, late.json()["status"]) == (200, "timeout")
        assert late.json()["failure"]["message"] == "the run took longer than its 1 s"
    finally:
        await api.patch(path, json={"policy": {}})
    for wrong in ({"max_run_s": 0}, {"version_ids": []}, {"version_ids": ["x"]}, {"spend": 1}):
        assert (await api.patch(path, json={"policy": wrong})).status_code == 422


async def test_what_the_agent_wrote_can_be_read(api, machine, stranger):
    """Its own lines, newest part first, for the team alone; of each machine a bounded number is kept."""
    await _ready(api, machine)
    path = f"/api/v1/machines/{machine['id']}/logs"

    async def look() -> dict[str, Any]:
        return (await api.get(path, params={"limit": 100})).json()

    def told(page: dict[str, Any]) -> list[str]:
        return [line for part in page["items"] for line in part["lines"]]

    await until(look, lambda page: any("executor_up" in line for line in told(page)))
    assert (await stranger.get(path)).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "runs?tag=%00",
        "runs?created_after=0001-01-01T00:00:00Z",
        "runs?created_before=9999-12-31T23:59:59Z",
        "runs?created_after=0001-01-01T00:00:00%2B14:00",
        "runs?batch_id=x",
        "runs?origin=nobody",
        "files?name=%00",
        "usage?to=0001-01-01",
        "usage?from=yesterday",
        "usage?by=hour",
    ],
)
async def test_what_no_filter_can_mean_is_refused(api, query: str) -> None:
    """NUL, times at the ends of time and words that are none: 4xx, never a fault of ours."""
    answer = await api.get(f"/api/v1/{query}")
    assert answer.status_code in (400, 422), answer.text
