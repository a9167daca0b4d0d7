"""Where files' bytes are, and the signed URLs that reach them. The only door to local folders of files and to S3.

Content is addressed by organisation and sha256, so that the same bytes are kept once and a stored file never changes:
`<organisation>/<aa>/<sha256>`. What comes in is a draft beside it until its hash is known; with S3 an agent writes its
draft straight to the bucket and it is read back before it counts. Files knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import re
import time
import unicodedata
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote, urlsplit
from uuid import UUID

import obstore
from msgspec import Struct
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from drivers.wire import JobFile
from orchestrator.config import Config
from orchestrator.credentials import derive
from orchestrator.errors import Forbidden, Gone, Invalid, NotFound, TooLarge, Unavailable
from orchestrator.store import files as rows
from orchestrator.store.db import Database
from orchestrator.store.files import FileRow
from orchestrator.store.ids import new_id
from orchestrator.wire import File

BLOCK: Final = 1024 * 1024
STEP_S: Final = 300
"""Expiry times are rounded up to this, so that a browser's cache sees the same URL for a while."""
LONGEST_NAME: Final = 180
OLD_DRAFT_S: Final = 86400
_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")

Verb = Literal["GET", "PUT"]


class Draft(Struct, frozen=True):
    """Bytes received whole, not yet kept."""

    path: Path
    size: int
    sha256: bytes


class Storage(Protocol):
    """Where kept content lies. key: `<organisation>/<aa>/<sha256>`."""

    async def keep(self, draft: Draft, key: str, content_type: str) -> None:
        """Make a draft durable under its key; the draft is gone afterwards."""

    async def has(self, key: str) -> bool:
        """Whether content lies there."""

    def local(self, key: str) -> Path | None:
        """The content as a file of this machine, if it is one."""

    def signed(self, verb: Verb, key: str, life_s: int) -> str | None:
        """A URL of the storage itself that reaches the content for so long; None when clients come through us."""

    async def read(self, key: str) -> bytes | None:
        """The content in memory, for whoever knows that it is small; None: there is none."""

    async def remove(self, key: str) -> None:
        """Delete content; none is no error."""

    async def adopt(self, pending: str, key: str, size: int, sha256: bytes) -> bool:
        """Check what a client wrote to the pending key and move it to its key. False: it is not what was announced."""


