"""
Connections: one writer behind a lock, readers beside it.

Every decision about money is read, made and written inside one `write` block, so that two of them can
never be made on the same facts. Readers see the last committed state and never wait (WAL).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from marketplace.store.driver import connect
from marketplace.store.errors import StoreError, Taken

BUSY_TIMEOUT_MS = 5000
READERS = 4

Tx = AsyncConnection


class Database:
    """The store's connections. Open with `open_database`, which closes every one of them."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine) -> None:
        self._writer = writer
        self._reader = reader
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        """
        Run one write transaction: committed and on disk when the block ends, undone when it raises.

        Never wait for the network inside.
        """
        async with self._lock:
            with _translated():
                async with self._writer.begin() as tx:
                    yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """Read one consistent snapshot."""
        with _translated():
            async with self._reader.connect() as tx:
                yield tx


class _translated:  # noqa: N801 - reads as a statement
    """Turn driver errors into ours at the one border where they can appear."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, IntegrityError):
            if "UNIQUE" in str(exc.orig):
                raise Taken(f"the store refused: {exc.orig}") from exc
            return  # what breaks any other rule is a bug, and told as one
        if isinstance(exc, SQLAlchemyError):
            raise StoreError(f"the store failed: {getattr(exc, 'orig', None) or exc}") from exc


def _engine(path: Path, *, size: int, begin: str, pragmas: tuple[str, ...]) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=size,
        max_overflow=0,
        pool_timeout=30,
        async_creator=lambda: connect(path, timeout_s=BUSY_TIMEOUT_MS / 1000),
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
        pragmas=(*common, "journal_mode=WAL", "synchronous=FULL"),  # FULL: what was answered survives power loss
    )
    reader = _engine(path, size=READERS, begin="BEGIN", pragmas=(*common, "query_only=ON"))
    try:
        yield Database(writer, reader)
    finally:
        await reader.dispose()
        await writer.dispose()
