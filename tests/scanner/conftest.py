"""Fixtures of the scanner's own tests: a real store, and a clock that moves when told to."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scanner.store.database import Database, open_database
from scanner.store.migrate import migrate
from tests.harness import FakeClock
from tests.scanner.facts import NOW


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with this version's schema and nothing in it, to be copied."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    migrate(path)
    return path


@pytest.fixture
def store_path(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_store, tmp_path / "scanner.db"))


@pytest.fixture
async def db(store_path: Path) -> AsyncIterator[Database]:
    async with open_database(store_path) as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)
