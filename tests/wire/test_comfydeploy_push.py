"""A ComfyUI with the comfyui-deploy plugin at a URL: pushed to, reporting piecemeal, dying, cancelled.

The machine is a process of its own that plays the recorded callbacks (tests/plugin_machine.py) in any order, doubled,
with pieces missing; everything goes through the orchestrator's HTTP API.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system import Team, until
from tests.wire import pushed
from tests.wire.conftest import Orchestrator, start_orchestrator
from tests.wire.pushed import GRAPH, PATIENCE_S, Double, play

pytestmark = pytest.mark.anyio
quick, double, deployment, team = pushed.quick, pushed.double, pushed.deployment, pushed.team

PICTURES = {"save": 2, "external": 1}
WAY = ("not-started", "queued", "started", "running", "uploading")


def check(case: str, run: dict[str, Any]) -> None:
    """The run ended as the case should."""
    outputs = run.get("outputs") or []
    if case in PICTURES:
        assert run["status"] == "success", run
        assert len(outputs) == PICTURES[case]
        assert all(output["content_type"] == "image/png" for output in outputs)
    elif case == "text_only":
        assert run["status"] == "success", run
        assert [(output["kind"], output["data"]) for output in outputs] == [("text", ["a cat"])]
    else:
        assert run["status"] == "failed", run
        kinds = {"node_error": ("bad_graph", "1"), "runtime_error": ("node_error", "2")}
        assert (run["failure"]["kind"], run["failure"]["node_id"]) == kinds[case]


async def ended(team: Team, run_id: str) -> dict[str, Any]:
    return await team.until(run_id, lambda run: "ended_at" in run, PATIENCE_S)


async def seen(double: Double) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=double.url) as client:
        return (await client.get("/seen")).json()


@pytest.mark.parametrize("case", ["save", "external", "text_only", "node_error", "runtime_error"])
async def test_each_recorded_case_ends_rightly(case: str, team: Team, deployment: str) -> None:
    """In the recorded order: pictures, a text whose success is never reported, a refusal and an error of a node."""
    run = await ended(team, await play(team, deployment, case=case))
    check(case, run)
    for place, output in enumerate(run.get("outputs") or []):
        if "url" in output:
            answer = await team.anybody.get(run["outputs"][place]["url"])
            assert answer.content.endswith(output["name"].encode())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", ["save", "text_only", "runtime_error"])
async def test_each_case_ends_rightly_in_disorder(case: str, seed: int, team: Team, deployment: str) -> None:
    """Shuffled, doubled and with three in ten callbacks lost, each run ends rightly, once, after one attempt."""
    drop = 0.3 if seed % 2 else 0
    run_id = await play(team, deployment, case=case, order="shuffled", seed=seed, double=True, drop=drop)
    run = await ended(team, run_id)
    check(case, run)
    assert run["attempts"] == 1
    history = [event["status"] async for _, _, event in team.events(run_id) if "status" in event]
    assert [status for status in history if status in ("success", "failed", "cancelled", "timeout")] == [run["status"]]
    assert [status for status in WAY if status in history] == history[:-1]


async def test_what_the_plugin_is_sent(team: Team, deployment: str, double: Double) -> None:
    """The raw graph, the inputs, an editor's graph with nodes, and the token in the header and the body."""
    run_id = await play(team, deployment, case="save", note="this one")
    await ended(team, run_id)
    orders = (await seen(double))["orders"]
    order = next(one for one in orders if "this one" in one["body"]["inputs"]["script"])
    body = order["body"]
    assert body["workflow_api_raw"] == GRAPH
    assert body["workflow_api"]["1"]["inputs"]["default_value"] == body["inputs"]["script"]
    assert body["workflow"] == {"nodes": []}
    assert order["authorization"] == f"Bearer {body['cd_token']}"
    assert body["cd_token"].startswith("cft_")
    assert body["prompt_id"] == (await team.look(run_id))["attempt_list"][0]["id"]


async def test_files_that_were_not_sent_are_fetched(team: Team, deployment: str) -> None:
    """Without a single upload or callback, the history tells the end and the pictures are taken by /view."""
    run = await ended(team, await play(team, deployment, case="save", uploads=False, drop=1))
    check("save", run)


async def test_no_history_and_no_success(team: Team, deployment: str) -> None:
    """A ComfyUI that forgot the prompt: the end told by its events is enough."""
    run = await ended(team, await play(team, deployment, case="text_only", history=False))
    check("text_only", run)


async def test_a_partly_refused_graph_is_executed(team: Team, deployment: str) -> None:
    """An answer of 400 with node_errors alone means queued."""
    check("save", await ended(team, await play(team, deployment, case="save", answer="partial")))


