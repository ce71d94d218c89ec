"""A store that is away stops no chore for ever, and a bug stops it at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel.tasks.periodic import PeriodicTask
from marketplace.store.errors import StoreError
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import environment, running
from tests.write_lock import write_lock


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


async def test_what_the_store_refused_is_reported_once_and_done_the_next_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    patient = PeriodicTask("chore", failing_with(StoreError("locked"), StoreError("locked"), None, None))

    for _ in range(4):
        await patient.once()

    assert [record.message for record in caplog.records] == [
        "[chore] locked; trying again",
        "[chore] the store is back",
    ]


async def test_a_bug_is_not_waited_for() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await PeriodicTask("chore", failing_with(ValueError("a bug"))).once()
    assert isinstance(caught.value.exceptions[0], ValueError | ExceptionGroup)


async def test_the_sweep_outlives_a_locked_store(
    tmp_path: Path, fake_scanner: FakeScanner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kernel.store.database.BUSY_TIMEOUT_MS", 100)
    clock = FakeClock()
    async with running(environment(tmp_path, fake_scanner.url, MARKETPLACE_SWEEP_SEC="0.05"), clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.open()
        async with write_lock(market.db_path):
            await until(lambda: any(record.message.startswith("[sweep]") for record in caplog.records))
        clock.advance(24 * 3600 + 1)
        await until(lambda: purchase.scanner.intents[purchase.payment_id]["status"] == "expired")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
