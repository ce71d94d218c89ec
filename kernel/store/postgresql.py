"""
Connections to PostgreSQL, for a store that several processes use at once.

Every transaction brings its settings with it, so that nothing is lost behind a pooler that hands each transaction to
another connection. Whoever decides about something takes its lock first; READ COMMITTED shows what others committed
before. What an error means is told by its SQLSTATE alone: its text may be in any language.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from kernel.errors import Collision, ConfigError, StoreError, UnknownOutcome
from kernel.store.connection import dispose, take
from kernel.store.database import Database, Tx
from kernel.tasks.failure_log import FailureLog

log = logging.getLogger(__name__)

OLDEST = 150_000  # server_version_num of the oldest version that is known to work
ENTER_S = 4.0  # for a connection and the beginning of a transaction
CONNECT_S = 3.0
STATEMENT_S = 5.0
LONGEST_STATEMENT_S = 30.0  # of a leader: a page of a busy chain takes longer than any answer may
STATEMENTS = 10  # as long as so many of the longest statements a transaction may last, where the server can tell
MARGIN_S = 1.0  # after which a server that was to give up by itself is taken for gone
COMMIT_S = STATEMENT_S + MARGIN_S
ROLLBACK_S = 2.0
POOL = 10
RETRY_S = 1.0  # at the start, while the database is not there yet

# Whoever writes has a number before any of its rows has one: see `horizon`.
READ_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_current_xact_id()"
READ_ONLY = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# A COMMIT that waits for the standby and is cancelled is answered as done: who takes over would know nothing of it.
COMMIT = "SET LOCAL statement_timeout = 0; COMMIT"
TRANSACTION_TIMEOUT = 17  # the version from which on a transaction has a time-out of its own
UNIQUE_VIOLATION = "23505"
READ_ONLY_SERVER = "25006"  # as the answer to READ_WRITE: nobody has promoted this standby yet
_AGAIN = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
_UNAVAILABLE = ("08", "53", "57P")  # connection, resources, shut down
_TERMINATED = {"25P03", "25P04"}  # a transaction that was idle, or lasted, for too long: its connection is gone

Translate = Callable[[str | None, str], Exception | None]
T = TypeVar("T")


@functools.cache
def _driver() -> Any:
    # 3 MB, and a fiftieth of the start, that a store in a file does not need.
    return importlib.import_module("asyncpg")


@functools.cache
def _errors() -> tuple[type[Exception], ...]:
    """Return whatever an engine or a connection raises."""
    driver = _driver()
    # Of a connection that the server closed while nobody was asking, the driver says it is confused.
    confused = (driver.InterfaceError, driver.InternalClientError)
    return SQLAlchemyError, driver.PostgresError, *confused, OSError, TimeoutError


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """Where a store on PostgreSQL is. `setting` names the variable its URL came from."""

    url: str = field(repr=False)  # it may hold a password
    schema: str
    setting: str
    name: str = "amn"  # as the server's list of connections shows it
    idle_s: float = 3.0  # a transaction in which nothing is said for so long is ended by the server


class ConnectionLost(StoreError):
    """The database cannot be reached, or the connection to it broke."""


def _original(exc: BaseException) -> BaseException:
    """Return the driver's own error, which may be wrapped twice."""
    wrapped = exc.orig if isinstance(exc, DBAPIError) else None
    return exc if wrapped is None else wrapped.__cause__ or wrapped


def sqlstate_of(exc: BaseException) -> str | None:
    """Return the code of a server's error; None when it comes from no server."""
    found = getattr(_original(exc), "sqlstate", None)
    return found if isinstance(found, str) else None


def is_lost(exc: BaseException) -> bool:
    """Say whether a failure leaves a connection of no use."""
    code = sqlstate_of(exc)
    if code is not None:
        return code.startswith(_UNAVAILABLE) or code in _TERMINATED
    original = _original(exc)
    if isinstance(original, SQLAlchemyError):
        return isinstance(original, PoolTimeoutError)
    return not isinstance(original, ValueError)  # the driver could not write a parameter: nothing was sent


def as_store_error(exc: BaseException, translate: Translate | None = None) -> Exception:
    """Return what a failure is to the layers above."""
    code = sqlstate_of(exc)
    said = str(_original(exc)).partition("\n")[0] or type(exc).__name__
    if is_lost(exc):
        return ConnectionLost(f"the database does not answer: {said}")
    if code in _AGAIN:
        return Collision(f"the database asks to try again: {said}")
    meant = None if translate is None else translate(code, said)
    if meant is not None:
        return meant
    if code == UNIQUE_VIOLATION:
        return Collision(f"somebody else stored the same: {said}")
    return StoreError(f"the store failed: {said}")


