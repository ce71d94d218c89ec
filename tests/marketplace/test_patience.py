"""A store that is away stops no chore for ever, and a bug stops it at once."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from marketplace.patience import Patient
from marketplace.store.errors import StoreError
from tests.harness import FakeClock
from tests.marketplace.deals import make_deal
from tests.marketplace.harness import environment, running
from tests.marketplace.stand_in import StandIn


def failing_with(*failures: Exception | None) -> Callable[[], asyncio.Future[None]]:
    """Return a chore that fails like this, call by call."""
    left = list(failures)

    async def chore() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(one())

    async def one() -> None:
        failure = left.pop(0)
        if failure is not None:
            raise failure

    return chore  # type: ignore[return-value]


async def test_what_the_store_refused_is_told_once_and_done_the_next_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    patient = Patient("chore", failing_with(StoreError("locked"), StoreError("locked"), None, None))

    for _ in range(4):
        await patient.once()

    assert [record.message for record in caplog.records] == [
        "[chore] locked; trying again",
        "[chore] the store is back",
    ]


async def test_a_bug_is_not_waited_for() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await Patient("chore", failing_with(ValueError("a bug"))).once()
    assert isinstance(caught.value.exceptions[0], ValueError | ExceptionGroup)


async def test_errands_and_sweep_outlive_a_locked_store(
    tmp_path: Path, chain_side: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.store.database.BUSY_TIMEOUT_MS", 100)
    env = environment(tmp_path, chain_side.url, MARKETPLACE_SWEEP_SEC="0.05")
    clock = FakeClock()
    async with running(env, clock=clock) as market:
        deal = await make_deal(market, chain_side, clock)
        with closing(sqlite3.connect(market.db_path, isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError):
                await market.marketplace.sweep.once()
            other.execute("ROLLBACK")
        await deal.open()
        clock.advance(24 * 3600 + 1)
        async with asyncio.timeout(30):
            while deal.scanner.intents[deal.payment_id]["status"] != "expired":  # noqa: ASYNC110 - another process's store
                await asyncio.sleep(0.02)
