"""
What stands below the processes of a simulation: clocks, chance, sockets, threads, locks of files and disks.

Replaced for the whole process, before anything of the product is imported: what nobody thought of goes by virtual
time as well, and the product has no seam for it. A process that has called `install` is for simulations alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import fcntl
import functools
import gc
import logging
import os
import random
import socket
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

EPOCH_S = 1_772_000_000  # when every run begins, by the wall clock
LOCKED_S = 5.0  # how long a connection waits for another one's lock, as the product asks for
STATEMENT_S = (0.000_05, 0.000_4)
SLOW = 0.01  # of the statements wait for the disk:
SLOW_S = (0.005, 0.12)
WORDLESS = {"cursor", "close", "fetchall", "fetchone"}  # what a connection is asked for that no other one can see:
AT_ONCE = 0.75  # of it is done without a pause, and the rest a moment later
UNLIMITED_PAGES = 1_073_741_823
UNHEARD = "the server ended this transaction"  # because nothing was said in it for too long, or nothing came through
real_time = time.monotonic


def install() -> None:
    """Put the simulated machine below everything that is imported from now on."""
    import asyncio.base_events  # noqa: PLC0415, F401 - the loop's own time comes from here

    time.time = lambda: EPOCH_S + _elapsed() + _skew()
    time.time_ns = lambda: int(time.time() * 1_000_000) * 1000
    time.monotonic = time.perf_counter = lambda: _stopwatch() + _passed()
    time.monotonic_ns = time.perf_counter_ns = lambda: int(time.monotonic() * 1_000_000) * 1000
    os.urandom = random._urandom = _CHANCE.randbytes  # type: ignore[attr-defined]
    _install_sockets()
    _install_locks()
    _install_sqlite()
    _install_statements()
    _install_schedule()
    logging.raiseExceptions = True
    # What dies leaves coroutines that are never finished: nobody wants to hear of them.
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")


def begin(seed: int) -> None:
    """Start a run's chance from its seed."""
    _CHANCE.seed(f"secrets of {seed}")
    random.seed(f"jitter of {seed}")
    # A collection runs what objects leave behind, and when that is follows from how much was made since the last one.
    gc.disable()


_CHANCE = random.Random(0)


def _loop() -> Any:
    return asyncio._get_running_loop()


def _stopwatch() -> float:
    loop = _loop()
    return 1000.0 if loop is None else float(loop.time())


def _elapsed() -> float:
    return _stopwatch() - 1000.0


def _process() -> Any:
    from tests.simulation.loop import PROCESS  # noqa: PLC0415 - below that

    return PROCESS.get()


def _skew() -> float:
    process = _process()
    return 0.0 if process is None else float(process.skew_s + process.passed_s)


def _passed() -> float:
    process = _process()
    return 0.0 if process is None else float(process.passed_s)


def _install_sockets() -> None:
    from tests.simulation.network import VirtualSocket  # noqa: PLC0415 - after the clocks

    socket.socket = VirtualSocket  # type: ignore[assignment,misc]


def _install_locks() -> None:
    """A lock of a file is let go when the process that took it dies."""
    real = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        real(descriptor, how)
        process = _process()
        if process is not None:
            process.on_death.append(lambda: _let_go(real, descriptor))

    fcntl.flock = flock


def _let_go(unlock: Callable[[int, int], None], descriptor: int) -> None:
    try:
        unlock(descriptor, fcntl.LOCK_UN)
    except OSError:  # it was closed before
        return


class Disk:
    """What the stores of a run are on."""

    def __init__(self) -> None:
        self.full = False
        self.connections: list[sqlite3.Connection] = []

    def fill(self, *, spare_pages: int) -> None:
        self.full = True
        for connection in self.connections:
            _limit(connection, spare_pages)

    def clear(self) -> None:
        self.full = False
        for connection in self.connections:
            _execute(connection, f"PRAGMA max_page_count={UNLIMITED_PAGES}")


def _limit(connection: sqlite3.Connection, spare_pages: int) -> None:
    pages = _execute(connection, "PRAGMA page_count")
    if pages is not None:
        _execute(connection, f"PRAGMA max_page_count={pages[0] + spare_pages}")


