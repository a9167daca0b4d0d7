"""Deployments against the real server: aliases, shares of runs, going back, handing on, and who may overwrite whom."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

pytestmark = pytest.mark.anyio


def _graph(*inputs: str) -> dict[str, Any]:
    external = {
        f"x{name}": {"class_type": "ComfyUIDeployExternalText", "inputs": {"input_id": name}} for name in inputs
    }
    return {**external, "1": {"class_type": "PreviewAny", "inputs": {"source": 1}}}


async def _versions(api: httpx.AsyncClient, count: int) -> tuple[str, list[str]]:
    """A workflow and its versions; version n has the input `in<n>`."""
    made = (await api.post("/api/v1/workflows", json={"name": f"w {uuid4()}", "api_graph": _graph("in1")})).json()
    ids = [made["version"]["id"]]
    for number in range(2, count + 1):
        body = {"api_graph": _graph(f"in{number}")}
        ids.append((await api.post(f"/api/v1/workflows/{made['id']}/versions", json=body)).json()["id"])
    return made["id"], ids


async def _deploy(api: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await api.post("/api/v1/deployments", json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def _run(api: httpx.AsyncClient, deployment: str, **more: Any) -> httpx.Response:
    return await api.post("/api/v1/runs", json={"deployment_id": deployment, **more})


async def _version_run(api: httpx.AsyncClient, deployment: str) -> str:
    accepted = await _run(api, deployment)
    assert accepted.status_code == 202, accepted.text
    return (await api.get(accepted.json()["url"])).json()["version_id"]


async def test_an_alias_stands_for_the_id(api):
    """It is the team's own, free again when taken away; text that is neither id nor alias is refused as before."""
    _, (first, second) = await _versions(api, 2)
    alias = f"a{uuid4()}"[:20]
    made = await _deploy(api, version_id=first, alias=alias, description="for the shop")
    assert (made["alias"], made["description"]) == (alias, "for the shop")
    assert await _version_run(api, alias) == first
    moved = await _deploy(api, version_id=second)
    assert (moved["id"], moved["alias"]) == (made["id"], alias), "what is left out of it stays"
    assert await _version_run(api, alias) == second
    staging = await api.post(
        "/api/v1/deployments", json={"version_id": first, "environment": "staging", "alias": alias}
    )
    assert (staging.status_code, staging.json()["code"]) == (409, "alias_taken")
    await api.patch(f"/api/v1/deployments/{made['id']}", json={"alias": None})
    assert (await _run(api, alias)).status_code == 404
    assert (await _run(api, "No Alias")).status_code == 422
    for wrong in ("UPPER", "-a", "a" * 64, ""):
        answer = await api.post("/api/v1/deployments", json={"version_id": first, "alias": wrong})
        assert answer.status_code == 422


async def test_runs_are_divided_between_versions(api):
    """About a third goes to the second version, each with its own inputs; a hundred percent takes all."""
    _, (first, second, third) = await _versions(api, 3)
    made = await _deploy(api, version_id=first, split=[{"version_id": second, "percent": 35}])
    assert made["split"] == [{"version_id": second, "percent": 35, "version": 2}]
    got = await asyncio.gather(*(_version_run(api, made["id"]) for _ in range(80)))
    assert 10 <= got.count(second) <= 50
    assert got.count(first) + got.count(second) == 80
    path = f"/api/v1/deployments/{made['id']}"
    whole = await api.patch(path, json={"split": [{"version_id": third, "percent": 100}]})
    assert whole.status_code == 200
    assert (await _run(api, made["id"], inputs={"in3": "x"})).status_code == 202
    assert (await _run(api, made["id"], inputs={"in1": "x"})).status_code == 422
    promoted = await api.patch(path, json={"version_id": third})
    assert "split" not in promoted.json(), "the main version has no share beside itself"


