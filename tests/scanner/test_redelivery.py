"""What was given up is reported again in time, and nothing confirmed stays unreported."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import delete, select

from kernel.store.database import Database
from scanner import events
from scanner.model import DeliveryStatus, Intent, IntentStatus
from scanner.redelivery import Redelivery
from scanner.store import intents, outbox, tables
from scanner.store.outbox import AttemptRecord
from tests.harness import FakeClock
from tests.scanner.facts import HOUR_MS, NOW, a_hash, an_intent


class RedeliveryBench:
    def __init__(self, db: Database, clock: FakeClock, *, retry_hours: float = 6) -> None:
        self.db = db
        self.clock = clock
        self.wakeups = 0
        self.redelivery = Redelivery(db, clock, retry_hours=retry_hours, on_events=self._ring)

    def _ring(self) -> None:
        self.wakeups += 1

    async def confirmed(self, intent_id: str = "order-1", **fields: Any) -> Intent:
        intent = an_intent(intent_id, status=IntentStatus.CONFIRMED, confirmed_at=NOW, tx_hash=a_hash("tx"), **fields)
        async with self.db.write() as tx:
            await intents.add_many(tx, [intent])
            await outbox.add(tx, [events.confirmed(intent, [], NOW)])
        return intent

    async def attempted(self, *, ok: bool, retry_at: int | None = None) -> None:
        """Let everything that is due be tried with one outcome."""
        now = self.clock.now_ms()
        async with self.db.write() as tx:
            due = await outbox.due(tx, now, in_flight=[], limit=100)
            await outbox.record(tx, [AttemptRecord(e, now, ok, 200 if ok else 500, 1, "", None, retry_at) for e in due])

    async def events(self) -> list[Any]:
        async with self.db.read() as tx:
            return list(await tx.execute(select(tables.events).order_by(tables.events.c.event_id)))


@pytest.fixture
def bench(db: Database, clock: FakeClock) -> RedeliveryBench:
    return RedeliveryBench(db, clock)


async def test_the_sweep_retries_what_was_given_up_so_many_hours_ago_and_nothing_younger(
    bench: RedeliveryBench,
) -> None:
    await bench.confirmed("old")
    await bench.attempted(ok=False)
    bench.clock.advance(1)
    await bench.confirmed("young")
    await bench.attempted(ok=False)
    bench.clock.advance(6 * 3600 - 1)

    assert await bench.redelivery.sweep() == 1

    rounds = {row.subject_id: (row.status, row.round, row.attempts) for row in await bench.events()}
    assert rounds == {"old": (DeliveryStatus.PENDING, 2, 0), "young": (DeliveryStatus.FAILED, 1, 1)}
    assert bench.wakeups == 1


@pytest.mark.parametrize(("hours", "retried"), [(6, 1), (0, 0)])
async def test_a_turn_sweeps_if_anything_was_given_up_so_long_ago(
    db: Database, clock: FakeClock, hours: float, retried: int
) -> None:
    bench = RedeliveryBench(db, clock, retry_hours=hours)
    await bench.confirmed()
    await bench.attempted(ok=False)
    bench.clock.advance(6 * 3600 - 1)
    await bench.redelivery.turn()
    assert bench.wakeups == 0
    bench.clock.advance(1)
    await bench.redelivery.turn()
    await bench.redelivery.turn()
    assert bench.wakeups == retried


async def test_the_sweep_can_be_switched_off(db: Database, clock: FakeClock) -> None:
    bench = RedeliveryBench(db, clock, retry_hours=0)
    await bench.confirmed()
    await bench.attempted(ok=False)
    bench.clock.advance(1000 * 3600)

    assert await bench.redelivery.sweep() == 0
    assert bench.wakeups == 0


async def test_an_operator_retries_everything_that_was_given_up_now(bench: RedeliveryBench) -> None:
    await bench.confirmed("a")
    await bench.attempted(ok=False)
    await bench.confirmed("b")
    await bench.attempted(ok=False)
    await bench.confirmed("c")

    assert await bench.redelivery.retry_failed(failed_before=bench.clock.now_ms()) == 2
    assert await bench.redelivery.retry_failed(failed_before=bench.clock.now_ms()) == 0
    assert {row.status for row in await bench.events()} == {DeliveryStatus.PENDING}


async def test_a_retry_that_is_delivered_confirms_the_intent_again(bench: RedeliveryBench) -> None:
    await bench.confirmed()
    await bench.attempted(ok=False)
    async with bench.db.read() as tx:
        assert (await intents.get_many(tx, ["order-1"]))["order-1"].status is IntentStatus.WEBHOOK_FAILED
    await bench.redelivery.retry_failed(failed_before=bench.clock.now_ms())

    await bench.attempted(ok=True)

    async with bench.db.read() as tx:
        intent = (await intents.get_many(tx, ["order-1"]))["order-1"]
    assert (intent.status, intent.webhook_delivered_at) == (IntentStatus.CONFIRMED, NOW)


async def test_a_confirmed_intent_without_its_event_gets_it_under_the_same_id_whatever_its_age(
    bench: RedeliveryBench,
) -> None:
    await bench.confirmed(created_at=NOW - 400 * 24 * HOUR_MS)
    (before,) = await bench.events()
    async with bench.db.write() as tx:
        await tx.execute(delete(tables.events))
    bench.clock.advance(60)

    assert await bench.redelivery.ensure_confirmed_events() == 1

    (after,) = await bench.events()
    assert (after.event_id, orjson.loads(after.body)) == (before.event_id, orjson.loads(before.body))
    assert bench.wakeups == 1
    assert await bench.redelivery.ensure_confirmed_events() == 0


async def test_what_was_delivered_is_not_reported_again_although_its_event_is_gone(bench: RedeliveryBench) -> None:
    await bench.confirmed(webhook_delivered_at=NOW)
    async with bench.db.write() as tx:
        await tx.execute(delete(tables.events))

    assert await bench.redelivery.ensure_confirmed_events() == 0
    assert await bench.events() == []