def _execute(connection: sqlite3.Connection, sql: str) -> Any:
    try:
        return connection.execute(sql).fetchone()
    except sqlite3.Error:  # it is closed, or in the middle of something
        return None


class InlineThread:
    """The thread of a connection, which is none: its work is done on the loop's."""

    daemon = True

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def start(self) -> None: ...


class InlineQueue:
    """What a connection is asked to do, in order, each a moment after it was asked."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self._waits: Callable[[], Any] | None = None  # what waits for another connection's lock
        self._behind: list[tuple[Any, Callable[[], Any], Context]] = []  # what was asked for after that

    def put_nowait(self, item: tuple[Any, Callable[[], Any]]) -> None:
        loop = _loop()
        chance, now = loop.rng.random, loop.time()
        if self._free_at <= now and _asked_for(item[1]) in WORDLESS and chance() < AT_ONCE:
            self._do(*item, now)
            return
        shortest, longest = SLOW_S if chance() < SLOW else STATEMENT_S
        self._free_at = max(self._free_at, now) + shortest + (longest - shortest) * chance()
        loop.call_at(self._free_at, self._do, *item, now, context=copy_context())

    def _do(self, future: Any, function: Callable[[], Any], asked_at: float) -> None:
        loop = _loop()
        # A thread waits for a lock where it is: what comes behind would be done in a transaction that is not its own.
        if self._waits is not None and self._waits is not function:
            self._behind.append((future, function, copy_context()))
            return
        _COMMITTED.clear()
        try:
            result = function()
        except BaseException as exc:  # noqa: BLE001 - whoever waits gets it
            if _is_locked(exc) and loop.time() - asked_at < LOCKED_S:  # SQLite itself would wait in real time
                self._waits = function
                self._free_at = loop.time() + 0.05
                loop.call_at(self._free_at, self._do, future, function, asked_at)
                return
            _tell(future, "set_exception", exc)
        else:
            if _COMMITTED or _commits(function):
                for look in loop.on_commit:
                    look()
            _tell(future, "set_result", result)
        self._go_on()

    def _go_on(self) -> None:
        """Let what came behind be done next: nothing waits for a lock any more."""
        behind, self._waits, self._behind = self._behind, None, []
        loop = _loop()
        for future, function, context in behind:
            loop.call_soon(self._do, future, function, loop.time(), context=context)


def _is_locked(failure: BaseException) -> bool:
    return isinstance(failure, sqlite3.OperationalError) and "locked" in str(failure)


def _tell(future: Any, how: str, what: Any) -> None:
    """Tell whoever still waits for it."""
    if future is not None and not future.done():
        getattr(future, how)(what)


def _asked_for(function: Any) -> str:
    return getattr(getattr(function, "func", None), "__name__", "")


_COMMITTED: list[sqlite3.Connection] = []  # by what a connection was asked for last


def _commits(function: Any) -> bool:
    """Say whether a statement that wrote was a transaction by itself."""
    if _asked_for(function) != "_step" or not function.args[0].startswith("INSERT"):
        return False
    return not function.func.__self__._cursor.connection.in_transaction


def _install_statements() -> None:
    """What a statement is in SQLite's words is worked out once, not at each start of a daemon."""
    from sqlalchemy import util  # noqa: PLC0415 - after the clocks
    from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite as Dialect  # noqa: PLC0415
    from sqlalchemy.engine import base  # noqa: PLC0415

    Dialect.__hash__ = lambda _: 1  # type: ignore[method-assign,assignment]
    Dialect.__eq__ = lambda one, other: type(one) is type(other)  # type: ignore[method-assign,assignment]
    known: Any = util.LRUCache(2000)
    base.Engine._compiled_cache = property(lambda _: known, lambda *_: None)  # type: ignore[assignment]


def _install_sqlite() -> None:
    import aiosqlite.core  # noqa: PLC0415 - after the clocks

    aiosqlite.core.Thread = InlineThread  # type: ignore[misc,assignment]
    aiosqlite.core.SimpleQueue = InlineQueue  # type: ignore[misc,assignment]
    aiosqlite.core.Connection.__del__ = lambda _: None  # type: ignore[attr-defined]
    sqlite3.connect = sqlite3.dbapi2.connect = _connect  # type: ignore[assignment]


