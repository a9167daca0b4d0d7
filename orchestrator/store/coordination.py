"""Two hints between replicas: "look again" (Wakeup) and "you do the sweeping" (Leader).

Neither is needed for correctness. A lost wake-up costs until the caller's own poll; two leaders for a moment do the
same idempotent work twice. What a run may do is decided by its row alone. Both can be replaced (by NATS, by a lease
row) without a change elsewhere. They know no table.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from orchestrator.store.db import DatabaseUnavailable, connect, translated

if TYPE_CHECKING:
    from asyncpg import Connection, Record
    from asyncpg.pool import PoolConnectionProxy

log = structlog.get_logger("coordination")

RECONNECT_S = 0.2
PROBE_S = 15.0  # a silent connection is asked so often whether it still is one
PROBE_TIMEOUT_S = 5.0


class Wakeup:
    """Wakes the waiter of this object when any replica calls notify() on the same channel. One waiter an object.

    notify() only marks: a connection of its own sends one NOTIFY for all marks made since the last. A NOTIFY inside a
    transaction that writes would make every commit queue behind one lock. Call it after the commit.
    """

    def __init__(self, dsn: str, channel: str) -> None:
        self._dsn = dsn
        self._channel = channel
        self._woken = asyncio.Event()
        self._to_do = asyncio.Event()  # something to send, or the connection ended
        self._marked = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen in the background; returns at once, whether or not the database is there."""
        self._task = asyncio.create_task(self._keep_listening(), name=f"wakeup {self._channel}")

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            while not self._task.done():
                self._task.cancel()  # again, should a call within have swallowed it
                await asyncio.wait({self._task}, timeout=1.0)
            self._task = None

    def notify(self) -> None:
        """Wake this process's waiter now and every other replica's soon."""
        self._woken.set()
        self._marked = True
        self._to_do.set()

    async def wait(self, timeout: float) -> bool:
        """Wait to be woken, timeout seconds at most. True: woken since the last wait; False: time is up."""
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    async def _keep_listening(self) -> None:
        while True:
            try:
                connection = await connect(self._dsn)
            except (DatabaseUnavailable, asyncpg.PostgresError) as error:
                log.debug("no wake-ups for now", channel=self._channel, reason=str(error))
                await asyncio.sleep(RECONNECT_S)
                continue
            try:
                await self._serve(connection)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                log.debug("wake-ups interrupted", channel=self._channel, reason=str(error))
            finally:
                connection.terminate()
            await asyncio.sleep(RECONNECT_S)

    async def _serve(self, connection: Connection[Record]) -> None:
        own_pid = connection.get_server_pid()

        def heard(_connection: Connection[Any] | PoolConnectionProxy[Any], pid: int, _channel: str, _: object) -> None:
            if pid != own_pid:
                self._woken.set()

        connection.add_termination_listener(lambda _connection: self._to_do.set())
        await connection.add_listener(self._channel, heard)
        self._woken.set()  # whatever was said while nobody listened is lost: look again
        while not connection.is_closed():
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_S):
                    await self._to_do.wait()
            self._to_do.clear()
            if not self._marked:
                await connection.execute("select 1", timeout=PROBE_TIMEOUT_S)
                continue
            self._marked = False
            try:
                await connection.execute("select pg_notify($1, '')", self._channel, timeout=PROBE_TIMEOUT_S)
            except BaseException:
                self._marked = True  # to be sent by the next connection
                raise


class Leader:
    """One replica at a time holds the key, by an advisory lock of a session kept for it.

    The session's end frees the key: at once when the process dies, after about 11 s of silence when its host vanishes.
    """

    def __init__(self, dsn: str, key: int) -> None:
        self._dsn = dsn
        self._key = key
        self._connection: Connection[Record] | None = None
        self._held = False

    async def hold(self) -> bool:
        """Whether we lead now; takes the key if it is free. Ask before each round of work. Never raises."""
        try:
            return await self._hold()
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            log.debug("leadership unknown", key=self._key, reason=str(error))
            self._forget()
            return False

    async def release(self) -> None:
        """Give the key up and end the session."""
        if self._connection is not None:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                await self._connection.close(timeout=PROBE_TIMEOUT_S)
        self._forget()

    async def _hold(self) -> bool:
        if self._connection is None or self._connection.is_closed():
            self._forget()
            self._connection = await connect(self._dsn)
        try:
            if self._held:
                await self._connection.execute("select 1", timeout=PROBE_TIMEOUT_S)
            else:
                self._held = await self._connection.fetchval(
                    "select pg_try_advisory_lock($1)", self._key, timeout=PROBE_TIMEOUT_S
                )
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise translated(error) from error
        return self._held

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None
        self._held = False
