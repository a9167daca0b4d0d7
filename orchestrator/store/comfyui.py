"""What the ComfyUI facade keeps: prompts of a sender, names of uploaded inputs, links that open it in a browser.

A sender is whoever a credential stands for (`key:<id>`, `user:<id>`); each sees its own prompts and names only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from asyncpg import Record
from msgspec import Struct

from orchestrator.store.db import Database
from orchestrator.store.files import FileRow, of_organisation
from orchestrator.store.ids import uuid7
from orchestrator.wire import Role


class Sender(Struct, frozen=True):
    """Whose things are asked for."""

    organisation_id: str
    name: str


class Prompt(Struct, frozen=True):
    """A run that was sent as a prompt. graph and inputs: runs/shapes.py puts them together."""

    id: str
    number: int
    client_id: str
    extra: dict[str, Any]
    status: str
    graph: dict[str, Any]
    inputs: dict[str, Any]
    failure: dict[str, Any] | None
    created_at: datetime
    running_at: datetime | None
    ended_at: datetime | None


_PROMPT: Final[LiteralString] = """
    select r.id, g.number, g.client_id, g.extra, r.status, v.api_graph as graph, r.inputs, r.failure, r.created_at,
           r.running_at, r.ended_at
    from sent_graphs g join runs r on r.id = g.run_id join workflow_versions v on v.id = r.version_id
    where g.organisation_id = $1 and g.sender = $2 and g.dialect = 'comfyui' and r.organisation_id = $1
"""


async def open_prompts(db: Database, sender: Sender, limit: int) -> list[Prompt]:
    """Prompts that have not ended, oldest first."""
    rows = await db.fetch(
        _PROMPT + " and r.ended_at is null order by g.run_id limit $3", sender.organisation_id, sender.name, limit
    )
    return [_prompt(row) for row in rows]


_ENDED: Final[LiteralString] = _PROMPT + " and r.ended_at is not null and g.forgotten_at is null"


async def ended_prompts(db: Database, sender: Sender, limit: int, offset: int | None) -> list[Prompt]:
    """Prompts that have ended and were not forgotten, oldest first: the newest, or (offset) those after the oldest."""
    if offset is None:
        query = _ENDED + " order by g.run_id desc limit $3"
        rows = await db.fetch(query, sender.organisation_id, sender.name, limit)
        return [_prompt(row) for row in reversed(rows)]
    query = _ENDED + " order by g.run_id limit $3 offset $4"
    return [_prompt(row) for row in await db.fetch(query, sender.organisation_id, sender.name, limit, offset)]


async def prompt(db: Database, sender: Sender, run_id: str) -> Prompt | None:
    """One prompt of the sender's."""
    row = await db.fetchrow(_PROMPT + " and g.run_id = $3", sender.organisation_id, sender.name, run_id)
    return None if row is None else _prompt(row)


def _prompt(row: Record) -> Prompt:
    return Prompt(**{**dict(row), "id": str(row["id"])})


class Account(Struct, frozen=True):
    """What a socket needs to know of a prompt."""

    run_id: str
    client_id: str
    status: str
    revision: int


async def accounts(db: Database, sender: Sender, run_ids: list[str]) -> list[Account]:
    """Those of the runs that are prompts of the sender's."""
    rows = await db.fetch(
        """
        select g.run_id, g.client_id, r.status, r.revision from sent_graphs g join runs r on r.id = g.run_id
        where g.organisation_id = $1 and g.sender = $2 and g.dialect = 'comfyui' and g.run_id = any($3::uuid[])
        """,
        sender.organisation_id,
        sender.name,
        run_ids,
    )
    return [Account(str(row["run_id"]), row["client_id"], row["status"], row["revision"]) for row in rows]


async def open_accounts(db: Database, sender: Sender, client_id: str) -> list[Account]:
    """The client's prompts that have not ended."""
    rows = await db.fetch(
        """
        select g.run_id, g.client_id, r.status, r.revision from sent_graphs g join runs r on r.id = g.run_id
        where g.organisation_id = $1 and g.sender = $2 and g.dialect = 'comfyui' and g.client_id = $3
          and r.ended_at is null order by g.run_id limit 1000
        """,
        sender.organisation_id,
        sender.name,
        client_id,
    )
    return [Account(str(row["run_id"]), row["client_id"], row["status"], row["revision"]) for row in rows]


