"""Every operation of the OpenAPI document has a sample on a page of docs/API, where tests run it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.wire.api_pages import blocks

API = Path(__file__).resolve().parents[2] / "docs" / "API"
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


def test_every_operation_has_a_sample() -> None:
    """By method and path; what stands for a path's parameter is the page's own business."""
    document = json.loads((API / "openapi.json").read_bytes())
    samples = shown()
    operations = [(method.upper(), path) for path, item in document["paths"].items() for method in item]
    lacking = []
    for method, path in operations:
        pattern = re.compile(re.sub(r"\\\{[^/]+?\\\}", "[^/]+", re.escape(path)))
        if not any(method == shown_method and pattern.fullmatch(at) for shown_method, at in samples):
            lacking.append(f"{method} {path}")
    assert len(operations) > 100
    assert lacking == []
