"""A page in a real Chromium: opened, logged in, watched for complaints, photographed."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from playwright.sync_api import Browser, ConsoleMessage, Error, Page

from tests.browser.system import ROOT, Fleet

SCREENSHOTS = ROOT / "build" / "screenshots"
OF_A_PAGE_THAT_IS_LEFT = ("htmx:afterRequest", "htmx:sendError", "htmx:sendAbort")


class Watched(Struct):
    """A page and what its console complained about (blocked content included)."""

    page: Page
    complaints: list[str]


def open_page(browser: Browser, fleet: Fleet, **options: Any) -> Watched:
    """A page in a browser context of its own; options are Playwright's."""
    context = browser.new_context(base_url=fleet.url, viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(30_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if _complains(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return Watched(page, complaints)


def log_in(page: Page, fleet: Fleet, path: str = "/") -> None:
    """Go to a page, through the login form."""
    page.goto(path)
    page.get_by_label("E-mail").fill(fleet.email)
    page.get_by_label("Password").fill(fleet.password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"**{path}")


def shoot(page: Page, name: str) -> None:
    """Keep a picture of the whole page under build/screenshots."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for left in (2, 1, 0):
        try:
            page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
            return
        except Error:  # a busy machine's Chromium has no frame to capture now and then
            if not left:
                raise


def _complains(message: ConsoleMessage) -> bool:
    """htmx says these of a request that is cut off because the page is left; an error answer is told otherwise."""
    return message.type == "error" and not message.text.startswith(OF_A_PAGE_THAT_IS_LEFT)
