"""Bring a store to this version's schema, or refuse to touch it: one set of migrations for both engines."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError

from kernel.errors import StoreError
from kernel.store.files import private_store
from kernel.store.postgresql import OLDEST, PostgresDatabase, PostgresSettings, advise, open_engine

MIGRATION_S = 600.0


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
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 5})
    try:
        with engine.begin() as connection:
            return _upgrade(connection, str(path), migrations)
    except DBAPIError as exc:
        raise StoreError(f"{setting}: cannot open {path}: {exc.orig}") from exc
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
        await engine.dispose()


async def _check_version(database: PostgresDatabase) -> None:
    async with database.read() as tx:
        asked = "SELECT current_setting('server_version_num'), current_setting('server_version')"
        number, shown = tuple((await tx.exec_driver_sql(asked)).one())
    if int(number) < OLDEST:
        raise StoreError(f"PostgreSQL {shown} is too old: this version needs {OLDEST // 10_000} or newer")


def _upgrade(connection: Connection, name: str, migrations: Path) -> str:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    head = script.get_current_head()
    if head is None:
        raise StoreError("this installation has no migrations")
    if current is not None and current not in known:
        raise StoreError(
            f"{name} was written by a newer version (schema {current}, this version knows {head}): upgrade first"
        )
    if current != head:
        command.upgrade(config, "head")
    return head
