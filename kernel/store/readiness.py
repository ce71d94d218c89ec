"""Whether a store can be used by this version, found out without changing it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from kernel.errors import StoreError
from kernel.store.postgresql import PostgresSettings, open_postgresql

BUSY_S = 2.0


def file_state(path: Path, migrations: Path, *, setting: str) -> str:
    """
    Return what is there, in a few words.

    Blocking: it reads the file.

    Raises:
        StoreError: it cannot be used; the sentence says what to change.
    """
    if not path.parent.is_dir():
        raise StoreError(f"{setting}: folder {path.parent} does not exist: make it, or name another")
    if not path.exists():
        return "none yet: made at the first start"
    return _state(_revision(path, setting), migrations, f"{setting}: {path}")


async def database_state(settings: PostgresSettings, migrations: Path) -> str:
    """
    Return what is in the database, in a few words.

    Raises:
        StoreError: it cannot be used; the sentence says what to change.
    """
    async with open_postgresql(settings) as db, db.read() as tx:
        named = f"{settings.schema}.alembic_version"
        known = (await tx.exec_driver_sql(f"SELECT to_regclass('{named}')")).scalar_one()
        asked = f"SELECT version_num FROM {named}"  # noqa: S608 - the schema's name is ours
        row = None if known is None else (await tx.exec_driver_sql(asked)).one_or_none()
    return _state(None if row is None else str(row[0]), migrations, f"{settings.setting}: the database")


def _state(current: str | None, migrations: Path, name: str) -> str:
    head = _head(migrations)
    if current is None:
        return "empty: its tables are made at the next start"
    if current not in _known(migrations):
        raise StoreError(f"{name} was written by a newer version (schema {current}): upgrade this one")
    return f"schema {current}" if current == head else f"schema {current}, brought to {head} at the next start"


def _revision(path: Path, setting: str) -> str | None:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=BUSY_S)) as store:
            # Only a write tells: a file that is read-only, or on a full disk, can be read for hours.
            store.execute("BEGIN IMMEDIATE")
            known = store.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            row = store.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
            store.rollback()
    except sqlite3.Error as exc:
        raise StoreError(f"{setting}: {path} cannot be used: {exc}") from exc
    return None if row is None else str(row[0])


def _script(migrations: Path) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def _head(migrations: Path) -> str | None:
    return _script(migrations).get_current_head()


def _known(migrations: Path) -> set[str]:
    return {revision.revision for revision in _script(migrations).walk_revisions()}
