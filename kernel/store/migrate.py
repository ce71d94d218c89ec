"""Bring a store to this version's schema, or refuse to touch it: one set of migrations for both engines."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.exc import DBAPIError

from kernel.errors import StoreBusy, StoreError
from kernel.store import database
from kernel.store.connection import dispose
from kernel.store.files import private_store
from kernel.store.postgresql import OLDEST, PostgresDatabase, PostgresSettings, advise, open_engine

MIGRATION_S = 600.0
VERSIONS = "alembic_version"  # the table in which Alembic keeps the revision


def migrate(path: Path, migrations: Path, *, setting: str) -> str:
    """
    Apply the numbered migrations that are missing and return the revision reached.

    Blocking: runs once, before the daemon's loop has anything to do.

    Raises:
        StoreError: the store is newer than this code, is no database, or cannot be written.
    """
    if not path.parent.is_dir():
        raise StoreError(f"{setting}: folder {path.parent} does not exist")
    try:
        private_store(path)
    except StoreError as exc:
        raise StoreError(f"{setting}: {exc}") from exc
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": database.BUSY_TIMEOUT_MS / 1000})
    try:
        with engine.begin() as connection:
            return _upgrade(connection, str(path), migrations)
    except DBAPIError as exc:
        kind = StoreBusy if database.is_busy(exc.orig) else StoreError
        raise kind(f"{setting}: cannot open {path}: {exc.orig}") from exc
    finally:
        engine.dispose()


async def migrate_postgresql(settings: PostgresSettings, migrations: Path) -> str:
    """
    Apply the numbered migrations that are missing, in one transaction, and return the revision reached.

    Of several processes that start at once one does it, and the others wait for it and find it done.

    Raises:
        StoreError: the database is newer than this code, older than PostgreSQL 15, or cannot be used.
    """
    engine = open_engine(settings, pool=1, statement_s=MIGRATION_S)
    database = PostgresDatabase(engine, settings)
    try:
        await _check_version(database)
        async with database.write(statement_s=MIGRATION_S) as tx:
            # No lock of a table: there may be none yet.
            await advise(tx, f"migrate {settings.schema}")
            await tx.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {settings.schema}")
            return await tx.run_sync(_upgrade, f"{settings.setting}: the database", migrations)
    finally:
        await dispose(engine)


async def _check_version(database: PostgresDatabase) -> None:
    async with database.read() as tx:
        asked = "SELECT current_setting('server_version_num'), current_setting('server_version')"
        number, shown = tuple((await tx.exec_driver_sql(asked)).one())
    if int(number) < OLDEST:
        raise StoreError(f"PostgreSQL {shown} is too old: this version needs {OLDEST // 10_000} or newer")


def _upgrade(connection: Connection, name: str, migrations: Path) -> str:
    newest = newest_in(migrations)
    if inspect(connection).has_table(VERSIONS):
        held = connection.exec_driver_sql(f"SELECT version_num FROM {VERSIONS}").scalars().all()  # noqa: S608 - ours
        if held == [newest]:
            return newest
    # Nearly every start finds nothing to do, and what does it takes a tenth of a second and ten megabytes to load.
    from kernel.store.upgrade import upgrade  # noqa: PLC0415

    return upgrade(connection, name, migrations)


def newest_in(migrations: Path) -> str:
    """
    Return the newest revision, by the names of the files: each begins with its own.

    Raises:
        StoreError: there are none.
    """
    revisions = [path.name.partition("_")[0] for path in migrations.glob("versions/[0-9]*_*.py")]
    if not revisions:
        raise StoreError("this installation has no migrations")
    return max(revisions)
