"""Apply the migrations that are missing, with Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from kernel.errors import StoreError


def upgrade(connection: Connection, name: str, migrations: Path) -> str:
    """
    Bring what a connection is open to, called `name`, to the newest revision, and return that.

    Raises:
        StoreError: it is newer than this code.
    """
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