class PostgresDatabase(Database):
    """A database's connections. Open with `open_postgresql`, which closes every one of them."""

    shared = True

    def __init__(self, engine: Engine, settings: PostgresSettings, translate: Translate | None = None) -> None:
        self._engine = engine
        self.settings = settings
        self._translate = translate

    @asynccontextmanager
    async def write(self, *, statement_s: float = STATEMENT_S) -> AsyncIterator[Tx]:
        async with self._transaction(READ_WRITE, statement_s=statement_s) as tx:
            yield tx

    @asynccontextmanager
    async def read(self, *, statement_s: float = STATEMENT_S) -> AsyncIterator[Tx]:
        async with self._transaction(READ_ONLY, statement_s=statement_s) as tx:
            yield tx

    async def lock(self, tx: Tx, *names: str) -> None:
        # The row of a lease, where there is one: it is what its leader locks. In one order everywhere.
        rows = await tx.execute(
            text("SELECT name FROM leases WHERE name = ANY (CAST(:names AS text[])) ORDER BY name FOR UPDATE"),
            {"names": list(names)},
        )
        for name in sorted(set(names) - set(rows.scalars())):
            await advise(tx, name)

    @asynccontextmanager
    async def _transaction(self, begin: str, *, statement_s: float = STATEMENT_S) -> AsyncIterator[Tx]:
        with self._translated(*_errors()):
            tx, driver = await self._begin(begin, statement_s)
        try:
            try:
                with self._translated(SQLAlchemyError):  # anything else that is raised inside is not the database's
                    yield tx
            except BaseException as exc:
                await _roll_back(tx, driver, lost=isinstance(exc, ConnectionLost))
                raise
            with self._translated(*_errors()):
                await _commit(tx, driver, begin)
        finally:
            with self._translated(*_errors()):
                await tx.close()

    async def _begin(self, begin: str, statement_s: float) -> tuple[Tx, Any]:
        async with asyncio.timeout(ENTER_S):
            for _ in range(POOL):
                # The transaction is ours from BEGIN to COMMIT: else a lost COMMIT looks like any other loss.
                tx = await take(self._engine, isolation_level="AUTOCOMMIT")
                try:
                    driver: Any = (await tx.get_raw_connection()).driver_connection
                    own = transaction_settings(self.settings, statement_s, version=_version(driver))
                    await driver.execute(f"{begin}; {own}")
                except BaseException as exc:
                    await _drop(tx)
                    if sqlstate_of(exc) == READ_ONLY_SERVER:
                        raise ConnectionLost("the database is a standby that nothing can be written to") from exc
                    if not (isinstance(exc, _errors()) and is_lost(exc)) or isinstance(exc, TimeoutError):
                        raise
                    continue  # one that broke while it lay in the pool
                return tx, driver
        raise ConnectionLost("the database closes every connection")

    @contextmanager
    def _translated(self, *kinds: type[BaseException]) -> Iterator[None]:
        """Turn the driver's errors into ours at the one border where they can appear."""
        try:
            yield
        except kinds as exc:
            raise as_store_error(exc, self._translate) from exc


async def _drop(tx: Tx) -> None:
    """Close a connection that is of no use any more, without waiting for the other end."""
    with suppress(*_errors()):
        await tx.invalidate()
    with suppress(*_errors()):
        await tx.close()


async def _roll_back(tx: Tx, driver: Any, *, lost: bool) -> None:
    if not lost and not driver.is_closed():
        try:
            async with asyncio.timeout(ROLLBACK_S):
                await driver.execute("ROLLBACK")
        except _errors():
            lost = True
        except BaseException:
            await _drop(tx)
            raise
    if lost or driver.is_closed():
        await _drop(tx)


async def _commit(tx: Tx, driver: Any, begin: str) -> None:
    try:
        done = await _say_commit(driver)
    except _errors() as exc:
        await _drop(tx)
        if is_lost(exc) and begin != READ_ONLY:
            raise UnknownOutcome(
                "the connection was lost while the store was written: not known whether it was"
            ) from exc
        raise
    except BaseException:
        await _drop(tx)
        raise
    if done != "COMMIT":  # a statement had failed and somebody went on all the same
        raise StoreError("the store undid a transaction instead of keeping it")


