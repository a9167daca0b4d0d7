"""The embedded server for real: started, killed, adopted, shared, kept from strangers."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.installation import EmbeddedPostgresError, choose_installation, unprivileged_account
from tests.conftest import run_sql

pytestmark = pytest.mark.anyio
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="shows what root does")


@pytest.fixture
async def server(reachable_tmp: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A forgetful server, not yet started."""
    server = EmbeddedPostgres(reachable_tmp / "db", durable=False)
    yield server
    await server.stop()


async def value(dsn: str, sql: str) -> object:
    """One value on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def postmaster(home: Path) -> int:
    """The process id of the server under home."""
    return int((home / "data" / "postmaster.pid").read_text().split("\n")[0])


def unprivileged_uid() -> int | None:
    """The user id that the server runs under, when it is not ours."""
    account = unprivileged_account()
    return account.uid if account else None


async def kill_and_wait(dsn: str, pid: int) -> None:
    """Kill the server and wait until it refuses connections."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            await value(dsn, "select 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return
    pytest.fail("a killed server still answers")


async def test_by_default_it_is_durable(reachable_tmp: Path) -> None:
    """Without being told otherwise, fsync and its companions are on; data outlives stop and start."""
    server = EmbeddedPostgres(reachable_tmp / "db")
    dsn = await server.start()
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        assert await value(dsn, f"show {name}") == "on"
    assert await value(dsn, "show listen_addresses") == ""
    await run_sql(dsn, "create table t as select 1 as a")
    await server.stop()
    assert await server.start() == dsn
    assert await value(dsn, "select a from t") == 1
    await server.stop()


async def test_a_killed_server_comes_back_by_itself(server: EmbeddedPostgres, reachable_tmp: Path) -> None:
    """watch() restarts a killed server, three times, with everything that was committed."""
    dsn = await server.start()
    await run_sql(dsn, "create table t (a integer)")
    watch = asyncio.create_task(server.watch())
    for number in range(3):
        await run_sql(dsn, f"insert into t values ({number})")
        await kill_and_wait(dsn, postmaster(reachable_tmp / "db"))
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await value(dsn, "select count(*) from t") == number + 1
                    break
                except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
                    await asyncio.sleep(0.02)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_two_orchestrators_share_one_server(server: EmbeddedPostgres, reachable_tmp: Path) -> None:
    """Two that start at once get the same server: one makes it, the other adopts it."""
    other = EmbeddedPostgres(reachable_tmp / "db", durable=False)
    first, second = await asyncio.gather(server.start(), other.start())
    assert first == second
    assert await value(first, "select 1") == 1
    await other.stop()