async def test_an_order_whose_answer_was_lost_is_not_sent_twice(team: Team, deployment: str, double: Double) -> None:
    """The connection breaks after the machine took the prompt: the run succeeds, and was sent once."""
    check("save", await ended(team, await play(team, deployment, case="save", answer="cut", note="cut off")))
    orders = (await seen(double))["orders"]
    assert len([one for one in orders if "cut off" in one["body"]["inputs"]["script"]]) == 1


async def test_cancelling_interrupts_the_prompt_and_frees_the_machine(team: Team, deployment: str) -> None:
    """A running prompt is interrupted; one behind it leaves the queue; the machine takes the next."""
    holding = await play(team, deployment, hold=True)
    await team.until_status(holding, "running", timeout=PATIENCE_S)
    await team.call("POST", f"/runs/{holding}/cancel", 200)
    check("save", await ended(team, await play(team, deployment, case="save")))
    assert (await team.look(holding))["status"] == "cancelled"


async def test_only_the_attempts_token_reports(
    team: Team, deployment: str, quick: Orchestrator, double: Double
) -> None:
    """Ids alone, another run's token, an API key: each is refused, and the run goes on unharmed."""
    other = await play(team, deployment, case="save", note="the other")
    await ended(team, other)
    holding = await play(team, deployment, hold=True)
    attempt = (await team.until_status(holding, "running", timeout=PATIENCE_S))["attempt_list"][0]["id"]
    orders = (await seen(double))["orders"]
    foreign = next(one for one in orders if "the other" in one["body"]["inputs"]["script"])["body"]["cd_token"]
    for credential in (None, foreign, quick.api_key, "cft_guess"):
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        for run_id in (attempt, holding):
            body = {"run_id": run_id, "status": "failed"}
            answer = await team.anybody.post("/api/update-run", json=body, headers=headers)
            assert answer.status_code == 401, answer.text
            query = {"file_name": "a.png", "run_id": run_id, "type": "image/png"}
            assert (await team.anybody.get("/api/file-upload", params=query, headers=headers)).status_code == 401
    assert (await team.look(holding))["status"] == "running"
    await team.call("POST", f"/runs/{holding}/cancel", 200)


async def test_uploads_are_bound_to_their_attempt(team: Team, deployment: str, double: Double) -> None:
    """A signed address cannot be changed, a file name keeps no folder, and an attempt that ended takes nothing."""
    holding = await play(team, deployment, hold=True, note="putting")
    await team.until_status(holding, "running", timeout=PATIENCE_S)
    orders = (await seen(double))["orders"]
    body = next(one for one in orders if "putting" in one["body"]["inputs"]["script"])["body"]
    query = {
        "file_name": "../../etc/passwd",
        "run_id": body["prompt_id"],
        "type": "image/png",
        "cd_token": body["cd_token"],
    }
    granted = (await team.anybody.get("/api/file-upload", params=query)).json()
    path = granted["url"].split("?")[0]
    assert path.endswith("/passwd")
    assert granted["include_acl"] is False
    changed = granted["url"].replace("/passwd", "/shadow")
    assert (await team.anybody.put(changed, content=b"x")).status_code == 403
    assert (await team.anybody.put(granted["url"], content=b"x")).status_code == 200
    assert (await team.anybody.put(granted["url"], content=b"x")).status_code == 200
    other = (await team.anybody.get("/api/file-upload", params=query)).json()["url"]
    assert (await team.anybody.put(other, content=b"x" * 100_001)).status_code == 413
    assert (await team.anybody.get("/api/file-upload", params={**query, "size": 100_001})).status_code == 413
    await team.call("POST", f"/runs/{holding}/cancel", 200)
    assert (await team.anybody.put(granted["url"], content=b"x")).status_code == 409
    late = await team.anybody.post(
        "/api/update-run", json={"run_id": body["prompt_id"], "status": "success", "cd_token": body["cd_token"]}
    )
    assert late.status_code == 200
    assert (await team.look(holding))["status"] == "cancelled"


