"""What is reported one by one, what together, and that nothing is lost in between."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from kernel.store.database import Database
from scanner.model import WORTHLESS, EventType, Reason
from scanner.reading.folding import Judged
from scanner.redelivery import Redelivery
from scanner.store import intents, outbox, summaries, tables, transfers
from scanner.upkeep.summaries import EACH, INTERVAL_MS, Summary, Told, choose, most_each
from tests.harness import FakeClock
from tests.scanner.facts import NOW, a_hash, a_transfer, an_intent, steady, stored

BLOCK = a_hash("block", 100)
INTENT = an_intent(events=(EventType.ANOMALY, EventType.PARTIAL, EventType.DETECTED))


def some(count: int, reason: Reason | None, times: int = 1) -> list[Told]:
    kind = EventType.ANOMALY if reason else EventType.DETECTED
    return [Told(INTENT, kind, stored(number), reason, times) for number in range(count)]


@pytest.mark.parametrize("reason", [None, *Reason])
def test_the_first_are_reported_each_and_the_rest_waits(reason: Reason | None) -> None:
    limit = 1 if reason in WORTHLESS else EACH

    each, after = choose(Summary(), some(50, reason), NOW)

    assert [reported.transfer.id for reported in each] == list(range(limit))
    assert (most_each(reason), after) == (limit, Summary(limit, NOW, 50 - limit, 49))
    assert not after.is_due(NOW + INTERVAL_MS - 1)
    assert after.is_due(NOW + INTERVAL_MS)


@steady
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2 * INTERVAL_MS)), max_size=8))
def test_nothing_is_lost_and_nothing_is_summarised_within_the_hour(batches: Sequence[tuple[int, int]]) -> None:
    summary, reported, now, together = Summary(), 0, NOW, []
    for count, pause in batches:
        now += pause
        each, summary = choose(summary, some(count, Reason.WRONG_TOKEN), now)
        reported += len(each)
        if summary.is_due(now):
            reported += summary.waiting
            together.append(now)
            summary = summary.told_together(now)

    assert reported + summary.waiting == sum(count for count, _ in batches)
    assert all(later - sooner >= INTERVAL_MS for sooner, later in itertools.pairwise(together))


async def bodies(db: Database) -> list[dict[str, object]]:
    async with db.read() as tx:
        rows = await tx.execute(select(tables.events.c.body).order_by(tables.events.c.created_at))
        return [orjson.loads(row.body) for row in rows]


async def keep(db: Database, count: int, reason: Reason | None, *, times: int = 1) -> list[int]:
    """Store so many transfers of the intent with what became of them; return their ids."""
    found = [
        a_transfer(INTENT, tx_hash=a_hash("tx", number), event_key=str(number), block_number=100, block_hash=BLOCK)
        for number in range(count)
    ]
    async with db.write() as tx:
        await transfers.add_many(tx, [Judged(each, INTENT.intent_id, reason, times) for each in found], now=NOW)
        rows = await transfers.of_intents(tx, [INTENT.intent_id])
    return [row.id for row in rows[INTENT.intent_id]]


async def tell(db: Database, wanted: Sequence[Told], now: int) -> None:
    async with db.write() as tx:
        await outbox.add(tx, await summaries.limited(tx, wanted, now=now))


async def test_what_waits_is_reported_within_the_hour_also_when_nothing_else_comes(db: Database) -> None:
    clock, wakeups = FakeClock(NOW), []
    chores = Redelivery(db, clock, retry_hours=0, on_events=lambda: wakeups.append(1))
    async with db.write() as tx:
        await intents.add_many(tx, [INTENT])
    await keep(db, 3, Reason.WRONG_TOKEN, times=100)
    await tell(db, some(3, Reason.WRONG_TOKEN, times=100), NOW)
    assert [body["count"] for body in await bodies(db)] == [1]

    clock.advance(INTERVAL_MS / 1000 - 1)
    assert await chores.tell_together() == 0
    clock.advance(1)
    assert await chores.tell_together() == 1
    assert await chores.tell_together() == 0

    first, second = await bodies(db)
    assert (second["count"], second["transferCount"], second["reason"]) == (200, 200, "wrong_token")
    assert first["eventId"] != second["eventId"]
    assert wakeups == [1]


async def test_sums_of_a_payment_are_reported_each_up_to_a_limit_and_then_as_they_stand(db: Database) -> None:
    clock = FakeClock(NOW)
    async with db.write() as tx:
        await intents.add_many(tx, [INTENT._replace(amount_received=77)])
    for received in range(1, 60):
        reported = Told(INTENT._replace(amount_received=received), EventType.PARTIAL, stored(received), None)
        await tell(db, [reported], NOW)
    assert len(await bodies(db)) == EACH

    clock.advance(INTERVAL_MS / 1000)
    await Redelivery(db, clock, retry_hours=0, on_events=lambda: None).tell_together()

    assert [body["amountReceived"] for body in await bodies(db)][EACH:] == ["77"]


async def told_an_hour_later(db: Database, event: EventType, reason: Reason, ids: Sequence[int]) -> None:
    """Tell of so many at once, of which twenty are reported each, and let an hour pass."""
    waiting = [Told(INTENT, event, stored(number, reason=reason), reason) for number in ids]
    await tell(db, waiting, NOW)
    clock = FakeClock(NOW)
    clock.advance(INTERVAL_MS / 1000)
    await Redelivery(db, clock, retry_hours=0, on_events=lambda: None).tell_together()


@pytest.mark.parametrize("event", [EventType.REORGED, EventType.ANOMALY, EventType.LATE])
@pytest.mark.parametrize("now", [None, Reason.UNDERPAID])
async def test_what_stands_again_within_the_hour_is_not_reported_as_gone(
    db: Database, event: EventType, now: Reason | None
) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [INTENT])
    ids = await keep(db, 41, now)

    await told_an_hour_later(db, event, Reason.REORGED, ids)

    assert len(await bodies(db)) == EACH


async def test_of_what_is_summarised_only_what_is_still_so_is_counted_and_named(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [INTENT])
    ids = await keep(db, 41, Reason.REORGED)
    async with db.write() as tx:  # all but two are back, the newest one among them
        for number in ids[:10] + ids[12:]:
            await transfers.set_verdict(tx, number, counted=True, reason=None, surplus=None)

    await told_an_hour_later(db, EventType.REORGED, Reason.REORGED, ids)

    last = (await bodies(db))[-1]
    assert (last["count"], last["txHash"]) == (2, a_hash("tx", 11))


async def test_what_settled_since_is_not_reported_as_a_duplicate(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [INTENT])
    ids = await keep(db, 30, Reason.DUPLICATE)
    async with db.write() as tx:
        await transfers.mark_settled(tx, ids)

    await told_an_hour_later(db, EventType.ANOMALY, Reason.DUPLICATE, ids)

    assert len(await bodies(db)) == EACH
