"""The chain's own coin at direct destinations: each rise is told once, whatever an endpoint denies in between."""

from __future__ import annotations

from sqlalchemy import select

from chains.types import Rail
from kernel.store.database import Database
from scanner.native_deposits import NativeDepositDetector
from scanner.store import intents, tables
from scanner.upkeep.metrics import Metrics
from tests.harness import FakeClock
from tests.scanner.facts import an_intent
from tests.scanner.fake_chain import FakeChain, a_chain


async def told(db: Database, clock: FakeClock, *rounds: list[int]) -> list[int]:
    """Look once a round, where each reading in it shows so much; return what was stored."""
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent(rail=Rail.DIRECT)])
    chain = FakeChain()
    detector = NativeDepositDetector(
        chain=a_chain(),
        adapter=chain,
        db=db,
        clock=clock,
        metrics=Metrics(),
        late_watch_ms=0,
        on_events=lambda: None,
    )
    for readings in rounds:
        left = list(readings)
        chain.extend()
        chain.holdings = lambda asked, left=left: [left.pop(0)] * len(asked)  # type: ignore[misc]
        await detector.check()
        assert not left, "it was read less often"
    async with db.read() as tx:
        rows = await tx.execute(select(tables.transfers.c.amount).order_by(tables.transfers.c.id))
        return [int(amount) for amount in rows.scalars()]


async def test_coin_that_one_answer_denied_is_not_told_twice(db: Database, clock: FakeClock) -> None:
    assert await told(db, clock, [5], [0, 5], [5], [7]) == [5, 2]


async def test_coin_that_went_and_came_again_is_told_again(db: Database, clock: FakeClock) -> None:
    assert await told(db, clock, [5], [0, 0], [5]) == [5, 5]


async def test_coin_that_came_between_two_readings_is_measured_by_the_later_one(db: Database, clock: FakeClock) -> None:
    assert await told(db, clock, [5], [0, 3], [4]) == [5, 1]
