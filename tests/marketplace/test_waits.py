"""What the marketplace waits for goes on waiting as long as it would have, whatever its clock is set to."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.cases.test_told_once import stray, told
from tests.harness import USDC, FakeClock
from tests.marketplace.deals import Deal, make_deal
from tests.marketplace.harness import environment, running
from tests.marketplace.stand_in import StandIn


def value(deal: Deal, sql: str) -> Any:
    with sqlite3.connect(deal.market.db_path) as store:
        return store.execute(sql).fetchone()[0]


def change(deal: Deal, sql: str, moment: int) -> None:
    with sqlite3.connect(deal.market.db_path) as store:
        store.execute(sql, [moment])


async def set_back(deal: Deal, seconds: float) -> None:
    deal.clock.set(-seconds)
    await deal.market.marketplace.follower.look()


@pytest.mark.parametrize("back_s", [1200, 365 * 86_400])
async def test_an_errand_waits_as_long_as_it_would_have(deal: Deal, back_s: int) -> None:
    deal.scanner.down = True
    await deal.buyer.call("POST", "/api/payment/intents", deal.intent())
    left_ms = value(deal, "SELECT next_attempt_at FROM scanner_outbox") - deal.clock.now_ms()
    await set_back(deal, back_s)

    assert value(deal, "SELECT next_attempt_at FROM scanner_outbox") - deal.clock.now_ms() == left_ms > 0


async def test_one_that_was_due_stays_due(deal: Deal) -> None:
    deal.scanner.down = True
    await deal.buyer.call("POST", "/api/payment/intents", deal.intent())
    change(deal, "UPDATE scanner_outbox SET next_attempt_at = ?", deal.clock.now_ms() - 1000)
    await set_back(deal, 1200)

    assert value(deal, "SELECT next_attempt_at FROM scanner_outbox") <= deal.clock.now_ms()


async def test_what_was_told_lately_is_told_again_within_the_hour(deal: Deal) -> None:
    await deal.open("direct")
    for _ in range(2):
        await deal.hook(stray(deal, "wrong_token", 1, token=USDC))
    await set_back(deal, 1200)
    counts = []
    for seconds in (3599, 1):
        deal.clock.advance(seconds)
        await deal.market.marketplace.sweep.once()
        counts.append(len(told(deal, deal.buyer.user_id, "payment-wrong-token")))

    assert counts == [1, 2]


async def test_the_sweep_goes_on_with_those_it_has_not_looked_at(deal: Deal) -> None:
    await deal.open()
    change(deal, "UPDATE payments SET looked_at = ?", deal.clock.now_ms())
    await set_back(deal, 1200)

    assert value(deal, "SELECT looked_at FROM payments") == deal.clock.now_ms()


async def test_after_a_start_by_a_clock_that_was_set_back_nothing_lies_further_ahead_than_it_can(
    tmp_path: Path, chain_side: StandIn, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, chain_side.url), clock=clock) as market:
        deal = await make_deal(market, chain_side, clock)
        await deal.open("direct")
        for _ in range(2):
            await deal.hook(stray(deal, "wrong_token", 1, token=USDC))
        change(deal, "UPDATE payments SET looked_at = ?", clock.now_ms())
        chain_side.down = True
        change(deal, "UPDATE scanner_outbox SET status = 'pending', next_attempt_at = ?", clock.now_ms() + 5000)
    back = FakeClock(clock.now_ms() - 1200_000)
    async with running(environment(tmp_path, chain_side.url), clock=back):
        assert value(deal, "SELECT max(looked_at) FROM payments") == back.now_ms()
        assert value(deal, "SELECT max(told_at) FROM notice_counts") == back.now_ms()
        assert value(deal, "SELECT max(next_attempt_at) FROM scanner_outbox") <= back.now_ms() + 300_000


async def test_the_ledger_is_reconciled_every_minute_whatever_the_clock_is_set_to(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    health, asked = deal.market.marketplace.services.health, []
    report = health._reconciliation.report

    async def noted() -> Any:
        asked.append(deal.clock.now_ms())
        return await report()

    monkeypatch.setattr(health._reconciliation, "report", noted)
    await health.report()
    await set_back(deal, 1200)
    for _ in range(2):
        deal.clock.advance(30)
        found = await health.report()

    assert len(asked) == 2
    assert found.uptime_s == 60