async def test_malformed_callbacks_are_refused_or_ignored(team: Team, deployment: str, double: Double) -> None:
    """With a valid token: no body breaks the server, none ends the run, and what it tells can still be stored."""
    holding = await play(team, deployment, hold=True, note="malformed")
    await team.until_status(holding, "running", timeout=PATIENCE_S)
    orders = (await seen(double))["orders"]
    body = next(one for one in orders if "malformed" in one["body"]["inputs"]["script"])["body"]
    headers = {"Authorization": f"Bearer {body['cd_token']}", "Content-Type": "application/json"}
    begin = f'{{"run_id": "{body["prompt_id"]}", '
    deep = "[" * 3000 + "]" * 3000
    tails = (
        '"status": "\\u0000"}',
        '"status": "unheard of"}',
        '"status": ["success"]}',
        '"status": NaN}',
        '"progress": 1e999, "live_status": "x"}',
        '"progress": 5, "live_status": "\\ud800"}',
        f'"output_data": {{"text": {deep}}}, "node_meta": {{"node_id": "1"}}}}',
        '"output_data": {"text": ["\\u0000 \\ud83d"]}, "node_meta": {"node_id": "\\u0000"}}',
        '"output_data": {"images": [{"filename": "../../x\\u0000", "subfolder": 7, "type": "temp"}]}}',
        '"output_data": {"value": [' + "9" * 400 + "]}}",
        '"ws_event": {"event": {}, "data": []}}',
        '"ws_event": {"event": "executed", "data": {"node": null, "output": {"": [{}]}}}}',
        '"status": "running", "status": "running"}',
        '"events": []}',
        '"run_id": 7}',
    )
    bodies = [b"", b"{", b"null", b"[]", b"\xff", b'{"run_id": 1}', *[(begin + tail).encode() for tail in tails]]
    for one in bodies:
        answer = await team.anybody.post("/api/update-run", content=one, headers=headers)
        assert answer.status_code in (200, 400, 401, 422), (one[:200], answer.status_code, answer.text)
    assert (await team.look(holding))["status"] == "running"
    await team.call("POST", f"/runs/{holding}/cancel", 200)


async def test_a_machine_that_dies_in_the_middle(team: Team, deployment: str, double: Double) -> None:
    """ComfyUI is killed under a prompt and started anew: the attempt is over, and the next one succeeds."""
    run_id = await play(team, deployment, case="save", die=True)
    await asyncio.to_thread(double.process.wait, PATIENCE_S)
    double.start()
    run = await ended(team, run_id)
    check("save", run)
    assert run["attempt_list"][0]["failure"]["kind"] in ("machine_lost", "executor_crashed")


async def test_a_private_endpoint_needs_an_administrators_word(team: Team) -> None:
    """A loopback or metadata address is refused, and with endpoint_private the metadata address still is."""
    for url, private in (("http://127.0.0.1:1", False), ("http://169.254.169.254/", True), ("http://10.0.0.1", False)):
        body = {"name": f"bad {url}", "endpoint": url, "endpoint_private": private}
        answer = await team.call("POST", "/machines", 422, json=body)
        assert answer["code"] == "url_refused"


async def test_a_restarted_orchestrator_takes_up_what_its_machine_still_does(
    team: Team, deployment: str, quick: Orchestrator, double: Double
) -> None:
    """Killed while a prompt runs, back under an address that the plugin does not know: the history tells the end."""
    run_id = await play(team, deployment, hold=True)
    await team.until_status(run_id, "running", timeout=PATIENCE_S)
    quick.stop(signal.SIGKILL)
    again = start_orchestrator(quick.data, quick.database_url, **pushed.QUICK)
    try:
        async with Team(again.url, quick.api_key) as same, httpx.AsyncClient(base_url=double.url) as machine:
            await until(lambda: same.machine("box"), lambda box: box["connected"], PATIENCE_S)
            assert (await same.look(run_id))["status"] == "running"
            await machine.post("/interrupt", json={"prompt_id": (await same.look(run_id))["attempt_list"][0]["id"]})
            run = await same.until(run_id, lambda run: "ended_at" in run, PATIENCE_S)
            assert (run["status"], run["attempts"]) == ("cancelled", 1)
            check("save", await ended(same, await play(same, deployment, case="save")))
    finally:
        again.stop()


async def test_another_replica_takes_over(deployment: str, quick: Orchestrator, double: Double, tmp_path: Path) -> None:
    """One replica pushes. It gone, another does; runs that were started at the other are placed all the same."""
    quick.stop(signal.SIGKILL)
    settings = {**pushed.QUICK, "secret": (quick.data / "secret.key").read_text().strip()}
    first = start_orchestrator(quick.data, quick.database_url, **settings)
    (tmp_path / "up.json").write_bytes((quick.data / "up.json").read_bytes())
    other = start_orchestrator(tmp_path, quick.database_url, **settings)
    try:
        async with Team(other.url, quick.api_key) as there:
            await until(lambda: there.machine("box"), lambda box: box["connected"], PATIENCE_S)
            check("save", await ended(there, await play(there, deployment, case="save")))
            holding = await play(there, deployment, hold=True)
            await there.until_status(holding, "running", timeout=PATIENCE_S)
            first.stop(signal.SIGKILL)
            await there.call("POST", f"/runs/{holding}/cancel", 200)
            check("text_only", await ended(there, await play(there, deployment, case="text_only")))
            assert (await there.look(holding))["status"] == "cancelled"
    finally:
        other.stop()
        first.stop()
