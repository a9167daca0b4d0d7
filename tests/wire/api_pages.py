"""Reads a page of docs/API and runs it: its requests are sent, its answers compared with those that come.

A page's samples are fenced blocks. ```http that begins with a method is a request; one that begins with HTTP/1.1 is the
answer to the request before it. ```sh is a curl command. ```json is a frame of the agents' line.

`<name>` stands for a value: known from before, or learnt from the answer. `…` in an answer stands for any text; as the
last item of a list or as a member's name, for whatever else is there. A time stands for any time.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"<([a-z0-9_]+)>")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
MORE = "…"


class Block(Struct):
    """A fenced block and the line it begins at."""

    language: str
    text: str
    line: int


class Answer(Struct):
    """What a page says is answered."""

    status: int
    headers: dict[str, str]
    body: str


class Differs(AssertionError):
    """An answer is not what the page says; the path says where."""


def blocks(page: Path) -> list[Block]:
    """The page's fenced blocks in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match.group(1), match.group(2), text.count("\n", 0, match.start()) + 1) for match in FENCE.finditer(text)
    ]


def exchanges(page: Path) -> Iterator[tuple[Block, Block | None]]:
    """Each request with the answer that follows it, if one does."""
    found = blocks(page)
    for place, block in enumerate(found):
        if block.language == "sh" or (block.language == "http" and not block.text.startswith("HTTP/")):
            following = found[place + 1] if place + 1 < len(found) else None
            is_answer = following is not None and following.text.startswith("HTTP/")
            yield block, following if is_answer else None


def filled(text: str, known: dict[str, str]) -> str:
    """The text with known values in place of their names. Raises Differs for a name that was never learnt."""

    def value(match: re.Match[str]) -> str:
        if match.group(1) not in known:
            raise Differs(f"<{match.group(1)}> was never answered")
        return known[match.group(1)]

    return NAME.sub(value, text)


def _parts(text: str) -> tuple[str, dict[str, str], str]:
    head, _, body = text.partition("\n\n")
    first, *lines = head.strip().split("\n")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return first, headers, body.strip("\n")


async def send(client: httpx.AsyncClient, block: Block, known: dict[str, str]) -> httpx.Response:
    """Send a block's request."""
    if block.language == "sh":
        return await _curl(client, filled(block.text, known))
    first, headers, body = _parts(filled(block.text, known))
    method, target = first.split(" ", 1)
    if headers.get("Content-Type", "").startswith("multipart/"):
        body = body.replace("\n", "\r\n") + "\r\n"
    return await client.request(method, target, headers=headers, content=body.encode())


async def _curl(client: httpx.AsyncClient, command: str) -> httpx.Response:
    """The request that a curl command would make."""
    words = iter(shlex.split(command.replace("\\\n", " "))[1:])
    method, url, headers, content = "GET", "", {}, None
    for word in words:
        match word:
            case "-H":
                name, _, value = next(words).partition(":")
                headers[name] = value.strip()
            case "-d":
                method, content = "POST", next(words)
            case "-s" | "-N":
                pass
            case _:
                url = word
    return await client.request(method, url, headers=headers, content=content)


def read_answer(block: Block) -> Answer:
    """What the page says is answered."""
    first, headers, body = _parts(block.text)
    return Answer(int(first.split()[1]), headers, body)


def compare(expected: Answer, response: httpx.Response, known: dict[str, str]) -> None:
    """Raises Differs where the response is not what the page says; learns the values of new names."""
    if response.status_code != expected.status:
        raise Differs(f"answered {response.status_code}, not {expected.status}: {response.text[:500]}")
    for name, value in expected.headers.items():
        _same(response.headers.get(name, ""), value, name, known)
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/event-stream"):
        _same_events(response.text, expected.body, known)
    elif "json" in kind and expected.body:
        _same(response.json(), json.loads(expected.body), "$", known)
    else:
        _same(response.text.strip("\r\n"), expected.body, "$", known)


def _same(actual: Any, expected: Any, path: str, known: dict[str, str]) -> None:
    if isinstance(expected, dict):
        _same_object(actual, expected, path, known)
    elif isinstance(expected, list):
        _same_list(actual, expected, path, known)
    elif isinstance(expected, str):
        text = str(actual) if isinstance(actual, int) and NAME.fullmatch(expected) else actual
        if not isinstance(text, str) or not _same_text(text, expected, known):
            raise Differs(f"{path}: {actual!r} is not {expected!r}")
    elif path.endswith("_ms") or path.endswith("_bytes"):
        if not isinstance(actual, int | float):
            raise Differs(f"{path}: {actual!r} is no number")
    elif actual != expected:
        raise Differs(f"{path}: {actual!r} is not {expected!r}")


def _same_object(actual: Any, expected: dict[str, Any], path: str, known: dict[str, str]) -> None:
    wanted = {name: value for name, value in expected.items() if name != MORE}
    if not isinstance(actual, dict):
        raise Differs(f"{path}: {actual!r} is no object")
    strange = set() if MORE in expected else set(actual) - set(wanted)
    if strange or set(wanted) - set(actual):
        raise Differs(f"{path}: not on the page {sorted(strange)}, not answered {sorted(set(wanted) - set(actual))}")
    for name, value in wanted.items():
        _same(actual[name], value, f"{path}.{name}", known)


def _same_list(actual: Any, expected: list[Any], path: str, known: dict[str, str]) -> None:
    wanted = expected[:-1] if expected and expected[-1] == MORE else expected
    if not isinstance(actual, list) or len(actual) < len(wanted) or (wanted is expected and len(actual) > len(wanted)):
        raise Differs(f"{path}: {actual!r} is not like {expected!r}")
    for place, value in enumerate(wanted):
        _same(actual[place], value, f"{path}[{place}]", known)


def _same_text(actual: str, expected: str, known: dict[str, str]) -> bool:
    if TIME.fullmatch(expected):
        return TIME.fullmatch(actual) is not None
    pattern, names = "", []
    for part in re.split(r"(<[a-z0-9_]+>|…)", expected):
        name = NAME.fullmatch(part)
        if part == MORE:
            pattern += ".*"
        elif name and name.group(1) not in known:
            pattern += "(.+?)"
            names.append(name.group(1))
        else:
            pattern += re.escape(known[name.group(1)] if name else part)
    match = re.fullmatch(pattern, actual, re.DOTALL)
    if match is None:
        return False
    known.update(zip(names, match.groups(), strict=True))
    return True


def _same_events(actual: str, expected: str, known: dict[str, str]) -> None:
    """The changes of status must be those of the page; how much progress is shown depends on the machine."""
    here, there = _events(actual), _events(expected)
    changes = [event for event in here if event["event"] == "status"]
    wanted = [event for event in there if event["event"] == "status"]
    _same([dict(event) for event in changes], wanted, "status events", known)
    for event in [event for event in there if event["event"] == "progress"]:
        kinds = [other["data"].keys() for other in here if other["event"] == "progress"]
        if kinds and not set(event["data"]) >= set(kinds[-1]):
            raise Differs(f"progress has {sorted(kinds[-1])}, the page says {sorted(event['data'])}")


def _events(text: str) -> list[dict[str, Any]]:
    found = []
    for message in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in message.splitlines() if ": " in line and not line.startswith(":"))
        if "data" in fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found
