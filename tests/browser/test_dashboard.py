"""The dashboard in a real browser, over a real orchestrator, agent and executor."""

from __future__ import annotations

import re
import subprocess
import sys
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import Watched, log_in, open_page, shoot
from tests.browser.system import Fleet

pytestmark = pytest.mark.browser
RUN_MS = 90_000
SOON_MS = 15_000
SAMPLE = """
(runId) => {
  window.neverReloaded = true;
  window.seen = [];
  window.told = new Set();
  setInterval(() => {
    const bar = document.querySelector(`[data-progress="${runId}"] progress`);
    if (bar) window.seen.push(bar.value);
    const status = document.querySelector("#run-status");
    if (status) window.told.add(status.innerText.trim().split(" ").pop());
  }, 20);
}
"""


def test_a_wrong_password_is_told_and_lets_nobody_in(browser: Browser, fleet: Fleet) -> None:
    """The form comes back with the reason and the address that was typed, and the pages stay closed."""
    page = open_page(browser, fleet).page
    page.goto("/runs")
    expect(page).to_have_url(f"{fleet.url}/login?next_page=%2Fruns")
    shoot(page, "login")
    page.get_by_label("E-mail").fill(fleet.email)
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("password is wrong")
    expect(page.get_by_label("E-mail")).to_have_value(fleet.email)
    page.goto("/machines")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    page.context.close()


def test_a_run_finishes_live_and_its_image_opens(page: Page, fleet: Fleet) -> None:
    """A run appears in the list, its bar rises, it succeeds and shows its image, all without a reload."""
    page.goto("/runs")
    expect(page.locator("#badge")).to_have_text("Live")
    with fleet.held_back():
        run_id = fleet.start_run(slow=True)
        row = page.locator(f"#run-{run_id}")
        expect(row).to_be_visible(timeout=SOON_MS)
        row.get_by_role("link").first.click()
        page.wait_for_url(f"**/runs/{run_id}")
        expect(page.locator("#badge")).to_have_text("Live")
        page.evaluate(SAMPLE, run_id)
    expect(page.locator("#run-status")).to_have_text(re.compile("running|succeeded"), timeout=RUN_MS)
    shoot(page, "run-live")
    expect(page.locator("#run-status")).to_have_text("succeeded", timeout=RUN_MS)
    assert "running" in page.evaluate("[...told]")
    picture = page.locator("figure img")
    expect(picture).to_be_visible()
    assert page.evaluate("window.neverReloaded") is True
    seen = page.evaluate("window.seen")
    rising = sorted({value for value in seen if 0 < value <= 1})
    assert len(rising) >= 3, seen
    assert seen == sorted(seen)
    shoot(page, "run-succeeded")
    with page.expect_popup() as popup:
        page.locator("figure a.shot").click()
    opened = popup.value
    opened.wait_for_load_state()
    assert opened.evaluate("Math.max(document.images[0].naturalWidth, document.images[0].naturalHeight)") == 768
    opened.close()
    page.goto("/runs?status=success")
    expect(page.locator(f"#run-{run_id} .thumbs img")).to_be_visible()
    shoot(page, "runs")


def test_the_overview_follows_a_run_without_a_reload(page: Page, fleet: Fleet) -> None:
    """Counts, the machine's slots and the latest runs change by themselves."""
    before = int(page.locator("#count-success").inner_text())
    page.evaluate("window.neverReloaded = true")
    expect(page.locator("#count-machines")).to_have_text("1 / 1")
    run_id = fleet.start_run()
    expect(page.locator(f"#run-{run_id}")).to_contain_text("succeeded", timeout=RUN_MS)
    expect(page.locator("#count-success")).to_have_text(str(before + 1), timeout=SOON_MS)
    expect(page.locator(f"#run-{run_id} img")).to_be_visible()
    assert page.evaluate("window.neverReloaded") is True
    shoot(page, "overview")


def test_a_restarted_orchestrator_is_noticed_and_nothing_is_lost(watched: Watched, fleet: Fleet) -> None:
    """The badge says that the connection is gone, then that it is back, with what happened meanwhile."""
    page = watched.page
    page.goto("/runs")
    badge = page.locator("#badge")
    expect(badge).to_have_text("Live")
    run_id = fleet.start_run()
    expect(page.locator(f"#run-{run_id}")).to_be_visible(timeout=SOON_MS)
    fleet.restart(lambda: expect(badge).to_have_text("Reconnecting…", timeout=SOON_MS))
    expect(badge).to_have_text("Live", timeout=SOON_MS)
    expect(page.locator(f"#run-{run_id}")).to_contain_text("succeeded", timeout=RUN_MS)
    # what the browser and htmx rightly say of a server that is away
    away = ("ERR_", "htmx:", "503 (")
    watched.complaints[:] = [text for text in watched.complaints if not any(sign in text for sign in away)]


