"""Every route of the application has a page that names it, a rule of who may use it, a sample, and its refusals.

Pages of docs/API are executed by tests/wire/test_docs_api.py, the other samples by tests/wire/test_samples.py, and the
refusals are the permission matrix of tests/wire/test_permissions.py.
"""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.api.inventory import Entry
from orchestrator.api.open_routes import ANY_CREDENTIAL, PUBLIC
from tests.wire import permissions
from tests.wire.api_pages import blocks
from tests.wire.permissions import Credential
from tests.wire.samples import BY_TEST, SAMPLES, shape

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "docs" / "API"
ENTRIES = permissions.entries()
REQUEST = re.compile(r"(GET|POST|PUT|PATCH|DELETE|HEAD) (\S+)")
CURL = re.compile(r"(?:<url>|https?://[^/\s\"']+)(/[^\s\"'?]+)")
SIGNED = {"<file_url>": "/files/an-id/a-name", "<upload_url>": "/files/upload/an-id"}
"""Addresses that answers give, and the routes behind them."""


def shown() -> set[tuple[str, str]]:
    """(method, path) of every sample."""
    found = set()
    for page in API.glob("*.md"):
        for block in blocks(page):
            request = REQUEST.match(block.text)
            if block.language == "http" and request is not None:
                path = request[2].partition("?")[0]
                found.add((request[1], SIGNED.get(path, path)))
            elif block.language == "sh":
                named = re.search(r"-X (\w+)", block.text)
                implied = "POST" if re.search(r"\s(-d|-F|--data\S*|--json)\s", block.text) else "GET"
                found |= {(named[1] if named else implied, path) for path in CURL.findall(block.text)}
    return found


def _pattern(entry: Entry, value: str) -> re.Pattern[str]:
    """The path, with anything like `value` in the place of its parameters."""
    path = entry.name.partition(" ")[2]
    return re.compile(re.sub(r"\\\{\w+\\\}", lambda _match: value, re.escape(path)))


def test_every_route_is_named_by_its_page() -> None:
    """The page that the inventory gives it has its address, with some value or name in each parameter's place."""
    unnamed = []
    for entry in ENTRIES:
        path = API / f"{entry.page}.md"
        value = r"[^/\s`\"?|]+"
        named = re.compile(_pattern(entry, value).pattern + r"(?![\w/{<.-])")
        text = path.read_text(encoding="utf-8") if entry.page else ""
        if not named.search(text) and not any(signed in text for signed, at in SIGNED.items() if named.search(at)):
            unnamed.append(f"{entry.name}: {entry.page or 'no page'}")
    assert len(ENTRIES) > 250
    assert unnamed == []


def test_every_route_says_who_may_use_it() -> None:
    """A role and a scope; or why none: it is public, for any credential, or a page for people who logged in."""
    silent = [entry.name for entry in ENTRIES if not (entry.role and entry.scopes) and not entry.reason]
    assert silent == []
    assert {entry.name for entry in ENTRIES if entry.public} == set(PUBLIC)
    assert set(ANY_CREDENTIAL) <= {entry.name for entry in ENTRIES if not entry.public and entry.role is None}


def test_every_route_has_a_sample() -> None:
    """On a page that is executed, among the samples that are sent, or in a test that is named here."""
    pages, sent = shown(), {shape(sample.route) for sample in SAMPLES}
    lacking = [
        entry.name
        for entry in ENTRIES
        if shape(entry.name) not in sent
        and entry.name not in BY_TEST
        and not any(method == entry.method and _pattern(entry, "[^/]+").fullmatch(at) for method, at in pages)
    ]
    assert lacking == []


def test_a_test_that_stands_for_a_sample_is_there() -> None:
    """Each is of a route of today, and its text stands in the file."""
    assert set(BY_TEST) <= {entry.name for entry in ENTRIES}
    assert [route for route, (file, text) in BY_TEST.items() if text not in (ROOT / file).read_text()] == []


def test_every_guarded_route_refuses_somebody() -> None:
    """The permission matrix has rows for it in which it must refuse: no credential, and too weak a role or no scope."""
    nobody = Credential("no token", None)
    weakest = Credential("the role playground", "x", "playground", login=True)
    for entry in [entry for entry in ENTRIES if not entry.public]:
        assert permissions.expected(entry, nobody) is not None, entry.name
        for scope in entry.scopes:
            without = Credential(f"all scopes but {scope}", "x", "owner", frozenset(), login=True)
            assert permissions.concerns(entry, without), entry.name
            assert permissions.expected(entry, without) == {403}, entry.name
        if entry.role not in (None, "playground"):
            assert permissions.expected(entry, weakest) == {403}, entry.name
