"""Bring the store to this version's schema, or refuse to touch it."""

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
            return _upgrade(connection, path, migrations)
    except DBAPIError as exc:
        raise StoreError(f"{setting}: cannot open {path}: {exc.orig}") from exc
    finally:
        engine.dispose()


def _upgrade(connection: Connection, path: Path, migrations: Path) -> str:
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
            f"{path} was written by a newer version (schema {current}, this version knows {head}): upgrade first"
        )
    if current != head:
        command.upgrade(config, "head")
    return head
