"""
A connection to a store whose calls are awaited.

It is SQLAlchemy's own, called in a greenlet that waits where its driver does. The extension of SQLAlchemy that does the
same loads its whole ORM, which nobody here uses, and closes each connection in a task of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple

import sqlalchemy
from sqlalchemy import CursorResult, Engine, Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

Given = TypeVarTuple("Given")
T = TypeVar("T")

Values = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class Connection:
    """
    A connection from the moment it is taken from its pool until it is closed.

    Its transaction begins with the first statement. Whatever is executed is fetched whole: a result needs no waiting.
    """

    __slots__ = ("sync_connection",)

    def __init__(self, sync_connection: sqlalchemy.Connection) -> None:
        self.sync_connection = sync_connection

    @property
    def dialect(self) -> Dialect:
        return self.sync_connection.dialect

    async def execute(self, statement: Executable, parameters: Values | None = None) -> CursorResult[*tuple[Any, ...]]:
        return await greenlet_spawn(self.sync_connection.execute, statement, parameters)

    async def exec_driver_sql(
        self, statement: str, parameters: tuple[Any, ...] | None = None
    ) -> CursorResult[*tuple[Any, ...]]:
        return await greenlet_spawn(self.sync_connection.exec_driver_sql, statement, parameters)

    async def run_sync(self, function: Callable[[sqlalchemy.Connection, *Given], T], *given: *Given) -> T:
        """Call what only knows SQLAlchemy's own connections."""
        return await greenlet_spawn(function, self.sync_connection, *given)

    async def get_raw_connection(self) -> PoolProxiedConnection:
        return await greenlet_spawn(getattr, self.sync_connection, "connection")

    async def invalidate(self) -> None:
        """Close the driver's connection: the pool opens another one."""
        await greenlet_spawn(self.sync_connection.invalidate)

    async def commit(self) -> None:
        await greenlet_spawn(self.sync_connection.commit)

    async def close(self) -> None:
        """Undo what was not committed, and give the connection back to its pool."""
        await greenlet_spawn(self.sync_connection.close)


async def take(engine: Engine, **options: Any) -> Connection:
    """Take a connection out of an engine's pool, for whoever closes it."""
    return await greenlet_spawn(_take, engine, options)


def _take(engine: Engine, options: Mapping[str, Any]) -> Connection:
    taken = engine.connect()
    try:
        return Connection(taken.execution_options(**options) if options else taken)
    except BaseException:
        taken.close()
        raise


@asynccontextmanager
async def connected(engine: Engine, **options: Any) -> AsyncIterator[Connection]:
    """Have a connection until the block ends; what it does not commit is undone."""
    taken = await take(engine, **options)
    try:
        yield taken
    finally:
        await taken.close()


@asynccontextmanager
async def begun(engine: Engine) -> AsyncIterator[Connection]:
    """Run one transaction: committed when the block ends, undone when it raises."""
    taken = await take(engine)
    try:
        yield taken
    except BaseException:
        await taken.close()
        raise
    await greenlet_spawn(_commit_and_close, taken.sync_connection)


def _commit_and_close(connection: sqlalchemy.Connection) -> None:
    try:
        connection.commit()
    except BaseException:
        # Else a COMMIT that was refused leaves its transaction open in the pool: what has failed is not undone again.
        connection.rollback()
        raise
    finally:
        connection.close()


async def dispose(engine: Engine) -> None:
    """Close every connection that lies in an engine's pool."""
    await greenlet_spawn(engine.dispose)
