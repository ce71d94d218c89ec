"""
Whatever the service, the chain and the machine do between two polls, the same intents are settled in the end.

Through the real worker, store and adapter; `TON_PROPERTY_EXAMPLES` sets how many stories are reported.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from chains.errors import ChainError
from chains.ton import transfers as paging
from chains.types import Rail
from config.catalog import Chain, ChainType, Finality
from devnet.ton.toncenter import TonCenter
from kernel.store.database import Database, open_database
from scanner.model import EventType, IntentStatus
from scanner.reading.rail_reader import REREAD_S
from scanner.store import intents
from scanner.store.tables import events
from scanner.store.tables import intents as intents_table
from scanner.store.tables import transfers as transfers_table
from scanner.upkeep.metrics import Metrics
from scanner.worker import ChainWorker
from tests.chains.ton_world import CHAIN_ID, START, TonWorld, owner_of
from tests.harness import FakeClock, empty_store
from tests.scanner.facts import LATE_MS, an_intent, steady

EXAMPLES = int(os.environ.get("TON_PROPERTY_EXAMPLES", "40"))
SHOPS = [owner_of(number) for number in range(4)]
AMOUNT = 1000
CASES = ["success", "success", "success", "comment", "zero_forward", "owner_not_deployed", "bounce", "overdraw"]
LASTING = [
    {"repeats": True},
    {"wrong_order": True},
    {"hides_aborted": True},
    {"non_final": True},
    {"behind_s": 20},
    {"stale_s": 25},
    {"max_url": 250},
]
PASSING = [
    {"status": 500},
    {"status": 504, "body": b"<html>"},
    {"close": True},
    {"status": 200, "body": b"{}"},
    {"status": 200, "body": {"ok": False, "result": "Ratelimit exceed", "code": 429}},
]
LONGEST_LATE_S = REREAD_S - 20  # an index is seconds behind, not minutes: what is later is found by a recheck

step = st.one_of(
    st.tuples(st.just("pay"), st.integers(0, 3), st.sampled_from([0, 1, 400, 600, 1000, 1300]), st.sampled_from(CASES)),
    st.tuples(st.just("pay"), st.integers(0, 3), st.sampled_from([400, 600, 1000]), st.just("success")),
    st.tuples(st.just("half"), st.integers(0, 3), st.sampled_from([400, 1000])),
    st.tuples(st.just("other_jetton"), st.integers(0, 3)),
    st.tuples(st.just("late"), st.integers(0, 3), st.sampled_from([400, 1000])),
    st.tuples(st.just("wait"), st.integers(1, 120)),
    st.tuples(st.just("fault"), st.integers(0, len(LASTING) - 1)),
    st.tuples(st.just("fail"), st.integers(0, 4), st.integers(1, 3)),
    st.tuples(st.just("heal")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("poll")),
    st.tuples(st.just("poll")),
)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE", 3)
    monkeypatch.setattr(paging, "MAX_PAGES", 2)


@hypothesis.settings(
    steady,
    max_examples=EXAMPLES,
    suppress_health_check=[*steady.suppress_health_check, hypothesis.HealthCheck.function_scoped_fixture],
)
@pytest.mark.long
@pytest.mark.usefixtures("small_pages")
@given(steps=st.lists(step, max_size=40))
def test_any_interleaving_of_pages_repetitions_restarts_and_late_rows_settles_the_same_intents(
    tmp_path: Path, steps: list[Any]
) -> None:
    path = tmp_path / "scanner.db"
    path.write_bytes(empty_store())
    (tmp_path / "scanner.db-wal").unlink(missing_ok=True)
    asyncio.run(play(path, steps))


async def play(path: Path, steps: list[Any]) -> None:
    async with AsyncExitStack() as stack:
        world = TonWorld(stack)
        game = TonPropertyMachine(world, await world.center(), await stack.enter_async_context(open_database(path)))
        await game.restart()
        await game.register()
        for what, *values in steps:
            await getattr(game, what)(*values)
        await game.end()
        await game.check()


@dataclass
class TonPropertyMachine:
    """A chain, a service, and a scanner that is started again and again over one store."""

    world: TonWorld
    center: TonCenter
    db: Database
    clock: FakeClock = field(default_factory=lambda: FakeClock(START * 1000))
    listed_at: dict[str, int] = field(default_factory=dict)  # late payments: when the index shows them
    worker: ChainWorker = field(init=False)

    async def register(self) -> None:
        token = self.world.ledger.master
        async with self.db.write() as tx:
            await intents.add_many(
                tx,
                [
                    an_intent(
                        f"order-{number}",
                        chain_id=CHAIN_ID,
                        chain_type="ton",
                        rail=Rail.DIRECT,
                        token_address=token,
                        token_key=token,
                        destination=shop,
                        destination_key=shop,
                        amount=AMOUNT,
                        topic_ref=f"0x{number:064x}",
                        created_at=START * 1000,
                        expires_at=None,
                    )
                    for number, shop in enumerate(SHOPS)
                ],
            )

    # --- what happens ----------------------------------------------------------------------------

    async def pay(self, shop: int, amount: int, case: str) -> None:
        self.world.ledger.pay(SHOPS[shop], amount, name=case)

    async def half(self, shop: int, amount: int) -> None:
        """Only the sending half happens for now."""
        self.world.ledger.pay(SHOPS[shop], amount, pending=True)

    async def other_jetton(self, shop: int) -> None:
        self.world.ledger.pay(SHOPS[shop], AMOUNT, master=self.world.ledger.recorded["other_master"])

    async def late(self, shop: int, amount: int) -> None:
        """Pay; the index shows it some polls later, when it already shows what came after."""
        payment = self.world.ledger.pay(SHOPS[shop], amount)
        self.listed_at[payment.tx_hash] = self.world.ledger.now + LONGEST_LATE_S
        self.center.unlisted.add(payment.tx_hash)

    async def wait(self, seconds: int) -> None:
        while seconds > 0:
            self.world.ledger.advance(min(seconds, 15))
            self.clock.advance(min(seconds, 15))
            self.world.now.seconds += min(seconds, 15)
            seconds -= 15
            self._list()
            await self.poll()

    def _list(self) -> None:
        now = self.world.ledger.now
        self.center.unlisted = {tx for tx, at in self.listed_at.items() if at > now}

    async def fault(self, which: int) -> None:
        for name, value in LASTING[which].items():
            setattr(self.center, name, value)

    async def fail(self, which: int, times: int) -> None:
        self.center.fail(**PASSING[which], times=times)

    async def heal(self) -> None:
        self.center.heal()
        self._list()
        self.world.now.seconds += 700  # whatever was left alone for a while is asked again

    async def restart(self) -> None:
        adapter = await self.world.adapter(self.center)
        chain = Chain(
            chain_id=CHAIN_ID,
            name="TON",
            chain_type=ChainType.TON,
            proxy_address=self.world.ledger.master,
            confirmation_threshold=120,
            rpc_urls=(self.center.url,),
            finality=Finality.FINALIZED,
        )
        self.worker = ChainWorker(
            chain=chain,
            adapter=adapter,
            tokens=(),
            db=self.db,
            clock=self.clock,
            metrics=Metrics(),
            late_watch_ms=LATE_MS,
            on_events=lambda: None,
        )

    async def poll(self) -> None:
        with suppress(ChainError):
            await self.worker.poll()

    async def end(self) -> None:
        """Let everything come to its end, and be seen."""
        await self.heal()
        for payment in self.world.ledger.payments:
            payment.pending = False
        await self.wait(120)
        for _ in range(4):
            await self.worker.poll()

    # --- what must be so -------------------------------------------------------------------------

    async def check(self) -> None:
        ledger = self.world.ledger
        credited: Counter[str] = Counter()
        for payment in ledger.payments:
            if payment.row["jetton_master"] == ledger.master:
                credited[payment.row["destination"]] += payment.credited
        async with self.db.read() as tx:
            status = {row.destination: row.status for row in await tx.execute(select(intents_table))}
            kept = list(await tx.execute(select(transfers_table)))
            reported = (
                await tx.execute(select(events.c.subject_id).where(events.c.event_type == EventType.CONFIRMED))
            ).scalars()
            confirmed = Counter(reported)
        settled = {shop for shop in SHOPS if credited[shop] >= AMOUNT}
        assert {shop for shop in SHOPS if status[shop] == IntentStatus.CONFIRMED} == settled
        assert confirmed == {f"order-{SHOPS.index(shop)}": 1 for shop in settled}
        moved = [payment for payment in ledger.payments if not payment.row["transaction_aborted"]]
        assert sorted(row.tx_hash for row in kept) == sorted(payment.tx_hash for payment in moved)
        real = {payment.tx_hash: payment.credited for payment in moved}
        for shop in settled:
            settling = [row for row in kept if row.settled and row.destination == shop]
            assert all(real[row.tx_hash] == int(row.amount) for row in settling)
            assert sum(real[row.tx_hash] for row in settling) >= AMOUNT
        assert not [row for row in kept if row.settled and row.destination not in settled]
