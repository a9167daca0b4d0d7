"""The published front end queues the graphs of tests/fixtures/editor, and the server's conversion gives the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from orchestrator.runs.conversion import convert
from orchestrator.runs.specs import specs_of
from tests.browser.system import ROOT
from tests.executor.process import Executor

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("front_end")]
LOAD_MS = 90_000
FIXTURES = ROOT / "tests" / "fixtures" / "editor"
GRAPHS: dict[str, Any] = json.loads((FIXTURES / "graphs.json").read_text())
CLASSES: dict[str, Any] = json.loads((FIXTURES / "classes.json").read_text())
QUEUED = """async (graph) => {
  await app.loadGraphData(graph);
  return JSON.stringify((await app.graphToPrompt()).output);
}"""
WIDGETS = """(classes) => {
  const found = {};
  for (const name of classes) {
    const node = LiteGraph.createNode(name);
    if (node) found[name] = (node.widgets || []).filter((one) => one.serialize !== false).map((one) => one.name);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver, without a fleet."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """An executor that serves the front end."""
    running = Executor(tmp_path_factory.mktemp("front"))
    httpx.post(f"{running.url}/settings", json={"Comfy.TutorialCompleted": True})
    yield running
    running.stop()


@pytest.fixture(scope="module")
def declared(executor: Executor) -> dict[str, Any]:
    """What the executor's classes and those of the fixtures declare; the fixtures' count where both have one."""
    own: dict[str, Any] = httpx.get(f"{executor.url}/object_info").json()
    return {**own, **CLASSES}


@pytest.fixture(scope="module")
def front_end(browser: Browser, executor: Executor, declared: dict[str, Any]) -> Iterator[Page]:
    """The front end with all these classes."""
    context = browser.new_context(base_url=executor.url)
    page = context.new_page()
    page.route("**/object_info", lambda route: route.fulfill(json=declared))
    page.goto("/")
    page.wait_for_function("window.app && app.graph && app.canvas && app.extensionManager", timeout=LOAD_MS)
    page.wait_for_function("app.graph.nodes.length > 0", timeout=LOAD_MS)
    yield page
    context.close()


def _told(inputs: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """Without what the front end adds of its own, which ComfyUI passes over, and what only it can make (a 3D view)."""
    return {
        name: value
        for name, value in inputs.items()
        if (name in known or isinstance(value, list)) and value is not None and not isinstance(value, dict)
    }


@pytest.mark.parametrize("name", GRAPHS)
def test_the_front_end_queues_what_we_convert(name: str, front_end: Page, declared: dict[str, Any]) -> None:
    """Loaded into the editor and queued, a graph gives the prompt that the server makes of it."""
    queued = json.loads(front_end.evaluate(QUEUED, GRAPHS[name]["ui"]))
    specs = specs_of(declared)
    known = {class_type: {widget.name for widget in spec.widgets if widget.sent} for class_type, spec in specs.items()}
    converted = convert(GRAPHS[name]["ui"], specs).graph
    assert {node_id: node["class_type"] for node_id, node in converted.items()} == {
        node_id: node["class_type"] for node_id, node in queued.items()
    }
    for node_id, node in converted.items():
        theirs = _told(queued[node_id]["inputs"], known[node["class_type"]])
        ours = {name: value for name, value in node["inputs"].items() if name in theirs or value}
        assert ours == theirs, node_id


def test_the_order_of_widgets_is_the_front_ends(front_end: Page, declared: dict[str, Any]) -> None:
    """Of every class the widgets we know come in the editor's order, and nothing stands between them."""
    specs = specs_of(declared)
    shown: dict[str, list[str]] = front_end.evaluate(WIDGETS, list(specs))
    assert len(shown) > 150
    wrong = {}
    for name, theirs in shown.items():
        ours = [widget.name if widget.sent else None for widget in specs[name].widgets]
        fits = all(one is None or one == other for one, other in zip(ours, theirs, strict=False))
        if len(ours) > len(theirs) or not fits:
            wrong[name] = (ours, theirs)
    assert not wrong
