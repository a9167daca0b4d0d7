"""Where the fleet is and with which key: the only file of the client that reads the environment.

The command line comes first, then FLEET_URL and FLEET_API_KEY, then the up.json that `comfyfleet up` wrote.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from client.errors import SetupProblem

DATA = Path(".comfyfleet")
OURS = ("FLEET_", "DATABASE_URL")


class UpFile(Struct, frozen=True):
    """What a running fleet wrote for scripts: its address, the first admin's login and an API key."""

    url: str
    email: str = ""
    password: str = ""
    api_key: str = ""


class Access(Struct, frozen=True):
    """An address and the key for it."""

    url: str
    api_key: str


def read_up_file(path: Path) -> UpFile | None:
    """The up.json at that path; None when there is none. Raises SetupProblem when it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=UpFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise SetupProblem(f"{path} cannot be read ({error}); give --url and --api-key") from error


def write_up_file(path: Path, up: UpFile) -> None:
    """Writes up.json so that only its owner can read it, whole or not at all."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(up), indent=2) + b"\n")
    part.replace(path)


def access(url: str | None, api_key: str | None, data: Path | None, environ: Mapping[str, str] | None = None) -> Access:
    """The fleet to talk to. Raises SetupProblem, with the remedy, when nothing names one."""
    env = os.environ if environ is None else environ
    url, api_key = url or env.get("FLEET_URL"), api_key or env.get("FLEET_API_KEY")
    if not (url and api_key):
        path = (data or Path(env.get("FLEET_DATA", DATA))) / "up.json"
        up = read_up_file(path)
        if up is not None and (url is None or url.rstrip("/") == up.url.rstrip("/")):
            url, api_key = up.url, api_key or up.api_key
        elif up is not None and api_key is None:
            raise SetupProblem(f"{path} holds the key of {up.url}, not of {url}: give --api-key or FLEET_API_KEY")
    if not url:
        raise SetupProblem("no fleet to talk to: run `make up`, or give --url and --api-key (FLEET_URL, FLEET_API_KEY)")
    if not api_key:
        raise SetupProblem(f"no API key for {url}: give --api-key or FLEET_API_KEY")
    return Access(url, api_key)


def child_environment(*, isolated: bool, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child process inherits. isolated leaves out every setting of a fleet, so that only our options count."""
    env = dict(os.environ if environ is None else environ)
    env["PYTHONUNBUFFERED"] = "1"
    return {name: value for name, value in env.items() if not (isolated and name.startswith(OURS))}