class PatientConnection(sqlite3.Connection):
    """One that never waits in real time for another's lock, and whose transaction another end may give up."""

    unheard = False

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        _listen(self, sql)
        return super().execute(_impatient(sql), *args)

    def cursor(self, *_: Any, **__: Any) -> sqlite3.Cursor:
        return super().cursor(ImpatientCursor)

    @property
    def in_transaction(self) -> bool:  # type: ignore[override]
        """Whether a transaction is open, as this end knows: it hears of another end that gave it up when it goes on."""
        return self.unheard or super().in_transaction

    def rollback(self) -> None:
        super().rollback()
        self.unheard = False

    def commit(self) -> None:
        _listen(self, "COMMIT")
        ends = self.in_transaction
        super().commit()
        if ends:
            _COMMITTED.append(self)

    def end_transaction(self) -> None:
        """Undo what is under way, as a server does that hears no more of it."""
        if self.in_transaction:
            self.rollback()
            self.unheard = True


class ImpatientCursor(sqlite3.Cursor):
    """See `PatientConnection`."""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        _listen(self.connection, sql)
        return super().execute(_impatient(sql), *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        _listen(self.connection, sql)
        return super().executemany(sql, *args)


def _listen(connection: Any, sql: str) -> None:
    """Refuse to go on with a transaction that was ended; a new one is a new one."""
    if connection.unheard:
        if not sql.startswith(("BEGIN", "PRAGMA")):
            raise sqlite3.OperationalError(UNHEARD)
        connection.unheard = False


def _impatient(sql: str) -> str:
    return "PRAGMA busy_timeout=0" if sql.startswith("PRAGMA busy_timeout") else sql


_real_connect = sqlite3.connect


@functools.cache
def _patient(kind: type[sqlite3.Connection]) -> type[sqlite3.Connection]:
    return type("Patient", (PatientConnection, kind), {})


def _connect(
    database: Any, timeout: float = 0, *, factory: type[sqlite3.Connection] = sqlite3.Connection, **how: Any
) -> sqlite3.Connection:
    opened = _real_connect(
        database,
        timeout=0,
        factory=_patient(factory),
        check_same_thread=False,
        **{name: value for name, value in how.items() if name != "check_same_thread"},
    )
    process = _process()
    if process is not None:
        process.connections.append(opened)
        if process.way is not None:
            process.way.prepare(opened)
        process.on_death.append(lambda: _close(opened))
        if process.disk is not None:
            process.disk.connections.append(opened)
            if process.disk.full:
                _limit(opened, 2)
    return opened


def _close(connection: sqlite3.Connection) -> None:
    """Close without a word: what was not committed is gone."""
    # Statements that a dead coroutine holds would keep a closed connection, and its lock, alive.
    for step in (connection.rollback, connection.close):
        with contextlib.suppress(sqlite3.Error):  # it was closed before
            step()


class VirtualDatetime(dt.datetime):
    """What the library of schedules takes the time from."""

    @classmethod
    def now(cls, tz: Any = None) -> VirtualDatetime:
        return cls.fromtimestamp(time.time(), tz)


def _install_schedule() -> None:
    import apscheduler.schedulers.base  # noqa: PLC0415 - after the clocks
    import apscheduler.triggers.interval  # noqa: PLC0415

    import kernel.tasks.schedule  # noqa: PLC0415

    for module in (apscheduler.schedulers.base, apscheduler.triggers.interval, kernel.tasks.schedule):
        module.datetime = VirtualDatetime  # type: ignore[attr-defined]


class ProcessLog(logging.Handler):
    """Keeps what each process logs."""

    def emit(self, record: logging.LogRecord) -> None:
        process = _process()
        if process is not None:
            text = f"{record.levelname} {record.getMessage()} {getattr(record, 'fields', '') or ''}"
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
            process.output.append(text + "\n")
            _loop().note(text.strip())