async def test_a_server_left_by_a_killed_orchestrator_is_adopted(server: EmbeddedPostgres, reachable_tmp: Path) -> None:
    """The starter is killed, its server stays; the next finds the same one, restarts it when it dies, and stops it."""
    home = reachable_tmp / "db"
    program = (
        "import asyncio, os, sys; from pathlib import Path; from orchestrator.store.embedded import EmbeddedPostgres\n"
        f"asyncio.run(EmbeddedPostgres(Path({str(home)!r}), durable=False).start()); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], check=False, timeout=60, stdout=subprocess.DEVNULL)
    pid = postmaster(home)
    dsn = await server.start()
    assert postmaster(home) == pid
    watch = asyncio.create_task(server.watch())
    await kill_and_wait(dsn, pid)
    async with asyncio.timeout(30):
        while True:
            try:
                await value(dsn, "select 1")
                break
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
                await asyncio.sleep(0.05)
    watch.cancel()
    await server.stop()
    with pytest.raises(OSError, match=r"No such file|refused"):
        await value(dsn, "select 1")


async def test_an_adopted_server_is_stopped(server: EmbeddedPostgres, reachable_tmp: Path) -> None:
    """stop() of one that adopted ends the server that another started."""
    dsn = await server.start()
    other = EmbeddedPostgres(reachable_tmp / "db", durable=False)
    await other.start()
    await other.stop()
    with pytest.raises(OSError, match=r"No such file|refused"):
        await value(dsn, "select 1")


async def test_a_lock_file_of_another_program_is_no_obstacle(server: EmbeddedPostgres, reachable_tmp: Path) -> None:
    """After a container's restart the recorded process id may be anyone's: the server starts, nobody is hurt."""
    dsn = await server.start()
    file = reachable_tmp / "db" / "data" / "postmaster.pid"
    stranger = subprocess.Popen(["sleep", "60"], user=unprivileged_uid())
    text = file.read_text().split("\n", 1)[1]
    await kill_and_wait(dsn, postmaster(reachable_tmp / "db"))
    file.write_text(f"{stranger.pid}\n{text}")
    await server.start()
    assert await value(dsn, "select 1") == 1
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


async def test_a_killed_initdb_leaves_nothing_in_the_way(server: EmbeddedPostgres, reachable_tmp: Path) -> None:
    """Half a cluster from an interrupted first start is thrown away."""
    draft = reachable_tmp / "db" / "data.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    assert await value(await server.start(), "select 1") == 1


async def test_a_long_or_odd_path_gets_a_short_socket(reachable_tmp: Path) -> None:
    """A path beyond the kernel's limit for sockets, with a space and a quote in it, works, and stays the same."""
    home = reachable_tmp / ("it's a long name " * 8).strip() / "db"
    home.parent.mkdir()
    server = EmbeddedPostgres(home, durable=False)
    dsn = await server.start()
    assert await value(dsn, "select 1") == 1
    await server.stop()
    assert await server.start() == dsn
    await server.stop()
    Path((home / "socket-folder").read_text().strip()).rmdir()


async def test_data_of_another_version_is_refused(server: EmbeddedPostgres, reachable_tmp: Path) -> None:
    """Data of an older PostgreSQL is left alone, and the error says how to move it."""
    await server.start()
    await server.stop()
    (reachable_tmp / "db" / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(EmbeddedPostgresError, match=r"written by PostgreSQL 14 .* pg_dump"):
        await server.start()
    (reachable_tmp / "db" / "data" / "PG_VERSION").write_text(f"{choose_installation().major}\n")


async def test_a_server_that_cannot_start_says_why(reachable_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that the server refuses ends in an error with the server's own words."""
    monkeypatch.setattr("orchestrator.store.embedded.FAILING_TIMEOUT_S", 0.5)
    server = EmbeddedPostgres(reachable_tmp / "db", durable=False, settings={"shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedPostgresError, match="nonsense"):
        await server.start()


async def test_only_its_own_accounts_get_in(server: EmbeddedPostgres, reachable_tmp: Path) -> None:
    """Peer is the only way in, and only the starter's and the server's account pass; the socket's folder is private."""
    dsn = await server.start()
    rules = await value(dsn, "select string_agg(type || ' ' || auth_method, ', ') from pg_hba_file_rules")
    assert rules == "local peer"
    assert (reachable_tmp / "db" / "run").stat().st_mode & 0o777 == 0o700
    assert (reachable_tmp / "db" / "data").stat().st_mode & 0o777 == 0o700
    account = unprivileged_account()
    names = {pwd.getpwuid(os.geteuid()).pw_name} | ({account.name} if account else set())
    allowed = await value(dsn, "select array_agg(sys_name) from pg_ident_file_mappings")
    assert isinstance(allowed, list)
    assert set(allowed) == names


@as_root
async def test_another_account_is_refused_even_at_the_socket(server: EmbeddedPostgres, reachable_tmp: Path) -> None:
    """With the folder and the socket opened by hand, peer still turns another local user away."""
    dsn = await server.start()
    run = reachable_tmp / "db" / "run"
    run.chmod(0o755)
    (run / ".s.PGSQL.5432").chmod(0o777)
    stranger = pwd.getpwnam("daemon")
    psql = choose_installation().bin / "psql"
    done = subprocess.run(
        [psql, dsn, "-c", "select 1"], user=stranger.pw_uid, group=stranger.pw_gid, extra_groups=[], cwd="/",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Peer authentication failed" in done.stderr
    assert await value(dsn, "select current_user") == "postgres"


@as_root
async def test_root_keeps_a_closed_folder_closed(reachable_tmp: Path) -> None:
    """Below a folder that only root may enter, the data goes elsewhere, is found again, and no permission changes."""
    closed = reachable_tmp / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "db", durable=False)
    dsn = await server.start()
    await run_sql(dsn, "create table t as select 1 as a")
    await server.stop()
    assert closed.stat().st_mode & 0o777 == 0o700
    base = Path((closed / "db" / "data-is-elsewhere").read_text().strip())
    again = EmbeddedPostgres(closed / "db", durable=False)
    assert await again.start() == dsn
    assert await value(dsn, "select a from t") == 1
    await again.stop()
    subprocess.run(["rm", "-r", str(base)], check=True)


@as_root
async def test_binaries_out_of_reach_are_copied(reachable_tmp: Path) -> None:
    """Binaries in a folder that only root may enter are copied to where the server's account can run them."""
    closed = reachable_tmp / "closed"
    closed.mkdir(mode=0o700)
    original = choose_installation()
    package = original.bin.parent.parent
    for folder in (package, package.with_name(f"{package.name}.libs")):
        subprocess.run(["cp", "-r", str(folder), str(closed)], check=True)
    hidden = type(original)(closed / package.name / "pginstall" / "bin", original.major)
    server = EmbeddedPostgres(reachable_tmp / "db", durable=False, installation=hidden)
    assert await value(await server.start(), "select 1") == 1
    await server.stop()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert list((reachable_tmp / "db").glob("postgresql-*"))