class LocalStorage:
    """Files under a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, draft: Draft, key: str, content_type: str) -> None:
        """fsync, then rename: what is there under its name is whole."""
        await asyncio.to_thread(_move_durably, draft.path, self._folder / key)

    async def has(self, key: str) -> bool:
        """Whether the file is there."""
        return (self._folder / key).is_file()

    def local(self, key: str) -> Path | None:
        """The file."""
        return self._folder / key

    def signed(self, verb: Verb, key: str, life_s: int) -> str | None:
        """None: clients come through us."""
        return None

    async def read(self, key: str) -> bytes | None:
        """In a thread."""
        try:
            return await asyncio.to_thread((self._folder / key).read_bytes)
        except FileNotFoundError:
            return None

    async def remove(self, key: str) -> None:
        """Unlink."""
        await asyncio.to_thread((self._folder / key).unlink, missing_ok=True)

    async def adopt(self, pending: str, key: str, size: int, sha256: bytes) -> bool:
        """A file is kept when it is received; what was not, is not there."""
        return False


def _move_durably(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class S3Storage:
    """An S3-compatible bucket. Raises Unavailable when it cannot be reached."""

    def __init__(self, config: Config) -> None:
        parts = urlsplit(config.files_url or "")
        if parts.scheme != "s3" or not parts.netloc:
            raise ValueError("FLEET_FILES_URL must look like s3://bucket or s3://bucket/prefix")
        prefix = parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        settings: dict[str, Any] = {"bucket": parts.netloc, "region": config.files_region}
        if config.files_endpoint:
            settings |= {"endpoint": config.files_endpoint, "virtual_hosted_style_request": False}
        if config.files_access_key:
            settings |= {"access_key_id": config.files_access_key, "secret_access_key": config.files_secret_key}
        plain = (config.files_endpoint or "").startswith("http://")
        self._store = S3Store(**settings, client_options={"allow_http": plain})

    async def keep(self, draft: Draft, key: str, content_type: str) -> None:
        """Upload, in parts when it is large."""
        try:
            attributes = {"Content-Type": content_type}
            await obstore.put_async(self._store, self._prefix + key, draft.path, attributes=attributes)
        except BaseError as error:
            raise _storage_away(error) from error
        draft.path.unlink(missing_ok=True)

    async def has(self, key: str) -> bool:
        """HEAD."""
        try:
            await obstore.head_async(self._store, self._prefix + key)
        except (NotFoundError, FileNotFoundError):
            return False
        except BaseError as error:
            raise _storage_away(error) from error
        return True

    def local(self, key: str) -> Path | None:
        """Never."""
        return None

    def signed(self, verb: Verb, key: str, life_s: int) -> str:
        """A pre-signed URL."""
        url: str = obstore.sign(self._store, verb, self._prefix + key, timedelta(seconds=life_s))
        return url

    async def read(self, key: str) -> bytes | None:
        """GET."""
        try:
            return bytes(await (await obstore.get_async(self._store, self._prefix + key)).bytes_async())
        except (NotFoundError, FileNotFoundError):
            return None
        except BaseError as error:
            raise _storage_away(error) from error

    async def remove(self, key: str) -> None:
        """DELETE."""
        try:
            await obstore.delete_async(self._store, self._prefix + key)
        except (NotFoundError, FileNotFoundError):
            return
        except BaseError as error:
            raise _storage_away(error) from error

    async def adopt(self, pending: str, key: str, size: int, sha256: bytes) -> bool:
        """Size by HEAD, hash by reading back; then copied to its key."""
        source = self._prefix + pending
        try:
            if (await obstore.head_async(self._store, source))["size"] != size:
                return False
            found = hashlib.sha256()
            async for chunk in (await obstore.get_async(self._store, source)).stream():
                found.update(bytes(chunk))
            if found.digest() != sha256:
                return False
            await obstore.copy_async(self._store, source, self._prefix + key)
            await obstore.delete_async(self._store, source)
        except (NotFoundError, FileNotFoundError):
            return False
        except BaseError as error:
            raise _storage_away(error) from error
        return True


def _storage_away(error: Exception) -> Unavailable:
    reason = str(error).partition("\n")[0][:200]
    return Unavailable(f"the object storage failed: {reason}", code="storage_unavailable", retry_after_s=2)


class Files:
    """The one interface to stored files."""

    def __init__(self, config: Config, secret: bytes) -> None:
        self.storage: Storage = S3Storage(config) if config.files_url else LocalStorage(config.data / "files")
        self._config = config
        self._key = derive(secret, "file urls")
        self._drafts = config.data / "files" / "drafts"

    async def open(self) -> None:
        """Make the folders, and throw away drafts that a killed process left."""
        await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        self._drafts.mkdir(parents=True, exist_ok=True)
        oldest = time.time() - OLD_DRAFT_S
        for draft in self._drafts.iterdir():
            if draft.stat().st_mtime < oldest:
                draft.unlink(missing_ok=True)

    # Signed URLs

    def url(self, file_id: str, name: str) -> str:
        """Where the file can be downloaded until the URL expires; nothing else is needed."""
        expires = self._expiry()
        signature = self._signature("GET", file_id, name, expires)
        path = f"/files/{file_id}/{quote(name, safe='')}"
        return f"{self._config.base_url}{path}?expires={expires}&signature={signature}"

    def _expiry(self) -> int:
        return (int(time.time()) + self._config.file_url_s) // STEP_S * STEP_S + STEP_S

    def _signature(self, verb: Verb, file_id: str, name: str, expires: int) -> str:
        message = f"{verb}\n{file_id}\n{expires}\n{name}".encode("utf-8", "surrogatepass")
        return base64.urlsafe_b64encode(hmac.digest(self._key, message, "sha256")).rstrip(b"=").decode()

    def check_signature(self, verb: Verb, file_id: str, name: str, expires: int, signature: str) -> None:
        """Raises Forbidden for a URL that was changed, Gone for one that expired."""
        right = self._signature(verb, file_id, name, expires)
        if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace")):
            raise Forbidden("the URL was not signed by this server, or was changed", code="bad_signature")
        if expires < time.time():
            raise Gone("the URL has expired: ask for a new one", code="url_expired")

    def grant_url(self, file: FileRow) -> str:
        """Where a client may PUT the bytes of a pending file."""
        direct = self.storage.signed("PUT", _pending(file.id), self._config.file_url_s)
        if direct is not None:
            return direct
        expires = self._expiry()
        signature = self._signature("PUT", file.id, "", expires)
        return f"{self._config.base_url}/files/upload/{file.id}?expires={expires}&signature={signature}"

    def put_url(self, path: str, subject: str, name: str) -> str:
        """A URL of ours, `path` and the name, that takes one file until it expires; subject says for whom."""
        expires = self._expiry()
        signature = self._signature("PUT", subject, name, expires)
        return f"{self._config.base_url}{path}/{quote(name, safe='')}?expires={expires}&signature={signature}"

    def direct_url(self, file: FileRow) -> str | None:
        """A pre-signed URL of the storage itself, where it has one."""
        return self.storage.signed("GET", key_of(file.organisation_id, file.sha256), STEP_S)

    # Bytes

    async def receive(self, chunks: AsyncIterator[bytes], limit: int) -> Draft:
        """Write a stream to a draft. Raises TooLarge past the limit; nothing is left of a stream that broke off."""
        path = self._drafts / new_id()
        found, size, waiting = hashlib.sha256(), 0, bytearray()
        with path.open("wb") as file:
            try:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise TooLarge(f"the file is larger than {limit} bytes")
                    waiting += chunk
                    if len(waiting) >= BLOCK:
                        await asyncio.to_thread(_write, file, found, bytes(waiting))
                        waiting.clear()
                _write(file, found, bytes(waiting))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return Draft(path, size, found.digest())

    async def keep(self, organisation_id: str, draft: Draft, content_type: str) -> None:
        """Make a draft durable."""
        await self.storage.keep(draft, key_of(organisation_id, draft.sha256), content_type)

    async def take(self, file: FileRow, chunks: AsyncIterator[bytes]) -> None:
        """Receive a pending file's bytes and keep them. Raises Invalid when they are not what was announced."""
        draft = await self.receive(chunks, file.size)
        if draft.size != file.size or draft.sha256 != file.sha256:
            draft.path.unlink(missing_ok=True)
            what = "size" if draft.size != file.size else "sha256"
            raise Invalid(f"the bytes do not have the announced {what}", code=f"wrong_{what}")
        await self.keep(file.organisation_id, draft, file.content_type)

    async def forget_content(self, organisation_id: str, sha256: bytes) -> None:
        """Remove bytes that no file has."""
        await self.storage.remove(key_of(organisation_id, sha256))

    async def read(self, file: FileRow, limit: int) -> bytes:
        """A stored file's bytes, in memory. Raises TooLarge, and NotFound where the bytes are gone."""
        if file.size > limit:
            raise TooLarge(f"{file.name} is larger than {limit} bytes")
        data = await self.storage.read(key_of(file.organisation_id, file.sha256))
        if data is None:
            raise NotFound(f"the bytes of {file.name} are gone", code="file_not_found")
        return data

    def path(self, file: FileRow) -> Path | None:
        """The content as a file of this machine, if it is one."""
        return self.storage.local(key_of(file.organisation_id, file.sha256))

    # What runs ask

    async def already_stored(self, db: Database, organisation_id: str, sha256: bytes, size: int) -> bool:
        """Whether the organisation has this content, so that nothing need be sent."""
        if not await rows.has_content(db, organisation_id, sha256, size):
            return False
        return await self.storage.has(key_of(organisation_id, sha256))

    async def confirm(self, db: Database, file_ids: Sequence[str], attempt_id: str) -> list[str]:
        """Those of the files that are not stored, or not this attempt's. Pending ones are checked and marked first."""
        granted = {file.id: file for file in await rows.of_attempt(db, UUID(attempt_id), _uuids(file_ids))}
        stored = {file_id for file_id, file in granted.items() if file.stored}
        arrived = [file.id for file in granted.values() if not file.stored and await self.arrived(file)]
        if arrived:
            await rows.mark_stored(db, arrived)
        return [file_id for file_id in file_ids if file_id not in stored and file_id not in arrived]

    async def arrived(self, file: FileRow) -> bool:
        """Whether a client wrote a pending file's bytes straight to the storage; then they are kept."""
        key = key_of(file.organisation_id, file.sha256)
        return await self.storage.adopt(_pending(file.id), key, file.size, file.sha256)

    async def resolve(self, db: Database, organisation_id: str, file_ids: Sequence[str]) -> dict[str, FileRow]:
        """Those of the files that are the organisation's and stored, by id."""
        found = await rows.of_organisation(db, organisation_id, _uuids(file_ids))
        return {file.id: file for file in found}

    async def job_files(self, db: Database, organisation_id: str, file_ids: Sequence[str]) -> dict[str, JobFile]:
        """The same as what an agent is told to fetch."""
        found = await self.resolve(db, organisation_id, file_ids)
        return {
            file.id: JobFile(
                key=file.id,
                url=self.url(file.id, file.name),
                name=file.name,
                sha256=file.sha256.hex(),
                size=file.size,
                trusted=True,
            )
            for file in found.values()
        }

    def shown(self, file: FileRow) -> File:
        """The file as the API shows it."""
        return File(
            id=file.id,
            name=file.name,
            content_type=file.content_type,
            size=file.size,
            sha256=file.sha256.hex(),
            created_at=file.created_at,
            url=self.url(file.id, file.name),
            purpose=file.purpose,
        )


def _write(file: Any, found: Any, data: bytes) -> None:
    file.write(data)
    found.update(data)


def key_of(organisation_id: str, sha256: bytes) -> str:
    """Where content lies."""
    name = sha256.hex()
    return f"{organisation_id}/{name[:2]}/{name}"


def _pending(file_id: str) -> str:
    return f"pending/{file_id}"


def _uuids(texts: Sequence[str]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


def clean_name(name: str) -> str:
    """A file name without folders, control characters or tricks; never empty."""
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    last = re.split(r"[/\\]", text)[-1]
    kept = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip(" .")
    if len(kept) > LONGEST_NAME:
        stem, dot, ending = kept.rpartition(".")
        kept = stem[: LONGEST_NAME - 20] + dot + ending[:19] if dot else kept[:LONGEST_NAME]
    return kept or "file"


def clean_content_type(given: str, name: str) -> str:
    """The content type given, or one guessed from the name when it says nothing."""
    kind = given.partition(";")[0].strip().lower()
    if _CONTENT_TYPE.fullmatch(kind) and kind != "application/octet-stream":
        return kind
    return guess_type(name)[0] or "application/octet-stream"
