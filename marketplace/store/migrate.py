"""Bring the store to this version's schema, or refuse to touch it."""

from __future__ import annotations

from pathlib import Path

from kernel.store import migrate as shared

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(path: Path) -> str:
    """
    Apply the numbered migrations that are missing and return the revision reached.

    Raises:
        StoreError: the store is newer than this code, is no database, or cannot be written.
    """
    return shared.migrate(path, MIGRATIONS, setting="MARKETPLACE_DB_PATH")
