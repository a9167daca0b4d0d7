"""The first administrator: made once, when nobody can log in yet. What was generated is told once, to a file.

The file is written before the rows are committed: a crash in between leaves a file that the next start replaces, never
an administrator whose password nobody knows.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from orchestrator.auth import Passwords
from orchestrator.config import Config
from orchestrator.credentials import hint_of, looks_like_api_key, new_api_key
from orchestrator.store import keys, users
from orchestrator.store.db import Database
from orchestrator.store.ids import digest

log = structlog.get_logger("first_admin")

ORGANISATION = "default"


class FirstAdmin(Struct, frozen=True):
    """What `up.json` holds."""

    url: str
    email: str
    password: str
    api_key: str


async def ensure(db: Database, config: Config, up_file: Path) -> FirstAdmin | None:
    """Make the first administrator and write up_file (mode 0600), or do nothing when there is a user already.

    Raises ValueError when FLEET_ADMIN_API_KEY is not an API key of our form.
    """
    async with db.transaction() as connection:
        if await users.any_user(connection):
            return None
        admin = _credentials(config)
        password_hash = await Passwords().hash(admin.password)
        organisation_id, user_id = await users.create_owner(connection, admin.email, password_hash, ORGANISATION)
        key = keys.NewKey(organisation_id, "first key", digest(admin.api_key), hint_of(admin.api_key), "owner", user_id)
        await keys.create(connection, key, "system")
        _write(up_file, admin)
    log.info("first administrator made", email=admin.email, credentials=str(up_file))
    return admin


def _credentials(config: Config) -> FirstAdmin:
    key = config.admin_api_key or new_api_key()
    if not looks_like_api_key(key):
        raise ValueError("FLEET_ADMIN_API_KEY is not an API key: `cf_`, 30 characters and a checksum of 6")
    return FirstAdmin(
        url=config.base_url,
        email=(config.admin_email or "admin@localhost").strip().lower(),
        password=config.admin_password or secrets.token_urlsafe(15),
        api_key=key,
    )


def _write(path: Path, admin: FirstAdmin) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(admin), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
