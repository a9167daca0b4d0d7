"""Bodies on their way to disk: written as they come, counted, hashed. It gives them no name."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from comfy_core.errors import InputRefused
from comfy_core.server.rules import too_large

CHUNK = 1 << 20
LONGEST_FIELD = 1 << 20


@dataclass(slots=True)
class Upload:
    """The parts of one multipart form. path: where its file `image` lies until it has a name; sha256: of its bytes."""

    fields: dict[str, str] = field(default_factory=dict)
    name: str = ""
    path: Path | None = None
    sha256: str = ""

    def discard(self) -> None:
        """Remove the file unless it was moved away."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    @property
    def overwrite(self) -> bool:
        """Whether a file of the same name is to go."""
        return self.fields.get("overwrite") in ("true", "1")


async def receive_form(request: web.Request, folder: Path) -> Upload:
    """Read an upload. Raises InputRefused for a form that is none, 413 for one that is too large."""
    if not request.content_type.startswith("multipart/"):
        raise InputRefused("an upload is a multipart form")
    upload = Upload()
    try:
        await _parts(request, upload, folder)
    except HttpProcessingError as error:
        upload.discard()
        raise InputRefused("a part of the form has headers that are none") from error
    except BaseException:
        upload.discard()
        raise
    return upload


async def _parts(request: web.Request, upload: Upload, folder: Path) -> None:
    left = request.client_max_size
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise InputRefused("an upload is a flat form")
        if part.name == "image" and part.filename:
            upload.discard()
            upload.name = part.filename
            upload.path, upload.sha256 = await spool(_chunks(part), folder, left)
        elif part.name is not None and part.filename is None:
            upload.fields[part.name] = await _field(part)


async def _field(part: BodyPartReader) -> str:
    content = bytearray()
    async for chunk in _chunks(part):
        content += chunk
        if len(content) > LONGEST_FIELD:
            raise InputRefused("a field of the form is too long")
    return content.decode(errors="replace")


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(CHUNK):
        yield chunk


async def spool(chunks: AsyncIterator[bytes], folder: Path, most: int) -> tuple[Path, str]:
    """Write a body beside where it will be: its path and SHA-256. Raises 413 past `most` bytes."""
    digest, size = hashlib.sha256(), 0
    handle, name = tempfile.mkstemp(prefix=".upload-", dir=folder)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > most:
                    raise too_large(most, size)
                digest.update(chunk)
                file.write(chunk)
    except BaseException:
        _remove(path)
        raise
    return path, digest.hexdigest()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
