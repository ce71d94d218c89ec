"""How a daemon is put together, and what it waits for before it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kernel.errors import UnknownOutcome
from kernel.store.postgresql import ConnectionLost
from scanner.redelivery import Redelivery
from tests.harness import FakeClock, environment, running


class WaitingClock(FakeClock):
    """Notes when somebody waits for the database."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    async def sleep(self, seconds: float) -> None:
        if self.waits < 2:
            self.waits += 1
        else:
            await super().sleep(seconds)


async def test_a_database_that_is_lost_in_the_last_step_of_a_start_ends_no_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [ConnectionLost("the server ended this transaction"), UnknownOutcome("not known")]

    async def ensure(_: Redelivery) -> int:
        if failures:
            raise failures.pop(0)
        return 0

    monkeypatch.setattr(Redelivery, "ensure_confirmed_events", ensure)
    clock = WaitingClock()
    async with asyncio.timeout(30), running(environment(tmp_path, "http://127.0.0.1:9"), clock=clock) as daemon:
        assert daemon.api.url.startswith("http://")
    assert failures == []
