"""
The outbox against a model of it: whatever happens, each event is due exactly when the model says.

`MODEL_EXAMPLES` sets how many runs.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from kernel.store.database import open_database
from scanner import events
from scanner.model import DeliveryStatus, IntentStatus
from scanner.store import intents, outbox, tables
from scanner.store.outbox import AttemptRecord
from tests.harness import empty_store
from tests.scanner.facts import NOW, a_hash, an_intent

PENDING, DELIVERED, FAILED = DeliveryStatus.PENDING, DeliveryStatus.DELIVERED, DeliveryStatus.FAILED
SECOND_MS = 1000


@dataclass
class Expected:
    """What the outbox is to say of one event."""

    status: DeliveryStatus
    due_at: int
    round: int = 1
    attempts: int = 0
    tries: int = 0
    failed_at: int | None = None


class OutboxMachine(RuleBasedStateMachine):
    """Backends that receive, refuse, are given up and asked again, in any order and at any time."""

    queued = Bundle("queued")

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "scanner.db"
        path.write_bytes(empty_store())
        self.opened = open_database(path)
        self.db = self.runner.run(self.opened.__aenter__())
        self.now = NOW
        self.model: dict[str, Expected] = {}
        self.intents: dict[str, str] = {}

    def teardown(self) -> None:
        self.runner.run(self.opened.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()

    def write(self, work: Any) -> Any:
        async def run() -> Any:
            async with self.db.write() as tx:
                return await work(tx)

        return self.runner.run(run())

    def due(self) -> dict[str, Any]:
        async def run() -> Any:
            async with self.db.read() as tx:
                return await outbox.due(tx, self.now, in_flight=[], limit=1000)

        return {event.event_id: event for event in self.runner.run(run())}

    @rule(target=queued, number=st.integers(0, 9))
    def confirm(self, number: int) -> str:
        """An intent is confirmed; telling of it again queues nothing."""
        intent = an_intent(
            f"order-{number}",
            status=IntentStatus.CONFIRMED,
            tx_hash=a_hash("tx", number),
            confirmed_at=NOW,
            topic_ref=a_hash("ref", number),
            payment_reference=f"0x{number:016x}",
        )

        async def work(tx: Any) -> str:
            if await intents.get(tx, intent.intent_id) is None:
                await intents.add_many(tx, [intent])
            row = events.confirmed(intent, [], self.now)
            await outbox.add(tx, [row])
            return str(row["event_id"])

        event_id: str = self.write(work)
        self.intents[event_id] = intent.intent_id
        self.model.setdefault(event_id, Expected(PENDING, self.now))
        return event_id

    @rule(seconds=st.integers(0, 100))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND_MS

    @rule(event_id=queued, outcome=st.sampled_from(["ok", "retry", "spent"]), pause=st.integers(1, 60))
    def attempt(self, event_id: str, outcome: str, pause: int) -> None:
        """Whatever is due is tried; what is not due cannot be."""
        event = self.due().get(event_id)
        expected = self.model[event_id]
        assert (event is not None) == (expected.status is PENDING and expected.due_at <= self.now)
        if event is None:
            return
        retry_at = self.now + pause * SECOND_MS if outcome == "retry" else None
        record = AttemptRecord(event, self.now, outcome == "ok", 200, 1, "", None, retry_at)
        self.write(lambda tx: outbox.record(tx, [record]))
        expected.attempts += 1
        expected.tries += 1
        if outcome == "ok":
            expected.status = DELIVERED
        elif outcome == "retry":
            expected.due_at = self.now + pause * SECOND_MS
        else:
            expected.status, expected.failed_at = FAILED, self.now

    @rule(ago=st.integers(0, 60))
    def sweep(self, ago: int) -> None:
        """What was given up long enough ago gets a new round."""
        until = self.now - ago * SECOND_MS
        again = [e for e in self.model.values() if e.status is FAILED and (e.failed_at or 0) <= until]
        assert self.write(lambda tx: outbox.requeue_failed(tx, self.now, failed_before=until)) == len(again)
        for expected in again:
            expected.status, expected.failed_at = PENDING, None
            expected.round, expected.attempts, expected.due_at = expected.round + 1, 0, self.now

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return

        async def run() -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
            async with self.db.read() as tx:
                rows = {row.event_id: row for row in await tx.execute(select(tables.events))}
                known = await intents.get_many(tx, self.intents.values())
                tried = [row.event_id for row in await tx.execute(select(tables.attempts.c.event_id))]
                return rows, known, {event_id: tried.count(event_id) for event_id in rows}

        rows, known, tries = self.runner.run(run())
        assert rows.keys() == self.model.keys()
        for event_id, expected in self.model.items():
            row, intent = rows[event_id], known[self.intents[event_id]]
            assert (row.status, row.round, row.attempts) == (expected.status, expected.round, expected.attempts)
            assert tries[event_id] == expected.tries
            assert (intent.webhook_delivered_at is not None) == (expected.status is DELIVERED)
            assert (intent.status is IntentStatus.WEBHOOK_FAILED) == (
                expected.status is FAILED or (expected.round > 1 and expected.status is PENDING)
            )
        assert {e for e, x in self.model.items() if x.status is PENDING and x.due_at <= self.now} == self.due().keys()


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "10")), stateful_step_count=25, deadline=None
)
