"""What an executor answers to /object_info, packed: an agent hands it over once per hash, and it is kept so.

Pure. Lists of files that somebody uploaded are emptied: they change with every run and say nothing about the machine.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

_UPLOADS: Final = ("image_upload", "animated_image_upload", "video_upload", "audio_upload", "file_upload")


class Packed(Struct, frozen=True):
    """hash: sha256 (hex) of the JSON; body: the JSON, zlib-compressed, in base64."""

    hash: str = ""
    body: str = ""


def pack(declared: Mapping[str, Any]) -> Packed:
    """What each class declares, by class_type, packed."""
    text = msgspec.json.encode({name: _settled(info) for name, info in declared.items()})
    return Packed(hashlib.sha256(text).hexdigest(), base64.b64encode(zlib.compress(text, 6)).decode())


def _settled(info: Any) -> Any:
    groups = info.get("input") if isinstance(info, dict) else None
    if not isinstance(groups, dict):
        return info
    kept = {
        group: {name: _input(declared) for name, declared in inputs.items()} if isinstance(inputs, dict) else inputs
        for group, inputs in groups.items()
    }
    return {**info, "input": kept}


def _input(declared: Any) -> Any:
    """An input's [type, options]; of an upload, whose type lists the files, the list is emptied."""
    if not isinstance(declared, list) or len(declared) < 2 or not isinstance(declared[1], dict):
        return declared
    if not any(declared[1].get(upload) for upload in _UPLOADS):
        return declared
    options = {**declared[1], "options": []} if "options" in declared[1] else declared[1]
    return [[] if isinstance(declared[0], list) else declared[0], options, *declared[2:]]
