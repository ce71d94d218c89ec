"""Fixtures of the scanner's own tests: a real store on either engine, and a clock that moves when told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernel.store.database import Database, open_database
from tests import postgres
from tests.harness import FakeClock, empty_database, empty_store
from tests.scanner.facts import NOW


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    path = tmp_path / "scanner.db"
    path.write_bytes(empty_store())
    return path


@pytest.fixture
async def sqlite(store_path: Path) -> AsyncIterator[Database]:
    """A store on SQLite, for what is true of that alone."""
    async with open_database(store_path) as opened:
        yield opened


@pytest.fixture
async def pg(postgresql: postgres.Server) -> AsyncIterator[Database]:
    """A store on PostgreSQL, for what is true of that alone."""
    async with empty_database(postgresql) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest) -> Database:
    """A store on each engine; the second where there is one."""
    found: Database = request.getfixturevalue("sqlite" if request.param == "sqlite" else "pg")
    return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)
