"""
Connections to a store. Here those to SQLite: one writer behind a lock, readers beside it.

SQLite has one writer at a time, and one aiosqlite connection holds at most one transaction for every
task that shares it: the lock makes writers queue here instead of colliding there. Every decision about money is
read, made and written inside one `write` block, so that two of them can never be made on the same facts. Readers
see the last committed state and never wait for the writer (WAL). On PostgreSQL (`postgresql`) many write at once,
and whoever decides takes the lock of what is decided about.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError

from kernel.errors import Collision, StoreBusy, StoreError
from kernel.store import sqlite_driver
from kernel.store.bulk import Bulk
from kernel.store.connection import Connection, begun, connected, dispose
from kernel.store.sqlite_driver import OneStepConnection

BUSY_TIMEOUT_MS = 5000
PRIMARY_CODE = 0xFF  # of SQLite's result codes: the rest says more
READERS = 4
BY_ITSELF = "by_itself"  # of a connection: what it runs is a transaction by itself

_SAME = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}

Tx = Connection
Translate = Callable[[SQLAlchemyError], Exception | None]


def as_store_error(exc: SQLAlchemyError) -> Exception | None:
    """Return what a failure of the driver is to the layers above; None: itself."""
    cause = getattr(exc, "orig", None) or exc
    code = getattr(cause, "sqlite_errorcode", 0)
    # A trigger that comes before the index's own refusal says so in its words: it has no code of its own.
    if code in _SAME or (code == sqlite3.SQLITE_CONSTRAINT_TRIGGER and str(cause).startswith("UNIQUE")):
        return Collision(f"the same is stored already: {cause}")
    # A copy was made by another program while a daemon started: it ended as if an operator had to change something.
    return (StoreBusy if is_busy(cause) else StoreError)(f"the store failed: {cause}")


def is_busy(cause: BaseException | None) -> bool:
    """Say whether SQLite waited in vain for another's lock."""
    return bool(getattr(cause, "sqlite_errorcode", 0) & PRIMARY_CODE == sqlite3.SQLITE_BUSY)


class Database(ABC):
    """A store's connections."""

    shared = False  # whether other processes write to it as well

    @abstractmethod
    def write(self) -> AbstractAsyncContextManager[Tx]:
        """
        Run one write transaction: committed and on disk when the block ends, undone when it raises.

        Never wait for the network inside.

        Raises:
            StoreError: it could not be done, and nothing was changed.
            UnknownOutcome: the connection was lost while it was committed.
        """

    async def run_alone(self, statement: Bulk, columns: Callable[[], Mapping[str, Iterable[Any]]]) -> None:
        """
        Run one statement that is the whole of a write transaction, with rows that are made once it has begun.

        Raises:
            StoreError: as `write`.
            ValueError: there are more rows than one statement takes.
        """
        async with self.write() as tx:
            await statement.run_once(tx, columns())

    @abstractmethod
    def read(self) -> AbstractAsyncContextManager[Tx]:
        """Read one consistent snapshot."""

    @abstractmethod
    async def lock(self, tx: Tx, *names: str) -> None:
        """
        Hold what is named until the transaction ends: nobody else decides about it meanwhile.

        What was read before may be out of date by then.
        """


class SqliteDatabase(Database):
    """A file's connections. Open with `open_database`, which closes every one of them."""

    def __init__(self, writer: Engine, reader: Engine, translate: Translate = as_store_error) -> None:
        self._writer = writer
        self._reader = reader
        self._translate = translate
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        async with self._lock:
            with self._translated():
                async with begun(self._writer) as tx:
                    yield tx

    async def run_alone(self, statement: Bulk, columns: Callable[[], Mapping[str, Iterable[Any]]]) -> None:
        # Begun, run and committed in one hand-over to the thread: the others would each wait for the event loop.
        async with self._lock:
            with self._translated():
                async with connected(self._writer, **{BY_ITSELF: True}) as tx:
                    await statement.run_once(tx, columns())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        with self._translated():
            async with connected(self._reader) as tx:
                yield tx

    async def lock(self, tx: Tx, *names: str) -> None:
        """Do nothing: the one writer holds everything."""

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
            async with connected(self._writer):
                pass


def _engine(path: Path, *, size: int, begin: str, pragmas: tuple[str, ...]) -> Engine:
    async def connect(*_: Any, **__: Any) -> OneStepConnection:
        return await sqlite_driver.connect(path, timeout_s=BUSY_TIMEOUT_MS / 1000)

    engine = create_engine(
        f"sqlite+aiosqlite:///{path}",
        hide_parameters=True,  # else an error that is logged tells e-mails and digests
        pool_size=size,
        max_overflow=0,
        pool_timeout=30,
        connect_args={"async_creator_fn": connect},
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGINs come too late: we send ours
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        by_itself = connection.get_execution_options().get(BY_ITSELF)
        connection.connection.driver_connection.begin_with(None if by_itself else begin)

    return engine


@asynccontextmanager
async def open_database(
    path: Path, *, translate: Translate = as_store_error, cache_kib: int = 65_536
) -> AsyncIterator[Database]:
    """Open a store of SQLite; migrations have been applied before (`migrate`)."""
    common = (f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON")
    writer = _engine(
        path,
        size=1,
        begin="BEGIN IMMEDIATE",
        # FULL: what was acknowledged survives power loss.
        pragmas=(*common, "journal_mode=WAL", "synchronous=FULL", f"cache_size=-{cache_kib}"),
    )
    reader = _engine(path, size=READERS, begin="BEGIN", pragmas=(*common, "query_only=ON"))
    try:
        database = SqliteDatabase(writer, reader, translate)
        await database.open()
        yield database
    finally:
        await dispose(reader)
        await dispose(writer)
