"""A version as a zip file: its graphs, its snapshot and what is said of it, each a JSON file. Pure, on bytes.

Names inside an archive are looked up and never used as paths; what it holds is read up to a limit, whatever it says.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import Any, Final

import msgspec

from orchestrator.errors import FieldError, Invalid
from orchestrator.wire import WorkflowExport

ABOUT: Final = "export.json"
PARTS: Final = {"api_graph": "workflow_api.json", "ui_graph": "workflow.json", "snapshot": "snapshot.json"}
_BROKEN: Final = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError,
    ValueError, OverflowError,
)  # fmt: skip
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_WHEN: Final = (1980, 1, 1, 0, 0, 0)  # the same bytes every time


def pack(export: WorkflowExport) -> bytes:
    """The archive: workflow_api.json, workflow.json, snapshot.json as far as there are, and export.json."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for field, name in PARTS.items():
            value = getattr(export, field)
            if value is not None:
                _write(archive, name, value)
        about = {"name": export.name, "version": export.version, "comment": export.comment, "format": export.format}
        _write(archive, ABOUT, about)
    return buffer.getvalue()


def _write(archive: zipfile.ZipFile, name: str, value: Any) -> None:
    info = zipfile.ZipInfo(name, _WHEN)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, msgspec.json.format(msgspec.json.encode(value), indent=2))


def unpack(data: bytes, most: int) -> WorkflowExport:
    """What an archive holds, of which at most `most` bytes are read. Raises Invalid."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = {name: _read(archive, name, most) for name in (ABOUT, *PARTS.values())}
    except _BROKEN as error:
        raise _bad(f"the archive cannot be read: {str(error)[:200] or type(error).__name__}") from error
    about = found[ABOUT]
    if not isinstance(about, dict):
        raise _bad(f"the archive has no {ABOUT} that says what it is")
    whole = {**about, **{field: found[name] for field, name in PARTS.items()}}
    try:
        return msgspec.convert(whole, WorkflowExport)
    except msgspec.ValidationError as error:
        raise _bad(f"{ABOUT}: {error}") from error


def _read(archive: zipfile.ZipFile, name: str, most: int) -> Any:
    try:
        info = archive.getinfo(name)
    except KeyError:
        return None
    with archive.open(info) as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise _bad(f"{name} is larger than {most} bytes")
    if _NUL.search(text):
        raise _bad(f"{name} contains U+0000, which cannot be stored")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(f"{name} is not JSON: {error}") from error


def _bad(message: str) -> Invalid:
    return Invalid(message, code="bad_archive", errors=[FieldError("", message, "bad_archive")])
