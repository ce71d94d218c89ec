"""What is old goes in small steps; money, decisions and used addresses do not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from marketplace.errors import ConfigError
from marketplace.settings import load_settings
from tests.cases.test_told_once import stray
from tests.harness import USDC, FakeClock
from tests.marketplace.deals import TEN, Deal, make_deal
from tests.marketplace.harness import environment, running
from tests.marketplace.stand_in import StandIn

DAY = 86_400
KEEP = {
    "MARKETPLACE_EVENT_RETENTION_DAYS": "30",
    "MARKETPLACE_UNMATCHED_RETENTION_DAYS": "90",
    "MARKETPLACE_INTENT_RETENTION_DAYS": "200",
}
FOR_EVER = dict.fromkeys(KEEP, "0")


def count(deal: Deal, table: str, where: str = "1") -> int:
    with closing(sqlite3.connect(deal.market.db_path)) as store:
        return int(store.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])  # noqa: S608


async def sweep(deal: Deal, days: float) -> None:
    deal.clock.advance(days * DAY)
    await deal.market.marketplace.sweep.once()


async def test_webhooks_and_errands_go_after_their_days_and_the_ledger_never(
    tmp_path: Path, chain_side: StandIn, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, chain_side.url, **KEEP), clock=clock) as market:
        deal = await make_deal(market, chain_side, clock)
        await deal.fund("direct")
        await market.marketplace.commands.run_due()
        await sweep(deal, 29.9)
        before = count(deal, "webhook_inbox"), count(deal, "scanner_outbox"), deal.entries()
        await sweep(deal, 0.2)
        after = count(deal, "webhook_inbox"), count(deal, "scanner_outbox"), deal.entries()
        await sweep(deal, 400)

        assert before[0] == 1
        assert before[1] > 0
        assert after == (0, 0, before[2])
        assert (deal.entries(), count(deal, "payments"), count(deal, "credited_transfers")) == (before[2], 1, 1)
        assert before[2] == [("payment_detected", TEN), ("hold", TEN)]


async def test_what_was_not_judged_or_not_done_yet_is_never_pruned(
    tmp_path: Path, chain_side: StandIn, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, chain_side.url, **KEEP), clock=clock) as market:
        deal = await make_deal(market, chain_side, clock)
        await deal.open("direct")
        body = {**chain_side.pay(deal.payment_id), "transfers": None}
        chain_side.down = True
        await deal.hook(body)
        await deal.market.marketplace.services.units.commands.wait(0.01)
        with closing(sqlite3.connect(market.db_path)) as store, store:
            store.execute("UPDATE scanner_outbox SET status = 'pending', next_attempt_at = 9e15, done_at = NULL")
        await sweep(deal, 1000)

        assert (count(deal, "webhook_inbox", "outcome = 'unread'"), count(deal, "scanner_outbox")) == (1, 1)


async def test_other_tokens_go_and_money_of_the_payment_waits(
    tmp_path: Path, chain_side: StandIn, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, chain_side.url, **KEEP), clock=clock) as market:
        deal = await make_deal(market, chain_side, clock)
        await deal.fund("direct")
        await deal.hook(stray(deal, "wrong_token", 5, token=USDC))
        await deal.hook(stray(deal, "duplicate", 6))
        await sweep(deal, 89)
        before = count(deal, "recoveries")
        await sweep(deal, 2)

        assert (before, count(deal, "recoveries")) == (2, 1)
        assert count(deal, "recoveries", "reason = 'duplicate'") == 1


async def test_a_payment_that_ended_unpaid_goes_with_what_touches_it_and_its_address_stays_used(
    tmp_path: Path, chain_side: StandIn, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, chain_side.url, **KEEP), clock=clock) as market:
        deal = await make_deal(market, chain_side, clock)
        address = (await deal.open("direct"))["payment"]["destination"]
        first = deal.payment_id
        await deal.buyer.ok("POST", f"/api/payment/{first}/cancel")
        await deal.hook(chain_side.pay(first))
        await market.marketplace.commands.run_due()
        await sweep(deal, 199)
        before = count(deal, "payments"), count(deal, "recoveries")
        await sweep(deal, 2)

        assert before == (1, 1)
        assert [count(deal, table) for table in ("payments", "recoveries", "payment_transfers")] == [0, 0, 0]
        assert count(deal, "address_reservations", "payment_id IS NULL") == 1
        deal.buyer.token = market.marketplace.services.tokens.issue(deal.buyer.user_id, "buyer")
        assert (await deal.open("direct"))["payment"]["destination"] != address
        assert (await market.marketplace.services.reconciliation.report()).ok


async def test_0_is_for_ever(tmp_path: Path, chain_side: StandIn, clock: FakeClock) -> None:
    async with running(environment(tmp_path, chain_side.url, **FOR_EVER), clock=clock) as market:
        deal = await make_deal(market, chain_side, clock)
        await deal.fund("direct")
        await deal.hook(stray(deal, "wrong_token", 5, token=USDC))
        await market.marketplace.commands.run_due()
        before = [count(deal, table) for table in ("webhook_inbox", "scanner_outbox", "recoveries", "payments")]
        await sweep(deal, 36_000)

        assert [count(deal, table) for table in ("webhook_inbox", "scanner_outbox", "recoveries", "payments")] == before


async def test_much_is_pruned_in_steps(tmp_path: Path, chain_side: StandIn, clock: FakeClock, monkeypatch: Any) -> None:
    monkeypatch.setattr("marketplace.retention.STEP", 10)
    monkeypatch.setattr("marketplace.retention.STEPS", 3)
    async with running(environment(tmp_path, chain_side.url, **KEEP), clock=clock) as market:
        deal = await make_deal(market, chain_side, clock)
        await deal.open("direct")
        for _ in range(45):
            await deal.hook(stray(deal, "wrong_token", 1, token=USDC))
        left = []
        await sweep(deal, 31)
        left.append(count(deal, "webhook_inbox"))
        await sweep(deal, 0)
        left.append(count(deal, "webhook_inbox"))

        assert left == [15, 0]


@pytest.mark.parametrize("days", ["-1", "1", "6.9", "nan", "many", "1e9"])
def test_a_retention_that_forgets_late_money_is_refused(tmp_path: Path, days: str) -> None:
    with pytest.raises(ConfigError, match="MARKETPLACE_INTENT_RETENTION_DAYS"):
        load_settings(environment(tmp_path, MARKETPLACE_INTENT_RETENTION_DAYS=days))
