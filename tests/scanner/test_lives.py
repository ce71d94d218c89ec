"""
A worker that lives through reorganisations, outages and restarts ends where a fresh one that reads once ends.

`LIVES` sets how many are lived.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select

from chains.errors import ChainUnavailable
from chains.types import Rail, VerificationOutcome
from kernel.store.database import Database
from scanner.model import EventType, IntentStatus, Reason
from scanner.store import intents, tables
from scanner.upkeep.metrics import Metrics
from scanner.worker import ChainWorker
from tests.harness import FakeClock
from tests.scanner.facts import LATE_MS, NOW, SQLITE_ALONE, a_hash, a_transfer, an_intent, steady
from tests.scanner.fake_chain import FakeChain, a_chain

LIVES = int(os.environ.get("LIVES", "8"))
DEPOSIT = "0x" + "dd" * 20
INTENTS = (
    an_intent("order-0"),
    an_intent("order-1", amount=700),
    an_intent("order-2", rail=Rail.DIRECT, destination=DEPOSIT, destination_key=DEPOSIT),
)
DEEPEST = 4  # one block below what confirms


@dataclass(frozen=True)
class Step:
    """What happens next: blocks are replaced, payments are mined (again), and the worker may poll, or try to."""

    replaced: int
    payments: tuple[tuple[int, int, int], ...]  # transaction, intent, amount
    quiet: int
    poll: str


steps = st.builds(
    Step,
    st.sampled_from([0, 0, 0, 1, 2, DEEPEST]),
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 2), st.sampled_from([300, 500, 700, 1000, 1300])), max_size=2
    ).map(tuple),
    st.integers(0, 3),
    st.sampled_from(["", "poll", "poll", "restart", "down at head", "down at scan", "down at verify"]),
)


class Life:
    """One store, one chain, and one worker after another."""

    def __init__(self, db: Database, chain: FakeChain) -> None:
        self.db = db
        self.chain = chain
        self.branch = 0
        self.worker = self._worker()

    def _worker(self) -> ChainWorker:
        return ChainWorker(
            chain=a_chain(),
            adapter=self.chain,
            tokens=(),
            db=self.db,
            clock=FakeClock(NOW),
            metrics=Metrics(),
            late_watch_ms=LATE_MS,
            on_events=lambda: None,
        )

    async def begin(self) -> None:
        async with self.db.write() as tx:
            for table in (tables.events, tables.intents, tables.transfers, tables.checkpoints, tables.blocks):
                await tx.execute(delete(table))
            await intents.add_many(tx, INTENTS)

    def happens(self, step: Step) -> None:
        if step.replaced:
            self.branch += 1
            self.chain.cut(self.chain.top - step.replaced)
            self.chain.extend(step.replaced, branch=str(self.branch))
        self.chain.extend(branch=str(self.branch))
        mined = {t.tx_hash for _, held in self.chain.blocks.values() for t in held}
        for number, intent, amount in step.payments:
            if a_hash("tx", number) not in mined:
                self.chain.put(a_transfer(INTENTS[intent], tx_hash=a_hash("tx", number), amount=amount))
        self.chain.extend(step.quiet, branch=str(self.branch))

    async def polls(self, how: str) -> None:
        if how == "restart":
            self.worker = self._worker()
        if how.startswith("down"):
            self.chain.on_call = lambda name: setattr(self.chain, "down", how.endswith(name))
            try:
                await self.worker.poll()
            except ChainUnavailable:
                pass
            finally:
                self.chain.on_call = lambda name: setattr(self.chain, "down", False)
        elif how:
            await self.worker.poll()

    async def end(self) -> dict[str, Any]:
        """Let everything become deep and be looked at; return what a backend and an operator can tell of it."""
        for _ in range(3):
            await self.worker.poll()
        assert {intent.status for intent in await self._all()} <= {IntentStatus.PENDING, IntentStatus.CONFIRMED}
        async with self.db.read() as tx:
            transfers = [row._asdict() for row in await tx.execute(select(tables.transfers))]
            reported = select(tables.events).where(tables.events.c.event_type == EventType.CONFIRMED)
            events = {row.event_id: row.body for row in await tx.execute(reported)}
        return {
            "intents": {intent.intent_id: intent for intent in await self._all()},
            "transfers": {
                (row["tx_hash"], row["event_key"]): {**row, "id": 0, "seen_at": 0}
                for row in transfers
                if row["reason"] != Reason.REORGED
            },
            "events": events,
        }

    async def _all(self) -> list[Any]:
        async with self.db.read() as tx:
            return list((await intents.get_many(tx, [intent.intent_id for intent in INTENTS])).values())


@pytest.mark.long  # the simulator lives through more
@hypothesis.settings(
    steady,
    max_examples=LIVES,
    suppress_health_check=[*steady.suppress_health_check, hypothesis.HealthCheck.function_scoped_fixture],
)
@given(
    story=st.lists(steps, min_size=1, max_size=8),
    refused=st.sets(st.integers(1, 5), max_size=1),
    page=st.integers(1, 4),
)
@SQLITE_ALONE
async def test_whatever_a_worker_lives_through_it_ends_where_one_straight_reading_ends(
    db: Database, story: list[Step], refused: set[int], page: int
) -> None:
    chain = FakeChain(page=page)
    chain.outcomes = {a_hash("tx", number): VerificationOutcome.SHORT for number in refused}
    life = Life(db, chain)
    await life.begin()
    await life.worker.poll()
    for step in story:
        life.happens(step)
        await life.polls(step.poll)
    life.happens(Step(0, (), 10, ""))
    lived = await life.end()

    chain.page = 1000
    another = Life(db, chain)
    await another.begin()
    assert lived == await another.end()


async def test_what_is_confirmed_stays_as_it_was_reported_through_a_reorganisation_deeper_than_allowed(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    chain = FakeChain()
    life = Life(db, chain)
    await life.begin()
    await life.worker.poll()
    life.happens(Step(0, ((1, 0, 1000),), 4, ""))
    await life.worker.poll()
    reported = await life.end()

    life.happens(Step(5, ((2, 0, 1000),), 10, ""))
    after = await life.end()

    assert "left the canonical chain" in caplog.text
    assert after["events"] == reported["events"]
    before, now = reported["intents"]["order-0"], after["intents"]["order-0"]
    assert (now.status, now.tx_hash, now.confirmed_at) == (IntentStatus.CONFIRMED, before.tx_hash, before.confirmed_at)