async def test_a_split_that_cannot_be_is_refused(api):
    """More than a hundred, a version twice, the main one, another workflow's: 422, and nothing changes."""
    _, (first, second) = await _versions(api, 2)
    _, (foreign,) = await _versions(api, 1)
    made = await _deploy(api, version_id=first)
    path = f"/api/v1/deployments/{made['id']}"

    async def refused(*parts: tuple[str, int]) -> str:
        split = [{"version_id": version_id, "percent": percent} for version_id, percent in parts]
        answer = await api.patch(path, json={"split": split})
        assert answer.status_code == 422, answer.text
        return answer.json()["code"]

    assert await refused((second, 60), (foreign, 60)) == "bad_split"
    assert await refused((second, 10), (second, 10)) == "bad_split"
    assert await refused((first, 10)) == "bad_split"
    assert await refused((foreign, 10)) == "other_workflow"
    assert await refused((str(uuid4()), 10)) == "version_not_found"
    assert await refused(("nonsense", 10)) == "version_not_found"
    assert await refused((second, 0)) == "invalid"
    assert (await api.get(path)).json() == made


async def test_going_back_takes_one_call(api):
    """To what stood before the last change with its pool and split, or to a revision; the history tells all of it."""
    _, (first, second, third) = await _versions(api, 3)
    made = await _deploy(api, version_id=first, pool={"gpu": "a"}, split=[{"version_id": second, "percent": 5}])
    path = f"/api/v1/deployments/{made['id']}"
    nothing = await api.post(f"{path}/rollback", json={})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_to_roll_back")
    await api.patch(path, json={"version_id": third, "pool": {"gpu": "b"}, "split": []})
    await api.patch(path, json={"description": "only words"})
    back = await api.post(f"{path}/rollback", json={})
    assert (back.json()["version"], back.json()["pool"], back.json()["split"][0]["version"]) == (1, {"gpu": "a"}, 2)
    forth = await api.post(f"{path}/rollback", json={})
    assert (forth.json()["version"], forth.json()["pool"]) == (3, {"gpu": "b"})
    by_number = await api.post(f"{path}/rollback", json={"revision": 1})
    assert by_number.json()["version"] == 1
    assert (await api.post(f"{path}/rollback", json={"revision": 99})).status_code == 409
    history = (await api.get(f"{path}/history")).json()["items"]
    assert [row["action"] for row in history] == ["rollback", "rollback", "rollback", "change", "deploy"]
    assert [row["version"] for row in history] == [1, 3, 1, 3, 1]
    assert all(row["actor"].startswith("key:") for row in history)
    page = (await api.get(f"{path}/history", params={"limit": 2})).json()
    assert (await api.get(f"{path}/history", params={"cursor": page["next_cursor"]})).json()["items"] == history[2:]


async def test_a_version_is_handed_on_to_another_environment(api):
    """Staging's version goes to production, which keeps its machines; a preview that is made takes staging's."""
    _, (first, second) = await _versions(api, 2)
    production = await _deploy(api, version_id=first, pool={"gpu": "big"})
    staging = await _deploy(api, version_id=second, environment="staging", pool={"gpu": "small"})
    promoted = await api.post(f"/api/v1/deployments/{staging['id']}/promote", json={"environment": "production"})
    assert promoted.json()["id"] == production["id"]
    assert (promoted.json()["version"], promoted.json()["pool"]) == (2, {"gpu": "big"})
    preview = await api.post(f"/api/v1/deployments/{staging['id']}/promote", json={"environment": "preview"})
    assert (preview.json()["environment"], preview.json()["pool"]) == ("preview", {"gpu": "small"})
    back = await api.post(f"/api/v1/deployments/{production['id']}/rollback", json={})
    assert back.json()["version"] == 1
    strange = await api.post(f"/api/v1/deployments/{uuid4()}/promote", json={"environment": "preview"})
    assert strange.status_code == 404


