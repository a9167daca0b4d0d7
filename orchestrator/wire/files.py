"""Files, stored by content."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from orchestrator.wire.base import Request


class File(Struct, omit_defaults=True):
    """A stored file. url is signed and expires."""

    id: str
    name: str
    content_type: str
    size: int
    sha256: str
    created_at: datetime
    url: str
    purpose: Literal["input", "output"] = "input"


Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
FileSize = Annotated[int, Meta(ge=0, le=2**50)]
FileName = Annotated[str, Meta(min_length=1, max_length=500)]
ContentType = Annotated[str, Meta(max_length=200)]


class UploadCreate(Request):
    """Body of POST /files/uploads: what will be sent, byte for byte. sha256 is hex."""

    name: FileName
    size: FileSize
    sha256: Sha256
    content_type: ContentType = ""


class Upload(Struct):
    """Where to PUT the bytes until expires_at; then complete it. url null: the content is here, nothing to send."""

    file_id: str
    url: str | None
    headers: dict[str, str]
    expires_at: datetime


class FileByHash(Request):
    """Body of POST /files/by-hash: content that the organisation has already, under a new name. sha256 is hex."""

    name: FileName
    size: FileSize
    sha256: Sha256
    content_type: ContentType = ""


class FileFromUrl(Request):
    """Body of POST /files/from-url. name: the last part of the URL when left out."""

    url: Annotated[str, Meta(min_length=8, max_length=2000)]
    name: FileName | None = None
