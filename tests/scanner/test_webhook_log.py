"""The webhook log over the store: what it costs, and what sending again leaves as it is."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from kernel.store.database import Database
from scanner import events
from scanner.model import DeliveryStatus, IntentStatus
from scanner.store import intents, outbox, webhook_log
from scanner.store.outbox import AttemptRecord
from tests.scanner.facts import NOW, SQLITE_ALONE, a_hash, an_intent


@SQLITE_ALONE
@pytest.mark.parametrize("status", [None, *DeliveryStatus])
@pytest.mark.parametrize("receiver", [None, "shop.example:443"])
async def test_no_page_is_sorted_and_what_is_open_has_an_index(
    db: Database, status: DeliveryStatus | None, receiver: str | None
) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection: Connection, _cursor: object, sql: str, values: tuple[object, ...], *_: object) -> None:
        asked.append((sql, values))

    plans: list[str] = []
    async with db.read() as tx:
        connection = tx.sync_connection
        event.listen(connection, "before_cursor_execute", note)
        await webhook_log.page(tx, status=status, receiver=receiver, after=0, limit=3)
        event.remove(connection, "before_cursor_execute", note)
        for sql, values in asked:
            plans += [row[3] for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]

    assert plans
    assert not [step for step in plans if "TEMP B-TREE" in step]
    if status not in {None, DeliveryStatus.DELIVERED}:
        walks = [step for step in plans if " events " in step]
        assert all("events_undelivered" in step for step in walks)


async def test_an_event_sent_again_and_refused_takes_no_confirmation_back(db: Database) -> None:
    paid = an_intent(status=IntentStatus.CONFIRMED, tx_hash=a_hash("tx", 1), confirmed_at=NOW, webhook_delivered_at=NOW)
    row = events.confirmed(paid, [], NOW)
    async with db.write() as tx:
        await intents.add_many(tx, [paid])
        await outbox.add(tx, [row])
        await webhook_log.send_again(tx, row["event_id"], NOW)
        (due,) = await outbox.due(tx, NOW, in_flight=(), limit=9)
        refused = AttemptRecord(
            event=due, at=NOW + 1, ok=False, status=410, latency_ms=1, response="", error="HTTP 410", retry_at=None
        )
        await outbox.record(tx, [refused])

    async with db.read() as tx:
        held = await intents.get(tx, paid.intent_id)
        logged = await webhook_log.get(tx, row["event_id"])

    assert held is not None
    assert (held.status, held.webhook_delivered_at) == (IntentStatus.CONFIRMED, NOW)
    assert logged is not None
    assert logged[0].status is DeliveryStatus.FAILED


@pytest.mark.parametrize("ok", [True, False])
async def test_an_answer_to_what_was_sent_before_is_none_to_what_is_sent_again(db: Database, ok: bool) -> None:
    """A process that lost its lane and has it again writes down what it sent long ago."""
    paid = an_intent(status=IntentStatus.CONFIRMED, tx_hash=a_hash("tx", 1), confirmed_at=NOW)
    row = events.confirmed(paid, [], NOW)
    async with db.write() as tx:
        await intents.add_many(tx, [paid])
        await outbox.add(tx, [row])
        (sent,) = await outbox.due(tx, NOW, in_flight=(), limit=9)
        delivered = AttemptRecord(
            event=sent, at=NOW + 1, ok=True, status=200, latency_ms=1, response="", error=None, retry_at=None
        )
        await outbox.record(tx, [delivered])  # by another process, which had the lane meanwhile
        await webhook_log.send_again(tx, row["event_id"], NOW + 2)
        await outbox.record(tx, [delivered._replace(at=NOW + 3, ok=ok)])
        again = await outbox.due(tx, NOW + 4, in_flight=(), limit=9)

    assert [(each.event_id, each.round, each.attempts) for each in again] == [(row["event_id"], 2, 0)]


async def test_what_failed_of_a_receiver_is_sent_again_and_nothing_else(db: Database) -> None:
    rows = {
        name: events.expired(an_intent(name, receiver=receiver), NOW)
        for name, receiver in (("mine", "https://shop.example:443"), ("theirs", "https://other.example:443"))
    }
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent(name) for name in rows])
        await outbox.add(tx, [row | {"status": "failed", "failed_at": NOW} for row in rows.values()])
        assert await webhook_log.send_failed_again(tx, "Shop.example:443", NOW) == 1
        due = await outbox.due(tx, NOW, in_flight=(), limit=9)

    assert [(each.subject_id, each.round) for each in due] == [("mine", 2)]
