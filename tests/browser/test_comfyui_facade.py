"""ComfyUI's published front end on the facade: opened by a link in a real browser, it edits and runs on the pool."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Browser

from tests.browser.system import FACADE_HOST, ROOT, Fleet

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("front_end")]
LOAD_MS = 90_000
WORKFLOW = {
    "last_node_id": 2, "last_link_id": 1, "version": 0.4, "groups": [], "config": {}, "extra": {},
    "nodes": [
        {
            "id": 1, "type": "EmptyImage", "pos": [100, 120], "size": [300, 160], "order": 0, "mode": 0, "flags": {},
            "inputs": [], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1], "slot_index": 0}],
            "properties": {}, "widgets_values": [64, 64, 1, 8421504],
        },
        {
            "id": 2, "type": "PreviewImage", "pos": [500, 120], "size": [300, 300], "order": 1, "mode": 0, "flags": {},
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "outputs": [], "properties": {},
            "widgets_values": [],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
}  # fmt: skip
WATCH = """() => {
  window.heard = [];
  for (const kind of ['status', 'execution_start', 'executed', 'execution_success'])
    app.api.addEventListener(kind, () => heard.push(kind));
}"""


def _until_it_knows_nodes(fleet: Fleet) -> None:
    deadline = time.monotonic() + 60
    with fleet.client() as client:
        while "EmptyImage" not in client.get("/comfy/object_info").json():
            assert time.monotonic() < deadline, "no machine told what its classes take"
            time.sleep(0.1)


def test_the_front_end_runs_a_workflow_on_the_pool(browser: Browser, fleet: Fleet) -> None:
    """A one-time link opens it on the facade's own host; a graph is queued, followed and its picture shown."""
    _until_it_knows_nodes(fleet)
    with fleet.client() as client:
        link = client.post("/api/v1/comfyui-links").json()["url"]
    assert link.startswith(f"http://{FACADE_HOST}:{fleet.port}/enter?code=")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(LOAD_MS)
    page = context.new_page()
    try:
        page.goto(link)
        page.wait_for_function("() => window.app && app.graph && app.canvas && window.LiteGraph")
        page.wait_for_function("() => !!LiteGraph.registered_node_types['EmptyImage']")
        page.evaluate(WATCH)
        page.evaluate("graph => app.loadGraphData(graph)", WORKFLOW)
        page.wait_for_function("() => app.graph.getNodeById(2)")
        page.evaluate("() => app.queuePrompt(0)")
        page.wait_for_function("() => heard.includes('execution_success')")
        page.wait_for_function("() => (app.graph.getNodeById(2).imgs || []).some(image => image.naturalWidth === 64)")
        heard = page.evaluate("() => heard")
        assert heard.index("execution_start") < heard.index("executed") < heard.index("execution_success")
        shots = ROOT / "build" / "screenshots"
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / "comfyui_facade.png")
        cookies = {cookie["name"]: cookie for cookie in context.cookies()}
        assert set(cookies) == {"cf_comfy"}
        assert page.evaluate("() => fetch('/../api/v1/runs').then(answer => answer.status)") == 404
    finally:
        context.close()


def test_the_front_end_is_on_its_own_host_only(fleet: Fleet) -> None:
    """Under the prefix of the dashboard's host stands a page that says where; its files are not there."""
    with fleet.client() as client:
        assert "FLEET_COMFYUI_HOST" in client.get("/comfy").text
        assert client.get("/comfy/index.html").status_code == 404
        own = {"Host": f"{FACADE_HOST}:{fleet.port}"}
        page = client.get("/", headers=own)
        assert (page.status_code, "'unsafe-eval'" in page.headers["content-security-policy"]) == (200, True)
        assert client.get("/queue", headers=own).json() == client.get("/comfy/queue").json()
        assert client.get("/api/v1/runs", headers=own).status_code == 404
        assert client.get("/%2e%2e/__init__.py", headers=own).status_code == 404
