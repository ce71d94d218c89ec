"""
Connections: one writer behind a lock, readers beside it.

SQLite has one writer at a time, and one aiosqlite connection holds at most one transaction for every
task that shares it: the lock makes writers queue here instead of colliding there. Every decision about money is
read, made and written inside one `write` block, so that two of them can never be made on the same facts. Readers
see the last committed state and never wait for the writer (WAL).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kernel.errors import StoreError
from kernel.store import sqlite_driver

BUSY_TIMEOUT_MS = 5000
READERS = 4

Tx = AsyncConnection
Translate = Callable[[SQLAlchemyError], Exception | None]


def as_store_error(exc: SQLAlchemyError) -> Exception | None:
    """Return what a failure of the driver is to the layers above; None: itself."""
    return StoreError(f"the store failed: {getattr(exc, 'orig', None) or exc}")


class Database:
    """The store's connections. Open with `open_database`, which closes every one of them."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, translate: Translate = as_store_error) -> None:
        self._writer = writer
        self._reader = reader
        self._translate = translate
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """
        Run one write transaction: committed and on disk when the block ends, undone when it raises.

        Never wait for the network inside.
        """
        async with self._lock:
            with self._translated():
                async with self._writer.begin() as tx:
                    yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Read one consistent snapshot."""
        with self._translated():
            async with self._reader.connect() as tx:
                yield tx

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's errors into ours at the one border where they can appear."""
        try:
            yield
        except SQLAlchemyError as exc:
            meant = self._translate(exc)
            if meant is None:
                raise
            raise meant from exc

    async def open(self) -> None:
        """Open the writer before any reader: changing a fresh store to WAL waits for everybody else."""
        with self._translated():
            async with self._writer.connect():
                pass


def _engine(path: Path, *, size: int, begin: str, pragmas: tuple[str, ...], one_step: bool) -> AsyncEngine:
    timeout_s = BUSY_TIMEOUT_MS / 1000
    connect: dict[str, Any] = {"connect_args": {"timeout": timeout_s}}
    if one_step:
        connect = {"async_creator": partial(sqlite_driver.connect, path, timeout_s=timeout_s)}
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=size,
        max_overflow=0,
        pool_timeout=30,
        **connect,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: DBAPIConnection, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGINs come too late: we send ours
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine


@asynccontextmanager
async def open_database(
    path: Path, *, translate: Translate = as_store_error, one_step: bool = False, cache_kib: int = 65_536
) -> AsyncIterator[Database]:
    """
    Open the store; migrations have been applied before (`migrate`).

    With `one_step` each statement is executed and fetched in one hand-over to the thread (`sqlite_driver`).
    """
    common = (f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON")
    writer = _engine(
        path,
        size=1,
        begin="BEGIN IMMEDIATE",
        # FULL: what was acknowledged survives power loss.
        pragmas=(*common, "journal_mode=WAL", "synchronous=FULL", f"cache_size=-{cache_kib}"),
        one_step=one_step,
    )
    reader = _engine(path, size=READERS, begin="BEGIN", pragmas=(*common, "query_only=ON"), one_step=one_step)
    try:
        database = Database(writer, reader, translate)
        await database.open()
        yield database
    finally:
        await reader.dispose()
        await writer.dispose()
