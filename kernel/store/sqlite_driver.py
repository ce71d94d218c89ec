"""
SQLite in a thread, one hand-over a statement.

The driver crosses to its thread and back to make a cursor, to execute, to fetch and to close. Beside a
busy event loop each crossing waits for the interpreter, up to its switch interval of 5 ms: a transaction
of ten statements then holds the one write lock for a fifth of a second. Here a statement is executed
and fetched in one crossing, and the other three are none; nor is a rollback of nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiosqlite

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
        super().close()


class OneStepCursor(aiosqlite.Cursor):
    """A cursor that has fetched everything when it has executed."""

    def __init__(self, connection: OneStepConnection) -> None:
        super().__init__(connection, connection.plain_cursor())
        self._fetched: Iterable[sqlite3.Row] = ()
        self._idle = True  # nothing of ours runs in the thread

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> OneStepCursor:
        self._idle = False
        self._fetched = await self._execute(self._step, sql, parameters or ())  # type: ignore[no-untyped-call]
        self._idle = True
        return self

    def _step(self, sql: str, parameters: Any) -> list[sqlite3.Row]:
        self._cursor.execute(sql, parameters)
        return self._cursor.fetchall() if self._cursor.description else []

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
        if self._in_transaction:
            await super().commit()

    async def rollback(self) -> None:
        """Roll back what there is: the pool asks for it after each transaction, and mostly it has been committed."""
        if self._in_transaction:
            await super().rollback()

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
