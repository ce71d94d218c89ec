"""A worker on a scripted chain, its store and its clocks, for cases about time, branches and rails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernel.store.database import open_database
from tests.harness import FakeClock, empty_store
from tests.scanner.bench import Bench
from tests.scanner.facts import NOW


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A worker that has polled once."""
    path = tmp_path / "scanner.db"
    path.write_bytes(empty_store())
    async with open_database(path) as db:
        found = Bench(db, FakeClock(NOW))
        await found.worker.poll()
        found.wakeups = 0
        yield found


def in_s(bench: Bench, seconds: int) -> int:
    """Return a moment of chain time from the newest block, in unix ms."""
    return (bench.chain.times[bench.chain.top] + seconds) * 1000