def test_a_waiting_run_says_why_and_is_cancelled(page: Page, fleet: Fleet) -> None:
    """A run that no machine may take tells the reason; the cancel button ends it."""
    run_id = fleet.start_run(pool={"pool": "nowhere"})
    page.goto(f"/runs/{run_id}")
    expect(page.locator(".note.warn")).to_contain_text("pool=nowhere")
    shoot(page, "run-waiting")
    page.get_by_role("button", name="Cancel run").click()
    expect(page.locator("#run-status")).to_have_text("cancelled")
    expect(page.get_by_text("The run was cancelled.")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel run")).to_have_count(0)


def test_a_machine_is_added_drained_and_deleted(page: Page, fleet: Fleet) -> None:
    """The form shows the agent's command once; the buttons change the machine's state."""
    page.get_by_role("link", name="Machines", exact=True).click()
    page.get_by_text("Add a machine").click()
    page.get_by_label("Name").fill("spare <b>box</b>")
    page.get_by_label("Labels").fill("pool=slow, zone=eu")
    page.get_by_role("button", name="Add and show the command").click()
    expect(page.locator("#enrol-command")).to_contain_text(f"--url {fleet.url} --enrol-token cfe")
    row = page.locator("tr", has_text="spare <b>box</b>")
    expect(row).to_contain_text("waits for its agent")
    expect(row).to_contain_text("zone=eu")
    shoot(page, "machines")
    row.get_by_text("Delete…").click()
    row.get_by_role("button", name="Delete spare").click()
    expect(row).to_have_count(0)
    studio = page.locator("tr", has_text="studio-1")
    studio.get_by_role("button", name="Drain").click()
    expect(studio).to_contain_text("draining")
    studio.get_by_role("button", name="Undrain").click()
    expect(studio.get_by_role("button", name="Drain")).to_be_visible()


def test_bad_labels_are_told(watched: Watched) -> None:
    """A form that is wrong comes back with a sentence, and nothing is made."""
    page = watched.page
    page.goto("/machines")
    page.get_by_text("Add a machine").click()
    page.get_by_label("Name").fill("nonsense")
    page.get_by_label("Labels").fill("no equals sign")
    with page.expect_response(lambda response: response.request.method == "POST") as answer:
        page.get_by_role("button", name="Add and show the command").click()
    assert answer.value.status == 400
    expect(page.get_by_role("alert")).to_contain_text("name=value")
    expect(page.locator("tr", has_text="nonsense")).to_have_count(0)
    watched.complaints[:] = [text for text in watched.complaints if "400 (Bad Request)" not in text]


def test_search_filters_and_empty_answers(page: Page, fleet: Fleet) -> None:
    """`/` goes to the search field; what matches nothing says so."""
    page.goto("/runs")
    page.keyboard.press("/")
    page.keyboard.type("no such workflow")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No such run")).to_be_visible()
    page.get_by_label("Search runs").fill("photo up")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr").first).to_contain_text("Photo upscale")


@pytest.mark.parametrize("path", ["/workflows", "/webhooks"])
def test_the_quiet_pages_open(page: Page, path: str) -> None:
    """Workflows with their versions, and webhook deliveries or how to get some."""
    page.goto(path)
    expect(page.locator("#badge")).to_have_text("Live")
    expect(page.locator(".panel").first).to_be_visible()
    shoot(page, path.strip("/"))


FOREIGN = """
import asyncio, asyncpg, sys
STATEMENTS = [
    "insert into organisations (id, name, slug) values ($1, 'Others', 'others')",
    "insert into workflows (id, organisation_id, name) values ($1, $1, 'Secret')",
    "insert into workflow_versions (id, organisation_id, workflow_id, version, api_graph, requirements)"
    " values ($1, $1, $1, 1, '{}', '{}')",
    "insert into runs (id, organisation_id, workflow_id, version_id, lane, status)"
    " values ($1, $1, $1, $1, 0, 'success')",
    "insert into files (id, organisation_id, purpose, state, name, content_type, size, sha256)"
    " values ($1, $1, 'output', 'stored', 'secret.png', 'image/png', 1, sha256('x'))",
]
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    for statement in STATEMENTS:
        await connection.execute(statement, sys.argv[2])
    await connection.close()
asyncio.run(main())
"""


def test_another_organisations_rows_do_not_exist(browser: Browser, fleet: Fleet) -> None:
    """Its run, its stream, its file and its cancel button are 404, and its runs are in no list."""
    foreign = str(UUID(int=0x0199_0000_0000_7000_8000_0000_0000_0001))
    subprocess.run([sys.executable, "-c", FOREIGN, fleet.database_url, foreign], check=True)
    page = open_page(browser, fleet).page
    log_in(page, fleet)
    answer = page.goto(f"/runs/{foreign}")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_text("There is no such run.")).to_be_visible()
    shoot(page, "not-found")
    for path in (f"/dashboard/stream?run={foreign}", f"/dashboard/files/{foreign}", "/runs/not-an-id"):
        assert page.request.get(path).status == 404
    headers = {"Origin": fleet.url}
    assert page.request.post(f"/runs/{foreign}/cancel", headers=headers).status == 404
    page.goto("/runs?q=Secret")
    expect(page.get_by_text("No such run")).to_be_visible()
    page.context.close()


