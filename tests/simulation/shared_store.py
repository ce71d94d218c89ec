"""
The store of several processes, where PostgreSQL cannot run: one file of SQLite that all of them write to.

It stands in for the server alone: one writer at a time holds everything, where PostgreSQL locks rows. Leases, terms,
the fence, lanes and reports are rows on both, and all of the scanner above `Database` runs as it does there. What is
said in PostgreSQL's words only is put into SQLite's here, and a statement nobody has put into words fails.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from kernel.errors import Collision, StoreError, UnknownOutcome
from kernel.store import database
from kernel.store.connection import connected
from kernel.store.database import SqliteDatabase, Tx
from kernel.store.postgresql import ConnectionLost, PostgresSettings
from tests.simulation.loop import PROCESS, SimLoop, SimProcess
from tests.simulation.machine import EPOCH_S, UNHEARD

URL = "postgresql://simulated"  # and the path of the file
LOST = 0.4  # of the answers to a COMMIT, while answers are lost
WORDS = tuple(
    (re.compile(theirs, re.DOTALL), ours)
    for theirs, ours in (
        (r"= ANY \(CAST\(\? AS text\[\]\)\)", "IN (SELECT value FROM json_each(?))"),
        (r"SELECT unnest\(CAST\(\? AS text\[\]\)\)", "SELECT value FROM json_each(?) WHERE true"),
        (r" FOR (UPDATE|SHARE)( SKIP LOCKED)?$", ""),  # whoever writes holds everything
        (r"^SELECT pg_backend_pid\(\)$", "SELECT 0"),
        (r"^SELECT pg_terminate_backend\(pid\) .*$", "SELECT pid FROM (SELECT ? AS pid) WHERE 0"),
        # Rows appear in the order of their numbers.
        (
            r"^SELECT CASE WHEN is_called THEN last_value .* FROM ([a-z]+)_(number|id)_seq$",
            r"SELECT coalesce(max(\2), 0) FROM \1",
        ),
        (r"^SELECT pg_(current_xact_id|snapshot_xmin)\(.*\)::text$", "SELECT 1"),
    )
)


class Way:
    """A process's way to the database: it may be cut, and answers may be lost on it."""

    def __init__(self) -> None:
        self.cut = False
        self.lost = False

    @staticmethod
    def prepare(connection: sqlite3.Connection) -> None:
        """Let a connection know what the server knows."""
        connection.create_function("now_ms", 0, now_ms)
        connection.create_function("pg_advisory_xact_lock", 1, lambda _: None)


class SharedDatabase(SqliteDatabase):
    """What is `PostgresDatabase` to the scanner."""

    shared = True

    def __init__(self, writer: Engine, reader: Engine, way: Way) -> None:
        super().__init__(writer, reader, _as_store_error)
        self._way = way

    def write(self, *, statement_s: float = 0) -> Any:
        return self._write()

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[Tx]:
        self._reached()
        async with self._lock:
            with self._translated():
                async with connected(self._writer) as tx:
                    yield tx
                    self._reached()
                    lost = self._way.lost and _chance() < LOST
                    if lost and _chance() < 0.5:
                        raise UnknownOutcome("the connection was lost before the store was written")
                    await tx.commit()
                    if lost:
                        raise UnknownOutcome("the connection was lost after the store was written")

    @asynccontextmanager
    async def read(self, *, statement_s: float = 0) -> AsyncIterator[Tx]:
        self._reached()
        async with super().read() as tx:
            yield tx

    def _reached(self) -> None:
        if self._way.cut:
            raise ConnectionLost("the database does not answer: the way is cut")


def _as_store_error(exc: SQLAlchemyError) -> Exception:
    said = str(getattr(exc, "orig", None) or exc)
    if UNHEARD in said:
        return ConnectionLost(f"the database does not answer: {said}")
    kind = Collision if "UNIQUE constraint failed" in said else StoreError
    return kind(f"the store failed: {said}")


def _chance() -> float:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimLoop):
        raise TypeError("this runs in a simulation alone")
    return loop.rng.random()


def _process() -> SimProcess:
    process = PROCESS.get()
    if process is None:
        raise TypeError("a database is opened by a process")
    return process


def in_sqlite(statement: str) -> str:
    """Return what is said to PostgreSQL, in SQLite's words."""
    for theirs, ours in WORDS:
        statement = theirs.sub(ours, statement)
    return statement


@asynccontextmanager
async def open_shared(settings: PostgresSettings) -> AsyncIterator[SharedDatabase]:
    """Open the file that stands in for a database."""
    path, way = Path(settings.url.removeprefix(URL)), _process().way
    async with database.open_database(path) as opened:
        if not isinstance(opened, SqliteDatabase):
            raise TypeError("the store in simulation is a file")
        for engine in (opened._writer, opened._reader):
            event.listen(engine, "before_cursor_execute", _translate, retval=True)
        yield SharedDatabase(opened._writer, opened._reader, way)


async def nothing(*_: Any) -> None:
    """Do what a server needs and a file does not: its tables are there."""


def _translate(_c: Any, _cursor: Any, statement: str, given: Any, _context: Any, many: bool) -> tuple[str, Any]:
    if not many and any(isinstance(value, list | set) for value in given):
        given = tuple(orjson.dumps(value).decode() if isinstance(value, list | set) else value for value in given)
    return in_sqlite(statement), given


def now_ms() -> int:
    """Return what time it is by the database's clock, which nobody sets."""
    return int((EPOCH_S + asyncio.get_running_loop().time() - 1000.0) * 1000)