async def waiting(db: Database, sender: Sender) -> int:
    """How many prompts of the sender's have not ended."""
    count: int = await db.fetchval(
        """
        select count(*) from sent_graphs g join runs r on r.id = g.run_id
        where g.organisation_id = $1 and g.sender = $2 and g.dialect = 'comfyui' and r.ended_at is null
        """,
        sender.organisation_id,
        sender.name,
    )
    return count


async def forget(db: Database, sender: Sender, run_ids: list[str] | None) -> None:
    """Take prompts out of the sender's history; None: all that have ended."""
    await db.execute(
        """
        update sent_graphs g set forgotten_at = now() from runs r
        where g.organisation_id = $1 and g.sender = $2 and g.dialect = 'comfyui' and g.forgotten_at is null
          and r.id = g.run_id and r.ended_at is not null and ($3::uuid[] is null or g.run_id = any($3::uuid[]))
        """,
        sender.organisation_id,
        sender.name,
        run_ids,
    )


class MadeRow(Struct, frozen=True):
    """An output of a prompt: a file's name, or a value."""

    run_id: str
    node_id: str
    kind: str
    name: str | None
    data: Any


async def made(db: Database, organisation_id: str, run_ids: list[str]) -> list[MadeRow]:
    """The outputs of runs, in order."""
    rows = await db.fetch(
        """
        select o.run_id, o.node_id, o.kind, f.name, o.data
        from outputs o left join files f on f.id = o.file_id and f.organisation_id = o.organisation_id
        where o.organisation_id = $1 and o.run_id = any($2::uuid[]) order by o.run_id, o.ordinal
        """,
        organisation_id,
        run_ids,
    )
    return [MadeRow(str(row["run_id"]), row["node_id"], row["kind"], row["name"], row["data"]) for row in rows]


async def output_file(db: Database, organisation_id: str, run_id: str, name: str) -> str | None:
    """The id of the file of that name that a run made."""
    found: UUID | None = await db.fetchval(
        """
        select o.file_id from outputs o join files f on f.id = o.file_id and f.organisation_id = o.organisation_id
        where o.organisation_id = $1 and o.run_id = $2 and f.name = $3 order by o.ordinal limit 1
        """,
        organisation_id,
        run_id,
        name,
    )
    return None if found is None else str(found)


async def input_files(db: Database, sender: Sender, paths: list[str]) -> dict[str, str]:
    """The ids of the files that the sender uploaded under these paths."""
    rows = await db.fetch(
        "select path, file_id from comfyui_files where organisation_id = $1 and sender = $2 and path = any($3::text[])",
        sender.organisation_id,
        sender.name,
        paths,
    )
    return {row["path"]: str(row["file_id"]) for row in rows}


async def input_paths(db: Database, sender: Sender, limit: int) -> list[str]:
    """The paths that the sender uploaded, newest first."""
    rows = await db.fetch(
        "select path from comfyui_files where organisation_id = $1 and sender = $2 order by created_at desc limit $3",
        sender.organisation_id,
        sender.name,
        limit,
    )
    return [row["path"] for row in rows]


async def name_input(db: Database, sender: Sender, path: str, file_id: str) -> None:
    """The path stands for this file from now on."""
    await db.execute(
        """
        insert into comfyui_files (organisation_id, sender, path, file_id) values ($1, $2, $3, $4)
        on conflict (organisation_id, sender, path) do update set file_id = excluded.file_id, created_at = now()
        """,
        sender.organisation_id,
        sender.name,
        path,
        file_id,
    )


async def file_of(db: Database, organisation_id: str, file_id: str) -> FileRow | None:
    """A stored file of the organisation."""
    found = await of_organisation(db, organisation_id, [UUID(file_id)])
    return found[0] if found else None


class NewLink(Struct, frozen=True, kw_only=True):
    """A link to be made, good for code_s seconds; the browser that opens it is let in for life_s."""

    organisation_id: str
    sender: str
    created_by: str | None
    role: Role
    scopes: list[str]
    code_hash: bytes
    code_s: int
    life_s: int


async def add_link(db: Database, new: NewLink) -> datetime:
    """Keep a link; returns when it runs out."""
    expires_at: datetime = await db.fetchval(
        """
        insert into comfyui_links
          (id, organisation_id, sender, created_by, role, code_hash, code_expires_at, expires_at, scopes)
        values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7), now() + make_interval(secs => $8), $9)
        returning code_expires_at
        """,
        uuid7(),
        new.organisation_id,
        new.sender,
        new.created_by,
        new.role,
        new.code_hash,
        new.code_s,
        new.life_s,
        new.scopes,
    )
    return expires_at