def test_cookies_are_closed_and_a_lapsed_login_renews_itself(browser: Browser, fleet: Fleet) -> None:
    """Both cookies are HttpOnly and Lax; without the session cookie the refresh cookie brings a new one; once only."""
    opened = open_page(browser, fleet)
    page = opened.page
    log_in(page, fleet)
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies([fleet.url, f"{fleet.url}/dashboard-session"])}
    assert set(cookies) == {"cf_session", "cf_refresh"}
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Lax" for cookie in cookies.values())
    assert cookies["cf_refresh"]["path"] == "/dashboard-session"
    assert page.evaluate("document.cookie") == ""
    page.goto("about:blank")  # the open page would renew its login by itself, at the same time
    page.context.clear_cookies(name="cf_session")
    page.goto("/runs?status=failed")
    expect(page).to_have_url(f"{fleet.url}/runs?status=failed")
    expect(page.locator("#badge")).to_have_text("Live")
    renewed = {cookie["name"]: cookie["value"] for cookie in page.context.cookies(f"{fleet.url}/dashboard-session")}
    assert renewed["cf_refresh"] != cookies["cf_refresh"]["value"]
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    old = {"cookie": f"cf_session={renewed['cf_session']}"}
    assert httpx.get(f"{fleet.url}/runs", headers=old).status_code == 303
    assert opened.complaints == []
    page.context.close()


def test_forms_of_other_sites_are_refused(page: Page, fleet: Fleet) -> None:
    """A form sent by another origin, or by nobody knows whom, changes nothing, cookie or not."""
    cookie = {"cookie": "; ".join(f"{each['name']}={each['value']}" for each in page.context.cookies(fleet.url))}
    for extra in ({"origin": "https://evil.example"}, {}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        answer = httpx.post(f"{fleet.url}/machines", headers={**cookie, **extra}, data={"name": "evil"})
        assert answer.status_code == 403, extra
        door = httpx.post(f"{fleet.url}/login", headers=extra, data={"email": fleet.email, "password": fleet.password})
        assert door.status_code == 403, extra
    page.goto("/machines")
    expect(page.locator("tr", has_text="evil")).to_have_count(0)


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1"])
def test_the_door_leads_to_our_own_pages_only(browser: Browser, fleet: Fleet, target: str) -> None:
    """Whatever `next_page` says, a login ends on this site."""
    page = open_page(browser, fleet).page
    page.goto(f"/login?next_page={target}")
    page.get_by_label("E-mail").fill(fleet.email)
    page.get_by_label("Password").fill(fleet.password)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{fleet.url}/")
    page.context.close()


def test_pages_work_without_javascript(browser: Browser, fleet: Fleet) -> None:
    """Logging in, reading and acting need no script: a reload shows the news."""
    page = open_page(browser, fleet, java_script_enabled=False).page
    log_in(page, fleet)
    run_id = fleet.start_run(pool={"pool": "nowhere"})
    page.goto("/runs?status=waiting")
    page.locator(f"#run-{run_id}").get_by_role("link").click()
    page.get_by_role("button", name="Cancel run").click()
    expect(page.locator("#run-status")).to_have_text("cancelled")
    page.context.close()


@pytest.mark.parametrize("path", ["/", "/runs", "/machines", "/workflows", "/webhooks"])
def test_pages_fit_a_phone_in_the_dark(browser: Browser, fleet: Fleet, path: str) -> None:
    """At a phone's width nothing sticks out sideways, and every control has a name."""
    opened = open_page(browser, fleet, color_scheme="dark")
    page = opened.page
    page.set_viewport_size({"width": 390, "height": 844})
    log_in(page, fleet)
    page.goto(path)
    expect(page.locator("#badge")).to_have_text("Live")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = """
    () => [...document.querySelectorAll("a, button, input:not([type=hidden]), progress, img")].filter((each) =>
      !(each.textContent.trim() || each.getAttribute("aria-label") || each.alt !== undefined && each.tagName === "IMG"
        || (each.labels && each.labels.length))).map((each) => each.outerHTML)
    """
    assert page.evaluate(nameless) == []
    shoot(page, f"phone-{path.strip('/') or 'overview'}")
    assert opened.complaints == []
    page.context.close()


def test_everything_is_our_own(browser: Browser, fleet: Fleet) -> None:
    """No page asks another host for anything, and the policy forbids it."""
    page = open_page(browser, fleet).page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    log_in(page, fleet)
    for path in ("/", "/runs", "/machines", "/workflows", "/webhooks"):
        answer = page.goto(path)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        expect(page.locator("#badge")).to_have_text("Live")
    assert [url for url in asked if not url.startswith(fleet.url)] == []
    page.context.close()
