"""What is old goes in small steps; money, decisions and used addresses do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from marketplace.errors import ConfigError
from marketplace.settings import load_settings
from tests.cases.test_notification_limits import unapplied_event
from tests.harness import USDC, FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import environment, running

DAY = 86_400
KEEP = {
    "MARKETPLACE_EVENT_RETENTION_DAYS": "30",
    "MARKETPLACE_UNMATCHED_RETENTION_DAYS": "90",
    "MARKETPLACE_INTENT_RETENTION_DAYS": "200",
}
FOR_EVER = dict.fromkeys(KEEP, "0")


def count(purchase: AcceptedPurchase, table: str, where: str = "1") -> int:
    with purchase.market.opened() as store:
        return int(store.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])  # noqa: S608


async def sweep(purchase: AcceptedPurchase, days: float) -> None:
    purchase.clock.advance(days * DAY)
    await purchase.market.marketplace.sweep.once()


async def test_webhooks_and_commands_go_after_their_days_and_the_ledger_never(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, fake_scanner.url, **KEEP), clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.fund("direct")
        await market.settled_down()
        await sweep(purchase, 29.9)
        before = count(purchase, "webhook_inbox"), count(purchase, "scanner_outbox"), purchase.entries()
        await sweep(purchase, 0.2)
        after = count(purchase, "webhook_inbox"), count(purchase, "scanner_outbox"), purchase.entries()
        await sweep(purchase, 400)

        assert before[0] == 1
        assert before[1] > 0
        assert after == (0, 0, before[2])
        assert (purchase.entries(), count(purchase, "payments"), count(purchase, "credited_transfers")) == (
            before[2],
            1,
            1,
        )
        assert before[2] == [("payment_detected", TEN), ("hold", TEN)]


async def test_what_was_not_judged_or_not_done_yet_is_never_pruned(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, fake_scanner.url, **KEEP), clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.open("direct")
        body = {**fake_scanner.pay(purchase.payment_id), "transfers": None}
        fake_scanner.down = True
        await purchase.hook(body)
        await purchase.market.marketplace.services.units.commands.wait(0.01)
        await market.write("UPDATE scanner_outbox SET status = 'pending', next_attempt_at = 9e15, done_at = NULL")
        await sweep(purchase, 1000)

        assert (count(purchase, "webhook_inbox", "outcome = 'unread'"), count(purchase, "scanner_outbox")) == (1, 1)


async def test_other_tokens_go_and_money_of_the_payment_waits(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, fake_scanner.url, **KEEP), clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.fund("direct")
        await purchase.hook(unapplied_event(purchase, "wrong_token", 5, token=USDC))
        await purchase.hook(unapplied_event(purchase, "duplicate", 6))
        await sweep(purchase, 89)
        before = count(purchase, "recoveries")
        await sweep(purchase, 2)

        assert (before, count(purchase, "recoveries")) == (2, 1)
        assert count(purchase, "recoveries", "reason = 'duplicate'") == 1


async def test_a_payment_that_ended_unpaid_goes_with_what_touches_it_and_its_address_stays_used(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, fake_scanner.url, **KEEP), clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        address = (await purchase.open("direct"))["payment"]["destination"]
        first = purchase.payment_id
        await purchase.buyer.ok("POST", f"/api/payment/{first}/cancel")
        await purchase.hook(fake_scanner.pay(first))
        await market.settled_down()
        await sweep(purchase, 199)
        before = count(purchase, "payments"), count(purchase, "recoveries")
        await sweep(purchase, 2)

        assert before == (1, 1)
        assert [count(purchase, table) for table in ("payments", "recoveries", "payment_transfers")] == [0, 0, 0]
        assert count(purchase, "address_reservations", "payment_id IS NULL") == 1
        purchase.buyer.token = market.marketplace.services.tokens.issue(purchase.buyer.user_id, "buyer")
        assert (await purchase.open("direct"))["payment"]["destination"] != address
        assert (await market.marketplace.services.reconciliation.report()).ok


async def test_0_is_for_ever(tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock) -> None:
    async with running(environment(tmp_path, fake_scanner.url, **FOR_EVER), clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.fund("direct")
        await purchase.hook(unapplied_event(purchase, "wrong_token", 5, token=USDC))
        await market.settled_down()
        before = [count(purchase, table) for table in ("webhook_inbox", "scanner_outbox", "recoveries", "payments")]
        await sweep(purchase, 36_000)

        assert [
            count(purchase, table) for table in ("webhook_inbox", "scanner_outbox", "recoveries", "payments")
        ] == before


async def test_much_is_pruned_in_steps(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, monkeypatch: Any
) -> None:
    monkeypatch.setattr("marketplace.retention.STEP", 10)
    monkeypatch.setattr("marketplace.retention.STEPS", 3)
    async with running(environment(tmp_path, fake_scanner.url, **KEEP), clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.open("direct")
        for _ in range(45):
            await purchase.hook(unapplied_event(purchase, "wrong_token", 1, token=USDC))
        left = []
        await sweep(purchase, 31)
        left.append(count(purchase, "webhook_inbox"))
        await sweep(purchase, 0)
        left.append(count(purchase, "webhook_inbox"))

        assert left == [15, 0]


@pytest.mark.parametrize("days", ["-1", "1", "6.9", "nan", "many", "1e9"])
def test_a_retention_that_forgets_late_money_is_refused(tmp_path: Path, days: str) -> None:
    with pytest.raises(ConfigError, match="MARKETPLACE_INTENT_RETENTION_DAYS"):
        load_settings(environment(tmp_path, MARKETPLACE_INTENT_RETENTION_DAYS=days))
