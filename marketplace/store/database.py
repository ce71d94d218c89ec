"""The marketplace's connections to its store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from kernel.errors import Collision, StoreError
from kernel.store import database, postgresql
from kernel.store.connection import connected, dispose
from kernel.store.database import Database, Tx
from kernel.store.postgresql import UNIQUE_VIOLATION, PostgresDatabase, PostgresSettings
from marketplace.store.errors import RuleBroken, Taken

__all__ = ["Database", "Tx", "open_database", "open_shared", "read_file"]

FOREIGN_KEY_VIOLATION = "23503"
INTEGRITY = "23"  # how the codes of broken constraints begin


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    """Open the store; migrations have been applied before (`migrate`)."""
    async with database.open_database(path, translate=_meaning) as opened:
        yield opened


@asynccontextmanager
async def open_shared(settings: PostgresSettings) -> AsyncIterator[PostgresDatabase]:
    """Open the store that several processes share; migrations have been applied before (`migrate_postgresql`)."""
    async with postgresql.open_postgresql(settings, translate=_meaning_of_code) as opened:
        yield opened


@asynccontextmanager
async def read_file(path: Path) -> AsyncIterator[Tx]:
    """Read a file and never change it, be it a store in use or a backup."""
    engine = create_engine(f"sqlite+aiosqlite:///file:{quote(str(path))}?mode=ro&uri=true", hide_parameters=True)
    try:
        async with connected(engine) as tx:
            yield tx
    except SQLAlchemyError as exc:
        raise StoreError(f"{path}: {getattr(exc, 'orig', None) or exc}") from exc
    finally:
        await dispose(engine)


def _meaning(exc: SQLAlchemyError) -> Exception | None:
    if isinstance(exc, IntegrityError):
        kind = Taken if "UNIQUE" in str(exc.orig) else RuleBroken
        return kind(f"the store refused: {exc.orig}")
    return database.as_store_error(exc)


def _meaning_of_code(code: str | None, said: str) -> Exception | None:
    if code == UNIQUE_VIOLATION:
        return Taken(f"the store refused: {said}")
    if code == FOREIGN_KEY_VIOLATION:  # every key was looked up before: the row went meanwhile
        return Collision(f"somebody else removed what this belongs to: {said}")
    if code is not None and code.startswith(INTEGRITY):
        return RuleBroken(f"the store refused: {said}")
    return None
