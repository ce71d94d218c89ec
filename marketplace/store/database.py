"""The marketplace's connections to its store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from kernel.store import database
from kernel.store.database import Database, Tx
from marketplace.store.errors import Taken

__all__ = ["Database", "Tx", "open_database"]


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    """Open the store; migrations have been applied before (`migrate`)."""
    async with database.open_database(path, translate=_meaning, one_step=True) as opened:
        yield opened


def _meaning(exc: SQLAlchemyError) -> Exception | None:
    if isinstance(exc, IntegrityError):
        if "UNIQUE" in str(exc.orig):
            return Taken(f"the store refused: {exc.orig}")
        return None  # what breaks any other rule is a bug, and told as one
    return database.as_store_error(exc)
