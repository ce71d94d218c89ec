"""What the marketplace waits for goes on waiting as long as it would have, whatever its clock is set to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cases.test_notification_limits import notification_titles, unapplied_event
from tests.harness import USDC, FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import environment, running


def value(purchase: AcceptedPurchase, sql: str) -> Any:
    with purchase.market.opened() as store:
        return store.execute(sql).fetchone()[0]


def change(purchase: AcceptedPurchase, sql: str, moment: int) -> None:
    with purchase.market.opened() as store:
        store.execute(sql, [moment])


async def set_back(purchase: AcceptedPurchase, seconds: float) -> None:
    purchase.clock.set(-seconds)
    await purchase.market.marketplace.follower.look()


@pytest.mark.parametrize("back_s", [1200, 365 * 86_400])
async def test_a_command_waits_as_long_as_it_would_have(purchase: AcceptedPurchase, back_s: int) -> None:
    purchase.scanner.down = True
    await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent())
    left_ms = value(purchase, "SELECT next_attempt_at FROM scanner_outbox") - purchase.clock.now_ms()
    await set_back(purchase, back_s)

    assert value(purchase, "SELECT next_attempt_at FROM scanner_outbox") - purchase.clock.now_ms() == left_ms > 0


async def test_one_that_was_due_stays_due(purchase: AcceptedPurchase) -> None:
    purchase.scanner.down = True
    await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent())
    change(purchase, "UPDATE scanner_outbox SET next_attempt_at = ?", purchase.clock.now_ms() - 1000)
    await set_back(purchase, 1200)

    assert value(purchase, "SELECT next_attempt_at FROM scanner_outbox") <= purchase.clock.now_ms()


async def test_what_was_reported_lately_is_reported_again_within_the_hour(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    for _ in range(2):
        await purchase.hook(unapplied_event(purchase, "wrong_token", 1, token=USDC))
    await set_back(purchase, 1200)
    counts = []
    for seconds in (3599, 1):
        purchase.clock.advance(seconds)
        await purchase.market.marketplace.sweep.once()
        counts.append(len(notification_titles(purchase, purchase.buyer.user_id, "payment-wrong-token")))

    assert counts == [1, 2]


async def test_the_sweep_goes_on_with_those_it_has_not_looked_at(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    change(purchase, "UPDATE payments SET looked_at = ?", purchase.clock.now_ms())
    await set_back(purchase, 1200)

    assert value(purchase, "SELECT looked_at FROM payments") == purchase.clock.now_ms()


async def test_after_a_start_by_a_clock_that_was_set_back_nothing_lies_further_ahead_than_it_can(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, fake_scanner.url), clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.open("direct")
        for _ in range(2):
            await purchase.hook(unapplied_event(purchase, "wrong_token", 1, token=USDC))
        change(purchase, "UPDATE payments SET looked_at = ?", clock.now_ms())
        fake_scanner.down = True
        change(purchase, "UPDATE scanner_outbox SET status = 'pending', next_attempt_at = ?", clock.now_ms() + 5000)
    back = FakeClock(clock.now_ms() - 1200_000)
    async with running(environment(tmp_path, fake_scanner.url), clock=back):
        assert value(purchase, "SELECT max(looked_at) FROM payments") == back.now_ms()
        assert value(purchase, "SELECT max(told_at) FROM notice_counts") == back.now_ms()
        assert value(purchase, "SELECT max(next_attempt_at) FROM scanner_outbox") <= back.now_ms() + 300_000


async def test_the_ledger_is_reconciled_every_minute_whatever_the_clock_is_set_to(
    purchase: AcceptedPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    health, asked = purchase.market.marketplace.services.health, []
    report = health._reconciliation.report

    async def noted() -> Any:
        asked.append(purchase.clock.now_ms())
        return await report()

    monkeypatch.setattr(health._reconciliation, "report", noted)
    await health.report()
    await set_back(purchase, 1200)
    for _ in range(2):
        purchase.clock.advance(30)
        found = await health.report()

    assert len(asked) == 2
    assert found.uptime_s == 60
