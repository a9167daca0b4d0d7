"""The one door to PostgreSQL: a pool of connections, JSON as Python values, one error for "the database is away".

It knows no table and no rule. Nothing here repeats a statement: a write that met a dead connection may or may not
have been committed, and only the caller knows what that means.

    Exception
    ├── DatabaseUnavailable    the connection is lost, refused or not to be had in time; ask again later
    └── asyncpg.PostgresError  the server answered and said no (constraint, syntax, time-out): passed through
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, LiteralString

import asyncpg
import msgspec

if TYPE_CHECKING:
    from asyncpg import Connection, Pool, Record
    from asyncpg.pool import PoolConnectionProxy

    AnyConnection = Connection[Record] | PoolConnectionProxy[Record]

ACQUIRE_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_S = 30
# The server gives up first; the client only when the server's answer can no longer arrive.
COMMAND_TIMEOUT_S = STATEMENT_TIMEOUT_S + 10.0

SESSION_SETTINGS = {
    "application_name": "comfyfleet",
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": "30s",
    "jit": "off",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}


class DatabaseUnavailable(Exception):
    """The database could not be reached, or the connection was lost before its answer came."""


Unstorable = asyncpg.DataError
"""A value is not of the kind that its column or parameter takes: an id that is no UUID, a number that is too large."""

# asyncpg raises InternalClientError when a server dies in mid-query; OSError covers TimeoutError and ConnectionError.
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
    OSError,
)


def connection_lost(error: BaseException) -> bool:
    """Whether an error means that the connection is gone, rather than that the statement was refused."""
    if not isinstance(error, _LOST):
        return False
    if isinstance(error, asyncpg.InterfaceError):
        # asyncpg says so too of a wrong argument: its value, or how many there are.
        return not isinstance(error, ValueError) and "the server expects" not in str(error)
    return True


def translated(error: Exception) -> Exception:
    """DatabaseUnavailable for a lost connection; any other error as it is."""
    if not connection_lost(error):
        return error
    return DatabaseUnavailable(str(error) or type(error).__name__)


def _encode_jsonb(value: Any) -> bytes:
    return b"\x01" + msgspec.json.encode(value)


def _decode_jsonb(data: bytes) -> Any:
    return msgspec.json.decode(data[1:])  # the first byte is jsonb's format version


async def prepare_connection(connection: AnyConnection) -> None:
    """Make json and jsonb Python values in both directions, inside arrays as well."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=_encode_jsonb, decoder=_decode_jsonb
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", format="binary", encoder=msgspec.json.encode, decoder=msgspec.json.decode
    )


async def _keep_session(connection: AnyConnection) -> None:
    """Replaces asyncpg's reset, a round trip after every statement: nobody here leaves anything in a session."""


async def connect(dsn: str) -> Connection[Record]:
    """One connection of its own, outside the pool, for a caller that holds a session. Raises DatabaseUnavailable."""
    try:
        connection: Connection[Record] = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=SESSION_SETTINGS,
        )
        await prepare_connection(connection)
    except _LOST as error:
        raise translated(error) from error
    return connection


class Database:
    """A pool of connections. Every method raises DatabaseUnavailable when the connection is lost or not to be had.

    A connection that died while idle is replaced when it is next acquired; nothing is ever sent twice.
    """

    def __init__(self, pool: Pool[Record]) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, dsn: str, *, max_size: int = 12) -> Database:
        """Connect; the pool grows to max_size as it is used."""
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=0,  # asyncpg logs a traceback for each vain attempt to keep a minimum
                max_size=max_size,
                init=prepare_connection,
                reset=_keep_session,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                server_settings=SESSION_SETTINGS,
            )
        except _LOST as error:
            raise translated(error) from error
        database = cls(pool)
        try:
            await database.execute("select 1")
        except BaseException:
            pool.terminate()
            raise
        return database

    async def close(self) -> None:
        """Wait a little for statements under way, then close every connection."""
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except _LOST:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[PoolConnectionProxy[Record], None]:
        """A connection for several statements. Leave nothing in its session: no SET, LISTEN or advisory lock."""
        try:
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                yield connection
        except _LOST as error:
            raise translated(error) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[PoolConnectionProxy[Record], None]:
        """A connection inside a transaction: committed on leaving, rolled back by an exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, sql: LiteralString, *args: Any) -> list[Record]:
        """All rows."""
        async with self.connection() as connection:
            return await connection.fetch(sql, *args)

    async def fetchrow(self, sql: LiteralString, *args: Any) -> Record | None:
        """The first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *args)

    async def fetchval(self, sql: LiteralString, *args: Any) -> Any:
        """The first column of the first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchval(sql, *args)

    async def execute(self, sql: LiteralString, *args: Any) -> str:
        """Run a statement; returns the server's command tag ("UPDATE 3")."""
        async with self.connection() as connection:
            return await connection.execute(sql, *args)
