"""Where one attempt's files lie for its executor: in folders that both see, or behind the executor's own HTTP API.

It knows names and bytes, not what is fetched from where or where results go afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
import structlog

from machine_agent.errors import AttemptFailed

_TRANSFER = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=120)
_CALL = aiohttp.ClientTimeout(total=30)
_CHUNK = 1 << 20
_log = structlog.get_logger()


class Shelf(Protocol):
    """One attempt's files. directory: the name the executor is to be told; None where it has no such thing."""

    directory: str | None

    async def put(self, source: Path, name: str) -> None:
        """Lay a file as input `name` (folder/file)."""

    async def get(self, item: dict[str, Any]) -> Path | None:
        """The output that an executor calls {filename, subfolder}; None when it is not there any more.

        Raises AttemptFailed when it claims to lie outside the output folder.
        """

    async def clear(self) -> None:
        """The attempt is over: take away what may be taken away. Never raises."""


class LocalShelf:
    """Folders on this machine's disk."""

    def __init__(self, home: Path, directory: str | None) -> None:
        self.directory = directory
        self._roots = [home / "input", home / "output", home / "temp" / "temp"]
        self._input, self._output = (root / directory if directory else root for root in self._roots[:2])
        self._placed: list[Path] = []

    async def put(self, source: Path, name: str) -> None:
        """A link to the file, or a copy where links do not reach."""
        await asyncio.to_thread(_link, source, self._input / name)
        self._placed.append(self._input / name)

    async def get(self, item: dict[str, Any]) -> Path | None:
        """The file itself."""
        root = self._output.resolve()
        path = (root / str(item.get("subfolder", "")) / item["filename"]).resolve()
        if not path.is_relative_to(root):
            raise AttemptFailed.because("upload_failed", f"output {item['filename']!r} lies outside the output folder")
        return path if path.is_file() else None

    async def clear(self) -> None:
        """The whole directory where there is one, else the inputs; outputs stay, a cached result may name them."""
        for path in self._placed:
            path.unlink(missing_ok=True)
        if self.directory is not None:
            for root in self._roots:
                await asyncio.to_thread(shutil.rmtree, root / self.directory, ignore_errors=True)


class RemoteShelf:
    """An executor's own upload and download routes. scratch: where outputs are brought to on this machine."""

    def __init__(self, session: aiohttp.ClientSession, url: str, scratch: Path, directory: str | None) -> None:
        self.directory = directory
        self._session = session
        self._url = url
        self._scratch = scratch
        self._query = {"directory": directory} if directory else {}

    async def put(self, source: Path, name: str) -> None:
        """POST /upload/image, which takes any file."""
        folder, _, filename = name.rpartition("/")
        form = aiohttp.FormData()
        for key, value in {"type": "input", "subfolder": folder, "overwrite": "true"}.items():
            form.add_field(key, value)
        with await asyncio.to_thread(source.open, "rb") as file:
            form.add_field("image", file, filename=filename)
            url = f"{self._url}/upload/image"
            async with self._session.post(url, params=self._query, data=form, timeout=_TRANSFER) as response:
                response.raise_for_status()

    async def get(self, item: dict[str, Any]) -> Path | None:
        """GET /view."""
        wanted = {"filename": item["filename"], "subfolder": str(item.get("subfolder", "")), "type": "output"}
        path = self._scratch / f"{len(list(self._scratch.glob('*'))):06}" / Path(item["filename"]).name
        async with self._session.get(f"{self._url}/view", params=wanted | self._query, timeout=_TRANSFER) as response:
            if response.status == 404:
                return None
            response.raise_for_status()
            path.parent.mkdir(parents=True)
            with path.open("wb") as file:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    await asyncio.to_thread(file.write, chunk)
        return path

    async def clear(self) -> None:
        """What we brought here, and the prompt's directory there. Files on a server without directories stay."""
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
        if self.directory is None:
            return
        with contextlib.suppress(aiohttp.ClientError, OSError):
            url = f"{self._url}/fleet/directories/{quote(self.directory, safe='')}"
            async with self._session.delete(url, timeout=_CALL) as response:
                if response.status != 204:
                    _log.warning("directory_not_removed", directory=self.directory, status=response.status)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
