"""Whatever the service does between two polls, the same payments come out in the end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.errors import ChainError
from chains.tron.adapter import TronAdapter
from chains.types import Cursor, Rail, ScanPage, Targets
from devnet.tron.ledger import account
from devnet.tron.trongrid import TronGrid
from tests.chains.tron_world import TronWorld

SHOPS = [account(f"shop {number}") for number in range(4)]
FAULTS = [
    {"jsonrpc": False},
    {"jsonrpc": False, "drops_fingerprint": True},
    {"jsonrpc": False, "repeats_rows": True},
    {"blind_below": 2**62},
    {"behind": 3},
    {"most_blocks": 4},
    {"batches": False},
]
step = st.one_of(
    st.tuples(st.just("pay"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.integers(1, 40), st.integers(0, 2)),
    st.tuples(st.just("fault"), st.integers(0, len(FAULTS) - 1), st.just(0)),
    st.tuples(st.just("fail"), st.integers(0, 6), st.integers(1, 3)),
    st.tuples(st.just("late"), st.just(0), st.just(0)),
    st.tuples(st.just("heal"), st.just(0), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
    st.tuples(st.just("poll"), st.just(0), st.just(0)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, max_size=30))
def test_any_interleaving_of_faults_restarts_and_late_receipts_ends_in_the_same_payments(steps):
    asyncio.run(_play(steps))


async def _play(steps):
    async with AsyncExitStack() as stack:
        world = TronWorld(stack)
        grid = await world.grid()
        game = Game(world, grid, await world.adapter(grid), world.start())
        for what, one, two in [*steps, ("heal", 0, 0), ("wait", 60, 0), ("poll", 0, 0)]:
            await getattr(game, what)(one, two)
        assert game.found == game.paid


@dataclass
class Game:
    """A chain, a service, and a worker that polls it."""

    world: TronWorld
    grid: TronGrid
    adapter: TronAdapter
    after: Cursor
    found: set[tuple[str, str]] = field(default_factory=set)
    paid: set[tuple[str, str]] = field(default_factory=set)

    async def pay(self, place, more):
        self.paid.add((self.world.ledger.transfer(SHOPS[place], 1 + more), SHOPS[place]))
        self.world.ledger.approve(SHOPS[place], 1)
        self.world.ledger.fail(SHOPS[place], 1, keeps_logs=True)

    async def wait(self, blocks, missed):
        self.world.ledger.advance(blocks, missed=missed)

    async def fault(self, which, _):
        for name, value in FAULTS[which].items():
            setattr(self.grid, name, value)

    async def fail(self, skip, times):
        self.grid.fail(status=500, skip=skip, times=times)

    async def late(self, *_):
        self.grid.unindexed = {tx for tx, shop in self.paid if (tx, shop) not in self.found}
        self.grid.unindexed_blocks = {self.world.ledger.by_id[tx].block for tx in self.grid.unindexed}

    async def heal(self, *_):
        self.grid.heal()
        self.world.now.seconds += 700

    async def restart(self, *_):
        self.adapter = await self.world.adapter(self.grid)

    async def poll(self, *_):
        """Poll as the worker does: what a page tells is stored with its cursor, before a later page may fail."""
        self.world.now.seconds += 20
        with suppress(ChainError):
            head = await self.adapter.head()
            reread_s = 60
            while self.after.position < head.position:
                page = await self.adapter.scan(
                    Rail.DIRECT, Targets(frozenset(SHOPS)), self.after, head, reread_s=reread_s
                )
                assert isinstance(page, ScanPage)
                assert page.cursor.position >= self.after.position
                self.found |= {(transfer.tx_hash, transfer.destination) for transfer in page.transfers}
                self.after, reread_s = Cursor(page.cursor.position), 0
