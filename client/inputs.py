"""Inputs of a run as the command line gives them: `-i seed=7`, `-i image=@photo.png`, `-i prompt="a cat"`. Pure."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from msgspec import Struct

from client.errors import SetupProblem

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


class FromFile(Struct, frozen=True):
    """An input whose value is a file to be uploaded."""

    path: Path


Value = FromFile | str | int | float | bool | list[object] | dict[str, object] | None


def parse(pair: str) -> tuple[str, Value]:
    """One `key=value`: @path is a file (@@ a text that begins with @); a number, true, false, a JSON list or object
    is itself; anything else is text. Raises SetupProblem when there is no key or the file is missing."""
    key, equals, text = pair.partition("=")
    if not equals or not key:
        raise SetupProblem(f"an input is key=value or key=@file, not {pair!r}")
    if text.startswith("@@"):
        return key, text[1:]
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        if not path.is_file():
            raise SetupProblem(f"input {key}: there is no file {path}")
        return key, FromFile(path)
    return key, _literal(text)


def _literal(text: str) -> Value:
    if NUMBER.fullmatch(text) or text in ("true", "false") or text[:1] in ("[", "{", '"'):
        try:
            value: Value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
        return value
    return text


def labels(pairs: list[str]) -> dict[str, str]:
    """`key=value` pairs as a pool or as labels."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise SetupProblem(f"a label is key=value, not {pair!r}")
        found[key] = value
    return found
