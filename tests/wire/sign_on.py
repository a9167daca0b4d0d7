"""The OpenID provider of the tests: its process (oidc_provider.py), and who has an account there."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.wire.conftest import ROOT, START_S

DOMAIN = "example.org"


@contextmanager
def provider_process(folder: Path) -> Iterator[str]:
    """The address of a running provider, which is its issuer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "provider.log").open("ab") as log:
        command = [sys.executable, "tests/wire/oidc_provider.py", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "provider.log").read_text())
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/jwks").is_success
    except httpx.TransportError:
        return False


async def is_at_provider(provider: str, subject: str, **claims: Any) -> None:
    """Somebody has an account at the provider, with a verified address unless the claims say otherwise."""
    known = {"email": f"{subject}@{DOMAIN}", "email_verified": True, "name": subject.title(), **claims}
    async with httpx.AsyncClient() as client:
        assert (await client.put(f"{provider}/users/{subject}", json=known)).is_success
