"""A worker on a scripted chain, its store and its clocks, for cases about time, branches and rails."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scanner.store.database import open_database
from scanner.store.migrate import migrate
from tests.harness import FakeClock
from tests.scanner.bench import Bench
from tests.scanner.facts import NOW


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "empty.db"
    migrate(path)
    return path


@pytest.fixture
async def bench(migrated_store: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    """A worker that has polled once."""
    async with open_database(Path(shutil.copy(migrated_store, tmp_path / "scanner.db"))) as db:
        found = Bench(db, FakeClock(NOW))
        await found.worker.poll()
        found.rung = 0
        yield found


def in_s(bench: Bench, seconds: int) -> int:
    """Return a moment of chain time from the newest block, in unix ms."""
    return (bench.chain.times[bench.chain.top] + seconds) * 1000
