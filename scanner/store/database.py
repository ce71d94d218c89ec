"""
Connections: one writer behind a lock, readers beside it.

SQLite has one writer at a time, and one aiosqlite connection holds at most one transaction for every
task that shares it: the lock makes writers queue here instead of colliding there. Readers see the last
committed state and never wait for the writer (WAL).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from scanner.store.errors import StoreError

BUSY_TIMEOUT_MS = 5000
READERS = 4


class Database:
    """The store's connections. Open with `open_database`, which closes every one of them."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine) -> None:
        self._writer = writer
        self._reader = reader
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """
        Run one write transaction: committed and on disk when the block ends, undone when it raises.

        Never wait for the network inside.
        """
        async with self._lock:
            with _translated():
                async with self._writer.begin() as tx:
                    yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Read one consistent snapshot."""
        with _translated():
            async with self._reader.connect() as tx:
                yield tx


class _translated:  # noqa: N801 - reads as a statement
    """Turn driver errors into StoreError at the one border where they can appear."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, SQLAlchemyError):
            raise StoreError(f"the store failed: {getattr(exc, 'orig', None) or exc}") from exc


def _engine(path: Path, *, size: int, begin: str, pragmas: tuple[str, ...]) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=size,
        max_overflow=0,
        pool_timeout=30,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
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
async def open_database(path: Path) -> AsyncIterator[Database]:
    """Open the store; migrations have been applied before (`migrate`)."""
    common = (f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON")
    writer = _engine(
        path,
        size=1,
        begin="BEGIN IMMEDIATE",
        # FULL: an intent we acknowledged survives power loss.
        pragmas=(*common, "journal_mode=WAL", "synchronous=FULL", "cache_size=-65536"),
    )
    reader = _engine(path, size=READERS, begin="BEGIN", pragmas=(*common, "query_only=ON"))
    try:
        with _translated():
            # Opened before any reader: changing to WAL waits for everybody else.
            async with writer.connect():
                pass
        yield Database(writer, reader)
    finally:
        await reader.dispose()
        await writer.dispose()
