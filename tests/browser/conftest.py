"""Fixtures of the browser tests: one real system serves them all, one Chromium each module.

The database is a new one on the tests' server.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import msgspec
import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.browser.chromium import Watched, log_in, open_page
from tests.browser.system import Fleet, deploy_demo, end, serve, start_agent

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REMEDY = (
    "no Chromium was found: `apt-get install chromium`, or `playwright install chromium`, or set CHROMIUM=/path/to/it; "
    "FLEET_SKIP_BROWSER=1 skips the browser tests"
)


async def _sql(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def browser_database_url(postgres: str) -> Iterator[str]:
    """The DSN of a new, empty database for these tests."""
    name = f"browser_{os.getpid()}"
    asyncio.run(_sql(postgres, f"create database {name} template template0"))
    base, mark, query = postgres.partition("?")
    yield f"{base.rpartition('/')[0]}/{name}{mark}{query}"
    asyncio.run(_sql(postgres, f"drop database {name} with (force)"))


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, browser_database_url: str) -> Iterator[Fleet]:
    """An orchestrator, one connected agent with one slot, and the demo workflow deployed."""
    home = tmp_path_factory.mktemp("fleet")
    process = serve(home, browser_database_url, 0)
    up = msgspec.json.decode((home / "up.json").read_bytes())
    port = int((home / "port").read_text())
    fleet = Fleet(
        f"http://127.0.0.1:{port}",
        port,
        up["email"],
        up["password"],
        up["api_key"],
        browser_database_url,
        home,
        process,
    )
    agent = None
    try:
        agent = start_agent(fleet)
        deploy_demo(fleet)
        yield fleet
    finally:
        if agent is not None:
            end(agent)
        end(fleet.process)


@pytest.fixture(scope="module")
def playwright(fleet: Fleet) -> Iterator[Playwright]:
    """Playwright's driver. Its event loop occupies this thread: it starts after the fleet and ends with the module."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def front_end() -> None:
    """ComfyUI's published front end, which the extra `dev` installs; without it the tests fail and name the remedy."""
    if importlib.util.find_spec("comfyui_frontend_package") is None:
        pytest.fail("no front end: pip install -c constraints.txt comfyui-frontend-package")


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """A headless Chromium; without one the tests fail and name the remedy."""
    if os.environ.get("FLEET_SKIP_BROWSER") == "1":
        pytest.skip("FLEET_SKIP_BROWSER=1")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None and Path(playwright.chromium.executable_path).exists():
        found = playwright.chromium.executable_path
    if found is None:
        pytest.fail(REMEDY)
    opened = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
    yield opened
    opened.close()


@pytest.fixture
def watched(browser: Browser, fleet: Fleet) -> Iterator[Watched]:
    """A page, logged in, at the overview; in the end nothing may have complained."""
    opened = open_page(browser, fleet)
    log_in(opened.page, fleet)
    yield opened
    opened.page.context.close()
    assert opened.complaints == []


@pytest.fixture
def page(watched: Watched) -> Page:
    """The logged-in page."""
    return watched.page
