"""Bring the store to this version's schema, or refuse to touch it."""

from __future__ import annotations

from pathlib import Path

from kernel.store import migrate as shared
from kernel.store.postgresql import PostgresSettings

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = "amn_marketplace"


def migrate(path: Path) -> str:
    """
    Apply the numbered migrations that are missing and return the revision reached.

    Raises:
        StoreError: the store is newer than this code, is no database, or cannot be written.
    """
    return shared.migrate(path, MIGRATIONS, setting="MARKETPLACE_DB_PATH")


def postgres_settings(url: str, node_id: str) -> PostgresSettings:
    """Return where the store is; `node_id` names a process in the server's list of connections."""
    return PostgresSettings(
        url=url, schema=SCHEMA, setting="MARKETPLACE_DATABASE_URL", name=f"amn marketplace {node_id}"
    )


async def migrate_postgresql(settings: PostgresSettings) -> str:
    """Apply the numbered migrations that are missing in a database, and return the revision reached."""
    return await shared.migrate_postgresql(settings, MIGRATIONS)