async def test_nobody_overwrites_what_they_have_not_seen(api):
    """Of ten who change what they all saw, one wins; the others get 412, and so does who deletes it then."""
    _, (first,) = await _versions(api, 1)
    made = await _deploy(api, version_id=first)
    path = f"/api/v1/deployments/{made['id']}"
    seen = (await api.get(path)).headers["etag"]
    tries = [api.patch(path, json={"description": f"{number}"}, headers={"If-Match": seen}) for number in range(10)]
    answers = await asyncio.gather(*tries)
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9
    assert {answer.json()["code"] for answer in answers if answer.status_code == 412} == {"precondition_failed"}
    assert (await api.delete(path, headers={"If-Match": seen})).status_code == 412
    assert (await api.post(f"{path}/rollback", json={}, headers={"If-Match": seen})).status_code == 412
    assert (await api.delete(path, headers={"If-Match": "nonsense"})).status_code == 422
    now = next(answer.headers["etag"] for answer in answers if answer.status_code == 200)
    assert (await api.delete(path, headers={"If-Match": now})).status_code == 204


async def test_a_deployment_describes_itself(api, orchestrator):
    """A valid OpenAPI document with one path for it, which takes the typed inputs and starts a run."""
    graph = {
        "1": {
            "class_type": "ComfyUIDeployExternalNumberInt",
            "inputs": {"input_id": "size", "min_value": 1, "max_value": 9, "display_name": "Size"},
        },
        "2": {"class_type": "ComfyDeployOutputImage", "inputs": {"output_id": "result", "images": ["1", 0]}},
    }
    workflow = (await api.post("/api/v1/workflows", json={"name": f"w {uuid4()}", "api_graph": graph})).json()
    made = await _deploy(api, version_id=workflow["version"]["id"], description="enlarges")
    document = (await api.get(f"/api/v1/deployments/{made['id']}/openapi.json")).json()
    OpenAPIV31SpecValidator(document).validate()
    path = f"/api/v1/deployments/{made['id']}/runs"
    assert path in document["paths"]
    assert document["servers"][0]["url"] == orchestrator.url
    size = document["components"]["schemas"]["Inputs"]["properties"]["size"]
    assert size == {"type": "integer", "title": "Size", "minimum": 1, "maximum": 9}
    started = await api.post(path, json={"inputs": {"size": 3}})
    assert started.status_code == 202
    assert (await api.get(started.json()["url"])).json()["deployment_id"] == made["id"]
    assert (await api.post(path, json={"inputs": {"size": 30}})).status_code == 422
    assert (await api.post(f"/api/v1/deployments/{uuid4()}/runs", json={})).status_code == 404


async def test_another_organisations_deployment_is_absent(api, stranger):
    """A stranger can neither see nor run nor move it, by its id or its alias, and may have the same alias."""
    _, (first,) = await _versions(api, 1)
    alias = f"a{uuid4()}"[:20]
    made = await _deploy(api, version_id=first, alias=alias)
    path = f"/api/v1/deployments/{made['id']}"
    answers = [
        await stranger.get(f"{path}/history"),
        await stranger.get(f"{path}/openapi.json"),
        await stranger.post(f"{path}/runs", json={}),
        await stranger.post(f"{path}/promote", json={"environment": "preview"}),
        await stranger.post(f"{path}/rollback", json={}),
        await _run(stranger, alias),
    ]
    assert [answer.status_code for answer in answers] == [404] * 6
    _, (theirs,) = await _versions(stranger, 1)
    await _deploy(stranger, version_id=theirs, alias=alias)
    assert await _version_run(stranger, alias) == theirs
    split = await stranger.post(
        "/api/v1/deployments", json={"version_id": theirs, "split": [{"version_id": first, "percent": 5}]}
    )
    assert (split.status_code, split.json()["code"]) == (422, "version_not_found")
    assert (await api.get(path)).json() == made


async def test_a_public_link_is_for_members_unless_guests_are_let_in(api, nobody):
    """As installed, without a setting: strangers are told to log in, the team uses the link."""
    _, (first,) = await _versions(api, 1)
    made = await _deploy(api, version_id=first, environment="public-share")
    share = (await api.post("/api/v1/shares", json={"deployment_id": made["id"]})).json()
    path = f"/api/v1/shares/{share['slug']}"
    assert (await nobody.get(path)).status_code == 401
    assert (await nobody.post(f"{path}/runs", json={})).status_code == 401
    assert (await api.post(f"{path}/runs", json={})).status_code == 202