async def trade_link(db: Database, code_hash: bytes, token_hash: bytes) -> datetime | None:
    """Trade a link's code, once; returns until when the token is good. None: unknown, used or too old."""
    until: datetime | None = await db.fetchval(
        """
        update comfyui_links set used_at = now(), token_hash = $2
        where code_hash = $1 and used_at is null and code_expires_at > now() returning expires_at
        """,
        code_hash,
        token_hash,
    )
    return until


class Guest(Struct, frozen=True):
    """Whom a browser that opened a link acts for. role: the lesser of the link's and its maker's present one."""

    organisation_id: str
    sender: str
    user_id: str | None
    role: Role
    scopes: list[str]


async def guest(db: Database, token_hash: bytes) -> Guest | None:
    """Who has this token, while it is good, and its maker is a member and the maker's key is not revoked."""
    row = await db.fetchrow(
        """
        select l.organisation_id, l.sender, l.created_by, l.scopes, greatest(l.role, m.role, k.role) as role
        from comfyui_links l
        left join memberships m on m.organisation_id = l.organisation_id and m.user_id = l.created_by
        left join api_keys k on k.organisation_id = l.organisation_id and 'key:' || k.id = l.sender
          and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
        where l.token_hash = $1 and l.expires_at > now() and (l.created_by is null or m.user_id is not null)
          and (l.sender not like 'key:%' or k.id is not null)
        """,
        token_hash,
    )
    if row is None:
        return None
    user_id = None if row["created_by"] is None else str(row["created_by"])
    return Guest(str(row["organisation_id"]), row["sender"], user_id, row["role"], row["scopes"])


class Kept(Struct, frozen=True):
    """A file of a user's own, without its bytes."""

    path: str
    size: int
    created_at: datetime
    modified_at: datetime


async def kept(db: Database, sender: Sender, folder: str, limit: int) -> list[Kept]:
    """The user's files under a folder ("" or one that ends in /), by path."""
    rows = await db.fetch(
        """
        select path, length(body) as size, created_at, modified_at from comfyui_userdata
        where organisation_id = $1 and sender = $2 and starts_with(path, $3) order by path limit $4
        """,
        sender.organisation_id,
        sender.name,
        folder,
        limit,
    )
    return [Kept(**dict(row)) for row in rows]


async def read(db: Database, sender: Sender, path: str) -> bytes | None:
    """The bytes of a user's file."""
    body: bytes | None = await db.fetchval(
        "select body from comfyui_userdata where organisation_id = $1 and sender = $2 and path = $3",
        sender.organisation_id,
        sender.name,
        path,
    )
    return body


async def write(db: Database, sender: Sender, path: str, body: bytes, *, most: int) -> bool:
    """Keep a user's file, in place of one of that path. False: it would be one more than `most`."""
    stored = await db.fetchval(
        """
        insert into comfyui_userdata as u (organisation_id, sender, path, body)
        select $1, $2, $3, $4
        where (select count(*) from comfyui_userdata where organisation_id = $1 and sender = $2 and path <> $3) < $5
        on conflict (organisation_id, sender, path) do update set body = excluded.body, modified_at = now()
        returning 1
        """,
        sender.organisation_id,
        sender.name,
        path,
        body,
        most,
    )
    return stored is not None


async def move(db: Database, sender: Sender, path: str, to: str) -> bool:
    """Give a user's file another path, in place of what stands there. False: there is none."""
    async with db.transaction() as connection:
        there = await connection.fetchval(
            "select 1 from comfyui_userdata where organisation_id = $1 and sender = $2 and path = $3 for update",
            sender.organisation_id,
            sender.name,
            path,
        )
        if there is None:
            return False
        await connection.execute(
            "delete from comfyui_userdata where organisation_id = $1 and sender = $2 and path = $3 and path <> $4",
            sender.organisation_id,
            sender.name,
            to,
            path,
        )
        await connection.execute(
            "update comfyui_userdata set path = $4 where organisation_id = $1 and sender = $2 and path = $3",
            sender.organisation_id,
            sender.name,
            path,
            to,
        )
    return True


async def remove(db: Database, sender: Sender, path: str) -> bool:
    """Forget a user's file. False: there is none."""
    done = await db.execute(
        "delete from comfyui_userdata where organisation_id = $1 and sender = $2 and path = $3",
        sender.organisation_id,
        sender.name,
        path,
    )
    return done != "DELETE 0"
