"""Fixtures of the scanner's own tests: a real store, and a clock that moves when told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernel.store.database import Database, open_database
from tests.harness import FakeClock, empty_store
from tests.scanner.facts import NOW


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    path = tmp_path / "scanner.db"
    path.write_bytes(empty_store())
    return path


@pytest.fixture
async def db(store_path: Path) -> AsyncIterator[Database]:
    async with open_database(store_path) as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)
