"""Single sign-on in a real browser: over the provider's own page and back, under the dashboard's policy and cookies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, expect

from tests.browser.system import Fleet
from tests.wire.conftest import start_orchestrator
from tests.wire.sign_on import DOMAIN, provider_process

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def replica(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Another replica of the fleet that has single sign-on as a public client, and its provider: their addresses."""
    with provider_process(tmp_path_factory.mktemp("provider")) as provider:
        home = tmp_path_factory.mktemp("replica")
        shutil.copy(fleet.home / "up.json", home)
        running = start_orchestrator(
            home,
            fleet.database_url,
            oidc_issuer=provider,
            oidc_client_id="comfyfleet",
            oidc_domains=DOMAIN,
            oidc_private="true",
        )
        try:
            yield running.url, provider
        finally:
            running.stop()


def test_a_person_comes_in_by_the_provider(replica: tuple[str, str], browser: Browser) -> None:
    """The button, the provider's form, and the page that was asked for; nothing is blocked, and logging out ends it."""
    url, provider = replica
    known = {"email": f"vera@{DOMAIN}", "email_verified": True, "name": "Vera"}
    assert httpx.put(f"{provider}/users/vera", json=known).is_success
    context = browser.new_context(base_url=url)
    page = context.new_page()
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and page.url.startswith(url):  # the provider's own page is its own business
            complaints.append(message.text)

    page.on("console", heard)
    page.goto("/machines")
    page.get_by_role("link", name="Log in with single sign-on").click()
    page.wait_for_url(f"{provider}/**")
    page.get_by_placeholder("sub").fill("vera")
    page.get_by_role("button", name="Authorize").click()
    page.wait_for_url(f"{url}/machines")
    expect(page.get_by_text(f"vera@{DOMAIN}")).to_be_visible()
    kept = {cookie["name"]: cookie for cookie in context.cookies()}
    assert {"cf_session", "cf_refresh"} <= set(kept)
    assert "cf_sign_on" not in kept
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Lax" for cookie in kept.values())
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{url}/login")
    page.goto("/machines")
    page.wait_for_url("**/login?next_page=%2Fmachines")
    context.close()
    assert complaints == []


def test_whoever_is_not_let_in_reads_why(replica: tuple[str, str], browser: Browser) -> None:
    """On the login page, beside the form for a password."""
    url, provider = replica
    assert httpx.put(f"{provider}/users/eve", json={"email": "eve@evil.example", "email_verified": True}).is_success
    context = browser.new_context(base_url=url)
    page = context.new_page()
    page.goto("/login")
    page.get_by_role("link", name="Log in with single sign-on").click()
    page.get_by_placeholder("sub").fill("eve")
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("alert")).to_contain_text("e-mail domain")
    expect(page.get_by_label("Password")).to_be_visible()
    context.close()
