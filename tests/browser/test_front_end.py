"""The published front end in a real browser over a real executor: open a workflow, change it, run it, watch it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.browser.system import ROOT
from tests.executor.process import Executor

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("front_end")]
LOAD_MS = 90_000
SOON_MS = 20_000
WORKFLOW: dict[str, Any] = {
    "last_node_id": 3,
    "last_link_id": 2,
    "nodes": [
        {
            "id": 1, "type": "WatchedSteps", "pos": [100, 120], "size": [300, 260], "order": 0, "mode": 0, "flags": {},
            "inputs": [], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1], "slot_index": 0}],
            "properties": {}, "widgets_values": [3, 0.4, "JPEG", 128],
        },
        {
            "id": 2, "type": "ImageInvert", "pos": [450, 120], "size": [200, 60], "order": 1, "mode": 0, "flags": {},
            "inputs": [{"name": "image", "type": "IMAGE", "link": 1}], "properties": {},
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2], "slot_index": 0}],
        },
        {
            "id": 3, "type": "SaveImage", "pos": [700, 120], "size": [300, 300], "order": 2, "mode": 0, "flags": {},
            "inputs": [{"name": "images", "type": "IMAGE", "link": 2}], "outputs": [], "properties": {},
            "widgets_values": ["browser"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
    "groups": [], "config": {}, "extra": {"ds": {"scale": 1, "offset": [0, 0]}}, "version": 0.4,
}  # fmt: skip
STEPS = """() => {
  const node = app.graph.getNodeById(1), {scale, offset} = app.canvas.ds;
  const box = app.canvas.canvas.getBoundingClientRect();
  return [box.left + (node.pos[0] + node.size[0] / 2 + offset[0]) * scale,
          box.top + (node.pos[1] + node.widgets[0].y + 12 + offset[1]) * scale];
}"""
WATCH = """() => {
  window.lit = {};
  window.heard = [];
  for (const kind of ['executing', 'progress', 'b_preview_with_metadata', 'executed', 'execution_success'])
    app.api.addEventListener(kind, (event) => heard.push(kind));
  const green = (node) => {
    const {scale, offset} = app.canvas.ds, ratio = window.devicePixelRatio || 1;
    const x = (node.pos[0] + node.size[0] / 2 + offset[0]) * scale * ratio;
    const y = ((node.pos[1] + node.size[1] + offset[1]) * scale + 1) * ratio;
    const line = app.canvas.canvas.getContext('2d').getImageData(x, y, 1, 9 * ratio).data;
    for (let i = 0; i < line.length; i += 4)
      if (line[i + 1] > line[i] + 40 && line[i + 1] > line[i + 2] + 40) return true;
    return false;
  };
  const look = () => {
    for (const node of app.graph.nodes) if (green(node)) lit[node.id] = (lit[node.id] || 0) + 1;
    requestAnimationFrame(look);
  };
  look();
}"""
PICTURE = "(id) => (app.graph.getNodeById(id).imgs || []).map((image) => [image.src, image.naturalWidth])"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver, without a fleet."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """An executor with a node that can be watched, and a workflow that its user has saved."""
    running = Executor(tmp_path_factory.mktemp("front"), "--custom-nodes", str(ROOT / "tests/browser/packs/watched"))
    stored = httpx.post(f"{running.url}/userdata/workflows%2Fwatch.json", content=json.dumps(WORKFLOW))
    assert stored.status_code == 200
    httpx.post(f"{running.url}/settings", json={"Comfy.TutorialCompleted": True})
    yield running
    running.stop()


@pytest.fixture
def page(browser: Browser, executor: Executor) -> Iterator[Page]:
    """The front end, loaded; what it begins with is out of the way."""
    context = browser.new_context(base_url=executor.url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SOON_MS)
    page = context.new_page()
    page.goto("/")
    page.wait_for_function("window.app && app.graph && app.canvas && app.extensionManager", timeout=LOAD_MS)
    expect(page.get_by_role("button", name="Run", exact=True).first).to_be_visible(timeout=LOAD_MS)
    page.wait_for_function("app.graph.nodes.length > 0")
    mask = page.locator(".p-dialog-mask")
    if mask.count():
        page.get_by_role("button", name="Close").first.click()
        expect(mask).to_have_count(0)
    yield page
    context.close()


def shoot(page: Page, name: str) -> None:
    """Keep a picture under build/screenshots."""
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")


def test_a_workflow_is_opened_changed_run_and_watched(page: Page, executor: Executor) -> None:
    """From the user's files to the picture: a widget is edited, nodes light up, the preview and the result are seen."""
    page.keyboard.press("w")
    page.get_by_text("watch.json").first.click()
    page.wait_for_function("app.graph.nodes.some((node) => node.type === 'WatchedSteps')")
    page.keyboard.press("w")
    page.mouse.dblclick(*page.evaluate(STEPS))
    page.locator(".graphdialog input").fill("5")
    page.keyboard.press("Enter")
    page.wait_for_function("app.graph.getNodeById(1).widgets[0].value === 5")
    page.evaluate(WATCH)
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_function("heard.filter((kind) => kind === 'b_preview_with_metadata').length >= 2")
    page.wait_for_function("(app.graph.getNodeById(1).imgs || []).some((image) => image.naturalWidth === 128)")
    shoot(page, "front-end-running")
    page.wait_for_function("heard.includes('execution_success')")
    page.wait_for_function("(app.graph.getNodeById(3).imgs || []).some((image) => image.naturalWidth === 64)")
    shoot(page, "front-end-done")
    assert page.evaluate("lit['1'] || 0") >= 3
    heard = page.evaluate("heard")
    assert heard.count("progress") == 5
    assert "executed" in heard
    assert "/api/view?filename=browser_00001_.png" in page.evaluate(PICTURE, 3)[0][0]
    history = httpx.get(f"{executor.url}/history").json()
    (entry,) = history.values()
    assert entry["prompt"][2]["1"]["inputs"]["steps"] == 5
    assert entry["prompt"][3]["extra_pnginfo"]["workflow"]["nodes"]


def test_the_queue_and_the_log_are_shown(page: Page, executor: Executor) -> None:
    """The side bar shows what ran with its picture; the terminal shows the lines of the log."""
    queued = {"a": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 255}}}
    queued["o"] = {"class_type": "PreviewImage", "inputs": {"images": ["a", 0]}}
    assert httpx.post(f"{executor.url}/prompt", json={"prompt": queued}).status_code == 200
    page.keyboard.press("q")
    expect(page.locator("img[src*='/view?filename=']").first).to_be_visible(timeout=SOON_MS)
    shoot(page, "front-end-queue")
    page.keyboard.press("q")
    page.keyboard.press("Control+Backquote")
    expect(page.locator(".xterm-rows")).to_contain_text("listening", timeout=SOON_MS)
    shoot(page, "front-end-log")
