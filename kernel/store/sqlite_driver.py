"""
SQLite in a thread, one hand-over a statement.

The driver crosses to its thread and back to make a cursor, to execute, to fetch and to close. Beside a
busy event loop each crossing waits for the interpreter, up to its switch interval of 5 ms: a transaction
of ten statements then holds the one write lock for a fifth of a second. Here a statement is executed
and fetched in one crossing, and the other three are none. The beginning of a transaction goes with its first
statement, and nobody waits for its end when that is a rollback: the thread does one thing after the other.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiosqlite

log = logging.getLogger(__name__)

CHUNK = 64  # rows a step for those who iterate; nobody here does


class RollingBack(sqlite3.Connection):
    """
    A connection whose end is the end of its transaction.

    Closed while somebody still holds a question that was not answered to the end, as a task does that was cancelled
    there, SQLite keeps it half alive, and with it the one write lock: nobody else could write until that task is
    collected.
    """

    def close(self) -> None:
        try:
            self.rollback()
        except sqlite3.ProgrammingError:  # it was closed before
            return
        finally:
            super().close()  # also when the rollback failed: the lock is not kept until somebody collects this


class Beginning:
    """How a transaction begins: with its first statement, which may be all of it (`sql` is None)."""

    __slots__ = ("_done", "_sql")

    def __init__(self, sql: str | None) -> None:
        self._sql = sql
        self._done = False

    @property
    def has_begun(self) -> bool:
        """Whether a transaction of more than one statement was begun."""
        return self._done and self._sql is not None

    def run(self, connection: sqlite3.Connection) -> None:
        """Begin, in the connection's thread, unless it has been done."""
        if self._done:
            self.check(connection)
            return
        if connection.in_transaction:  # the end of the one before failed: whoever begins is told why
            connection.rollback()
        if self._sql is not None:
            connection.execute(self._sql)
        self._done = True

    def check(self, connection: sqlite3.Connection) -> None:
        """
        Refuse to go on with a transaction that SQLite has undone by itself.

        It does so where a disk is full, or fails: what came after would be kept, statement by statement, without what
        came before.

        Raises:
            sqlite3.OperationalError: nothing of it is kept.
        """
        if self.has_begun and not connection.in_transaction:
            raise sqlite3.OperationalError("the transaction was undone when one of its statements failed")


class OneStepCursor(aiosqlite.Cursor):
    """A cursor that has fetched everything when it has executed."""

    def __init__(self, connection: OneStepConnection) -> None:
        super().__init__(connection, connection.plain_cursor())
        self._owner = connection
        self._fetched: Iterable[sqlite3.Row] = ()
        self._idle = True  # nothing of ours runs in the thread

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> OneStepCursor:
        self._idle = False
        self._fetched = await self._ask(self._step, sql, parameters or ())
        self._idle = True
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> OneStepCursor:
        self._idle = False
        await self._ask(self._steps, sql, parameters)
        self._idle = True
        return self

    async def _ask(self, step: Any, sql: str, parameters: Any) -> Any:
        # What is handed over keeps its beginning, also when it is given up on before it runs: without, it would be a
        # transaction by itself, and kept.
        return await self._execute(step, sql, parameters, self._owner.beginning)  # type: ignore[no-untyped-call]

    def _step(self, sql: str, parameters: Any, beginning: Beginning | None) -> list[sqlite3.Row]:
        if beginning is not None:
            beginning.run(self._cursor.connection)
        self._cursor.execute(sql, parameters)
        return self._cursor.fetchall() if self._cursor.description else []

    def _steps(self, sql: str, parameters: Any, beginning: Beginning | None) -> None:
        if beginning is not None:
            beginning.run(self._cursor.connection)
        self._cursor.executemany(sql, parameters)

    async def fetchall(self) -> Iterable[sqlite3.Row]:
        fetched, self._fetched = self._fetched, ()
        return fetched

    async def close(self) -> None:
        """Let go; a statement that was given up on may still run, and is closed where it runs."""
        if not self._idle:
            await super().close()


class OneStepConnection(aiosqlite.Connection):
    """A connection whose cursors are `OneStepCursor`s."""

    _left = 0  # what was asked of the thread and not answered; what was given up on may still run there
    beginning: Beginning | None = None  # of the transaction that is ours

    def begin_with(self, sql: str | None) -> None:
        """Let the next statement begin a transaction; None: be one by itself."""
        self.beginning = Beginning(sql)

    async def _execute(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        self._left += 1
        try:
            done = await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._left -= 1
            raise
        self._left -= 1
        return done

    async def commit(self) -> None:
        beginning, self.beginning = self.beginning, None
        if self._in_transaction or (beginning is not None and beginning.has_begun):
            await self._execute(self._commit, beginning)

    def _commit(self, beginning: Beginning | None) -> None:
        if beginning is not None:
            beginning.check(self._conn)
        self._conn.commit()

    async def rollback(self) -> None:
        """
        Have rolled back what there is before anything else is done.

        Nobody waits for it, so nobody can be cancelled in it. The pool asks for it after each transaction, and mostly
        it has been committed.
        """
        self.beginning = None
        if self._in_transaction:
            self._tx.put_nowait((None, self._roll_back))

    def _roll_back(self) -> None:
        try:
            self._conn.rollback()
        except sqlite3.Error as exc:  # what begins next tries again, and fails with it
            log.warning("[store] a transaction could not be rolled back: %s", exc)

    @property
    def _in_transaction(self) -> bool:
        """Whether a transaction may be open; without a hand-over where nothing runs that could open one."""
        return self._left > 0 or self.in_transaction

    def plain_cursor(self) -> sqlite3.Cursor:
        """Make a cursor of the module below; that touches nothing in the database."""
        return self._conn.cursor()

    def cursor(self) -> OneStepCursor:  # type: ignore[override]  # an async context manager, as the other is
        return OneStepCursor(self)


def _open(path: Path, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=timeout_s, check_same_thread=False, factory=RollingBack)


async def connect(path: Path, *, timeout_s: float) -> OneStepConnection:
    """Open a connection; `timeout_s` is how long it waits for another process's lock."""
    # Cursors are made outside the connection's thread; what they execute runs inside it, one at a time.
    opened = OneStepConnection(lambda: _open(path, timeout_s), CHUNK)
    opened._thread.daemon = True  # noqa: SLF001 - as the dialect sets it: a forgotten connection must not hold the exit
    _ = await opened  # starts its thread
    return opened