async def _say_commit(driver: Any) -> Any:
    """
    Say COMMIT and return what was answered.

    Whoever has waited long enough hangs up: the driver's own time-out, and a task that is cancelled, would have the
    server cancel the COMMIT.
    """
    committing = asyncio.ensure_future(driver.execute(COMMIT, timeout=2 * COMMIT_S))
    try:
        await asyncio.wait([committing], timeout=COMMIT_S)
        if not committing.done():
            raise TimeoutError("a COMMIT was not answered")
    finally:
        if not committing.done():
            driver.terminate()
            with suppress(*_errors()):
                await committing
    return committing.result()


def _version(driver: Any) -> int:
    return int(driver.get_server_version().major)


def transaction_settings(settings: PostgresSettings, statement_s: float, *, version: int) -> str:
    """Return the statements that make a transaction ours, whoever used its connection before."""
    given = {
        "search_path": settings.schema,
        "statement_timeout": round(statement_s * 1000),
        "idle_in_transaction_session_timeout": round(settings.idle_s * 1000),
        "jit": "off",
    }
    if version >= TRANSACTION_TIMEOUT:
        # A process that was stopped between two messages of one statement is idle to no other time-out.
        given["transaction_timeout"] = round(STATEMENTS * statement_s * 1000)
    return "; ".join(f"SET LOCAL {name} = {value}" for name, value in given.items())


async def advise(tx: Tx, name: str) -> None:
    """Hold a lock that is no row of anything until the transaction ends."""
    await tx.execute(text("SELECT pg_advisory_xact_lock(CAST(:number AS bigint))"), {"number": lock_number(name)})


def lock_number(name: str) -> int:
    """Return the number by which the server knows a lock."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def open_engine(settings: PostgresSettings, *, pool: int = POOL, statement_s: float = STATEMENT_S) -> Engine:
    """Make the engine; no connection is opened yet."""

    async def connect(**_: Any) -> Any:
        return await connect_to(settings, statement_s=statement_s)

    return create_engine(
        "postgresql+asyncpg://",
        hide_parameters=True,  # else an error that is logged tells e-mails and digests
        pool_size=pool,
        max_overflow=0,
        pool_timeout=ENTER_S,
        # Behind a pooler a statement that was prepared may be on another connection by now.
        connect_args={
            "async_creator_fn": connect,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": str,
        },
    )


async def connect_to(settings: PostgresSettings, *, statement_s: float = STATEMENT_S) -> Any:
    """
    Open one connection.

    Raises:
        ConfigError: the URL is none, and says so without being shown.
    """
    asyncpg = _driver()
    try:
        return await asyncpg.connect(
            settings.url,
            timeout=CONNECT_S,
            command_timeout=statement_s + MARGIN_S,
            statement_cache_size=0,
            server_settings={"application_name": settings.name},
        )
    except (ValueError, asyncpg.ClientConfigurationError):
        raise ConfigError(f"{settings.setting}: not a URL of a PostgreSQL database") from None


@asynccontextmanager
async def open_postgresql(
    settings: PostgresSettings, *, translate: Translate | None = None, statement_s: float = LONGEST_STATEMENT_S
) -> AsyncIterator[PostgresDatabase]:
    """Open a store on PostgreSQL; migrations have been applied before (`migrate`)."""
    engine = open_engine(settings, statement_s=statement_s)
    try:
        yield PostgresDatabase(engine, settings, translate)
    finally:
        await dispose(engine)


async def once_reachable(
    setting: str, step: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[None]]
) -> T:
    """
    Do a step of a start, which may be done twice, as soon as the database can be written, however long that takes.

    A machine that starts has no order: a process that ended because it was faster would have to be started by hand.
    What another try does not mend (a wrong password, no such database) is raised.
    """
    outage = FailureLog(log, f"[store] {setting}")
    while True:
        try:
            done = await step()
        except (ConnectionLost, UnknownOutcome) as exc:
            outage.failed(f"{exc}; waiting until it can be used")
        else:
            outage.recovered()
            return done
        await sleep(RETRY_S)


async def warn_of_replication(db: PostgresDatabase) -> None:
    """Say so when what is acknowledged here may be unknown to the standby that takes over."""
    async with db.read() as tx:
        replicates = (await tx.exec_driver_sql("SELECT count(*) FROM pg_stat_replication")).scalar_one()
        waits_for = (await tx.exec_driver_sql("SELECT current_setting('synchronous_standby_names')")).scalar_one()
        commits = (await tx.exec_driver_sql("SELECT current_setting('synchronous_commit')")).scalar_one()
    if replicates and (not waits_for or commits in {"off", "local"}):
        log.warning(
            "[store] the database replicates, but not by synchronous replication: after a failover what was"
            " acknowledged may be gone (docs/scaling.md)"
        )
