"""What is deleted when its time has come, and what is never: old runs, their files, and bytes without a file."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from uuid import UUID

import pytest

from drivers.wire import Failure, Output, RunId
from orchestrator import wire
from orchestrator.config import Config
from orchestrator.errors import Unavailable
from orchestrator.files import Files, key_of
from orchestrator.loops.retain import Retain
from orchestrator.runs.state import Reported
from orchestrator.store import assets, file_lists, files, fleet, graphs, ids, run_marks, runs, usage
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger
from tests.store.fleet_rows import Team, make_team, place, queue_run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def storage(tmp_path: Path) -> Files:
    """Files in a folder."""
    it = Files(Config(data=tmp_path), b"secret")
    await it.open()
    return it


async def store(db: Database, storage: Files, team: Team, content: bytes, attempt: str | None = None) -> str:
    """A stored file of this content."""

    async def chunks():
        yield content

    draft = await storage.receive(chunks(), 1000)
    await storage.keep(team.organisation_id, draft, "text/plain")
    purpose = "output" if attempt else "input"
    new = files.NewFile(team.organisation_id, purpose, "f", "text/plain", draft.size, draft.sha256, True, attempt)
    return (await files.add(db, new)).id


def path_of(storage: Files, team: Team, content: bytes) -> Path:
    """Where the bytes lie."""
    found = storage.storage.local(key_of(team.organisation_id, hashlib.sha256(content).digest()))
    assert found is not None
    return found


def id_at(days_ago: float) -> str:
    """An id of that time."""
    milliseconds = (UUID(ids.new_id()).int >> 80) - int(days_ago * 86_400_000)
    return str(UUID(int=(milliseconds << 80) | (UUID(ids.new_id()).int & ((1 << 80) - 1))))


async def finished(db: Database, storage: Files, team: Team, days_ago: float, content: bytes, **inputs: object) -> str:
    """A run that succeeded so long ago and made a file."""
    run = runs.NewRun(
        id=RunId(id_at(days_ago)),
        organisation_id=team.organisation_id,
        workflow_id=team.workflow_id,
        version_id=team.version_id,
        deployment_id=None,
        inputs=inputs,
    )
    await runs.insert(db, [run])
    ledger = Ledger(db, lambda _changes, _to_tell: None)
    attempt, token = await place(ledger, team, run.id)
    file = await store(db, storage, team, content, attempt)
    await ledger.apply([Change(run.id, Reported(attempt, 1, "started"), token=token)])
    outputs = [Output("9", "images", file)]
    await ledger.apply([Change(run.id, Reported(attempt, 2, "success"), token=token, outputs=outputs)])
    age = "now() - make_interval(days => $2)"
    await db.execute(f"update runs set ended_at = {age} where id = $1", run.id, int(days_ago))
    await db.execute(f"update files set stored_at = {age} where id = $1", file, int(days_ago))
    return run.id


async def everything(loop: Retain) -> None:
    """Turns until there is nothing left to do."""
    while await loop.tick():
        pass


async def test_old_runs_go_with_their_files_and_nothing_else(db: Database, storage: Files, tmp_path: Path) -> None:
    """Young runs, favourites, runs that wait, shared contents, inputs that others name, and usage all stay."""
    team = await make_team(db)
    shared = await store(db, storage, team, b"shared input")
    await db.execute("update files set stored_at = now() - interval '90 days'")
    old = await finished(db, storage, team, 40, b"old", photo={"file_id": shared})
    young = await finished(db, storage, team, 20, b"young", photo={"file_id": shared})
    favourite = await finished(db, storage, team, 50, b"favourite")
    twin = await finished(db, storage, team, 60, b"young")
    waiting = id_at(45)
    new = runs.NewRun(
        id=RunId(waiting),
        organisation_id=team.organisation_id,
        workflow_id=team.workflow_id,
        version_id=team.version_id,
        deployment_id=None,
    )
    await runs.insert(db, [new])
    await run_marks.mark(db, team.organisation_id, favourite, wire.RunUpdate(favourite=True))
    await everything(Retain(db, storage, Config(data=tmp_path, retention_days=30), grace_s=0))
    left = {str(row["id"]) for row in await db.fetch("select id from runs")}
    assert left == {young, favourite, waiting}
    assert old not in left
    assert twin not in left
    assert not path_of(storage, team, b"old").exists()
    assert all(path_of(storage, team, content).exists() for content in (b"young", b"favourite", b"shared input"))
    assert await db.fetchval("select count(*) from attempts where run_id = $1", old) == 0
    await fleet.roll_up_counts(db, 1000)
    counts = {row["status"]: row["n"] for row in await db.fetch("select status::text, n from run_counts where n <> 0")}
    assert counts == {"success": 2, "not-started": 1}
    assert (await usage.storage(db, team.organisation_id)).files == 3
    assert await db.fetchval("select sum(runs) from usage_deltas") == 4


async def test_without_a_retention_nothing_is_deleted(db: Database, storage: Files, tmp_path: Path) -> None:
    """The default keeps every run for ever."""
    team = await make_team(db)
    run = await finished(db, storage, team, 4000, b"ancient")
    await everything(Retain(db, storage, Config(data=tmp_path), grace_s=0))
    assert await runs.get(db, team.organisation_id, run) is not None
    assert path_of(storage, team, b"ancient").exists()


async def test_assets_go_when_their_time_is_over(db: Database, storage: Files, tmp_path: Path) -> None:
    """Not those that are kept for ever or longer, and not one that a run which has not ended needs."""
    team = await make_team(db)
    lives = {"over": -1, "longer": 600, "for ever": None, "needed": -1}
    ids_of = {}
    for name, seconds in lives.items():
        file_id = ids_of[name] = await store(db, storage, team, name.encode())
        await assets.describe(db, file_id, assets.NewAsset(team.organisation_id, name, [], seconds))
    run = await queue_run(db, team, inputs={"photo": {"file_id": ids_of["needed"]}})
    loop = Retain(db, storage, Config(data=tmp_path), grace_s=0)
    await everything(loop)
    left = {row["file_path"] for row in await db.fetch("select file_path from assets")}
    assert left == {"longer", "for ever", "needed"}
    assert not path_of(storage, team, b"over").exists()
    await db.execute("update runs set status = 'cancelled', ended_at = now() where id = $1", run)
    await everything(loop)
    assert await assets.get(db, team.organisation_id, ids_of["needed"]) is None


async def test_files_that_came_early_stay_only_as_outputs(db: Database, storage: Files, tmp_path: Path) -> None:
    """While their attempt goes on they stay; of one that failed they go, of one that succeeded the outputs stay."""
    team = await make_team(db)
    ledger = Ledger(db, lambda _changes, _to_tell: None)
    found = {}
    for name in ("goes on", "fails", "succeeds"):
        run = await queue_run(db, team, max_attempts=1)
        attempt, token = await place(ledger, team, run)
        file = found[name] = await store(db, storage, team, name.encode(), attempt)
        await db.execute("update files set provisional_since = now() - interval '1 hour' where id = $1", file)
        await ledger.apply([Change(run, Reported(attempt, 1, "started"), token=token)])
        if name == "fails":
            event = Reported(attempt, 2, "failed", Failure("node_error", "no"))
            await ledger.apply([Change(run, event, token=token)])
        if name == "succeeds":
            outputs = [Output("9", "images", file)]
            await ledger.apply([Change(run, Reported(attempt, 2, "success"), token=token, outputs=outputs)])
    await everything(Retain(db, storage, Config(data=tmp_path), grace_s=0))
    left = {str(row["id"]): row["provisional_since"] for row in await db.fetch("select * from files")}
    assert set(left) == {found["goes on"], found["succeeds"]}
    assert [left[found[name]] is None for name in ("goes on", "succeeds")] == [False, True]


async def test_keys_that_went_along_are_forgotten_with_the_end_of_their_run(db: Database) -> None:
    """While it waits they are there, once it has ended they are not; the rest of what was said stays."""
    team = await make_team(db)
    waits, ended = [await queue_run(db, team) for _ in range(2)]
    for run in (waits, ended):
        told = {"run_id": run, "organisation_id": team.organisation_id, "dialect": "comfy_v2", "sender": "user:x"}
        await graphs.note(db, graphs.Sent(**told, sealed=b"sealed"))
    await db.execute("update runs set status = 'cancelled', ended_at = now() where id = $1", ended)
    assert await graphs.drop_keys(db) == 1
    assert (await graphs.along(db, team.organisation_id, waits)).sealed == b"sealed"
    assert (await graphs.along(db, team.organisation_id, ended)).sealed is None


async def test_bytes_outlive_their_last_file_for_a_while(db: Database, storage: Files, tmp_path: Path) -> None:
    """Two files of one content: the bytes stay with the second, and within the grace; then they go."""
    team = await make_team(db)
    first, second = [UUID(await store(db, storage, team, b"bytes")) for _ in range(2)]
    config, path = Config(data=tmp_path), path_of(storage, team, b"bytes")
    at_once, later = Retain(db, storage, config, grace_s=0), Retain(db, storage, config)
    assert await file_lists.delete(db, team.organisation_id, first, "user:x")
    await everything(at_once)
    assert path.exists()
    assert await file_lists.delete(db, team.organisation_id, second, "user:x")
    await everything(later)
    assert path.exists()
    await everything(at_once)
    assert not path.exists()
    assert await db.fetchval("select count(*) from doomed_contents") == 0


async def test_content_that_comes_back_is_kept(db: Database, storage: Files, tmp_path: Path) -> None:
    """Uploaded again before its time it stays; in the very moment of its removal the upload is told to come again."""
    team = await make_team(db)
    await file_lists.delete(db, team.organisation_id, UUID(await store(db, storage, team, b"back")), "user:x")
    await store(db, storage, team, b"back")
    await everything(Retain(db, storage, Config(data=tmp_path), grace_s=0))
    assert path_of(storage, team, b"back").exists()
    await file_lists.delete(db, team.organisation_id, UUID(await store(db, storage, team, b"gone")), "user:x")
    (content,) = await file_lists.begin_removing(db, 0, 10)
    with pytest.raises(Unavailable):
        await store(db, storage, team, b"gone")
    await storage.forget_content(content.organisation_id, content.sha256)
    await file_lists.removed(db, content)
    await store(db, storage, team, b"gone")
    assert path_of(storage, team, b"gone").exists()


async def test_uploads_and_removals_of_one_content_never_leave_a_file_without_bytes(
    db: Database, storage: Files, tmp_path: Path
) -> None:
    """Thirty rounds of uploading, deleting and removing at once: every file that was noted has its bytes."""
    team = await make_team(db)
    loop = Retain(db, storage, Config(data=tmp_path), grace_s=0)

    async def come_and_go() -> None:
        for _ in range(10):
            try:
                file = await store(db, storage, team, b"contested")
            except Unavailable:
                continue
            await file_lists.delete(db, team.organisation_id, UUID(file), "user:x")

    async def remove() -> None:
        for _ in range(20):
            await loop.tick()

    await asyncio.gather(come_and_go(), come_and_go(), come_and_go(), remove())
    for _ in range(100):
        try:
            await store(db, storage, team, b"contested")
            break
        except Unavailable:
            await loop.tick()
    await everything(loop)
    assert path_of(storage, team, b"contested").read_bytes() == b"contested"


async def test_a_file_that_a_machine_just_made_is_not_deleted_under_it(db: Database, storage: Files) -> None:
    """Until its attempt has ended it is refused; afterwards the output stays, without its file."""
    team = await make_team(db)
    run = runs.NewRun(
        id=RunId(ids.new_id()),
        organisation_id=team.organisation_id,
        workflow_id=team.workflow_id,
        version_id=team.version_id,
        deployment_id=None,
    )
    await runs.insert(db, [run])
    ledger = Ledger(db, lambda _changes, _to_tell: None)
    attempt, token = await place(ledger, team, run.id)
    file = UUID(await store(db, storage, team, b"made", attempt))
    await ledger.apply([Change(run.id, Reported(attempt, 1, "started"), token=token)])
    with pytest.raises(file_lists.FileInUse):
        await file_lists.delete(db, team.organisation_id, file, "user:x")
    outputs = [Output("9", "images", str(file))]
    await ledger.apply([Change(run.id, Reported(attempt, 2, "success"), token=token, outputs=outputs)])
    assert await file_lists.delete(db, team.organisation_id, file, "user:x")
    (output,) = await runs.outputs_of(db, team.organisation_id, run.id)
    assert (output.node_id, output.file_id, output.name) == ("9", None, None)
