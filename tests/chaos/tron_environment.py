"""The Tron environment: a ledger in memory behind two faulty indexers, the direct rail alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, assert_never

from chains.tron.address import to_hex
from devnet.tron import ledger as tron_ledger
from devnet.tron.trongrid import TronGrid
from tests.chaos.facts import ChainTransfer, Coin, Order
from tests.chaos.indexer_faults import inject_fault
from tests.chaos.purchases import How, Part, PlannedPurchase
from tests.chaos.schedule import Plan
from tests.e2e import tron_shop

HEAD_START_S = 500  # a run makes blocks faster than the clock goes: it ends about where the clock is
MOST_COIN = 10**12  # sun
FAILURES = ("REVERT", "OUT_OF_ENERGY", "OUT_OF_TIME")


class TronEnvironment:
    """Open with `tron_environment`."""

    chain_id = tron_ledger.CHAIN_ID

    def __init__(self, grids: list[TronGrid], *, seed: int) -> None:
        self.payments = 0
        self._grids = grids
        self._ledger = grids[0].ledger
        self._seed = seed
        self._rng = random.Random(f"payers of {seed}")
        self._coins: Counter[str] = Counter()

    def environment(self, folder: Path, plan: Plan) -> dict[str, str]:
        return tron_shop.environment(folder, *self._grids)

    def body(self, purchase: PlannedPurchase, number: int) -> dict[str, Any]:
        destination = tron_ledger.account(f"stall {number} of {self._seed}")
        return {"chainId": tron_ledger.CHAIN_ID, "token": None, "tokenAddress": tron_ledger.USDT} | {
            "destination": destination
        }

    def canonical(self, address: str) -> str:
        return address

    async def mine(self, blocks: int) -> None:
        self._ledger.advance(blocks)

    async def now(self) -> int:
        return self._ledger.times[self._ledger.solid] // 1000

    async def advance_to(self, moment: int) -> None:
        while await self.now() < moment:
            self._ledger.advance(1)

    async def pay(self, purchase: PlannedPurchase, order: Order, share: int, *, right: bool, how: How = "sent") -> None:
        token, amount = tron_ledger.USDT if right else tron_shop.USDC, order.amount * share // 1000
        match how:
            case "sent":
                self._ledger.transfer(order.destination, amount, token=token)
            case "fails":
                # One at least in every run shows logs of what never happened.
                result, keeps = self._rng.choice(FAILURES), purchase.kind == "failed" or self._rng.random() < 0.5
                self._ledger.fail(order.destination, amount, token=token, result=result, keeps_logs=keeps)
            case "approves":
                self._ledger.approve(order.destination, amount, token=token)
            case "coin":
                sent = 1 + amount % MOST_COIN
                self._ledger.send_coin(order.destination, sent)
                self._coins[order.destination] += sent
            case "bounces" | "plain":
                raise ValueError(f"{how}: there is no such thing on Tron")
            case _:
                assert_never(how)
        self.payments += 1

    async def pay_together(self, payments: Sequence[tuple[Order, int]]) -> None:
        self._ledger.transfers([(o.token, o.destination, o.amount * share // 1000) for o, share in payments])
        self.payments += 1

    async def pay_many(self, order: Order, part: Part) -> None:
        token = order.token if part.right else tron_shop.USDC
        self._ledger.transfers([(token, order.destination, part.share)] * part.count, sender="a stranger")
        self.payments += 1

    async def reorg(self, depth: int, kind: str) -> None:
        """Only solid blocks count, and those are never replaced."""

    def inject_fault(self, place: int, kind: str, method: str) -> Any:
        return inject_fault(self._grids[place], kind)

    def heal(self) -> None:
        for grid in self._grids:
            grid.heal()

    async def bury(self, plan: Plan) -> None:
        self._ledger.settle()

    async def is_read(self, position: int) -> bool:
        return position >= self._ledger.times[self._ledger.solid]

    async def transfers(self, orders: Sequence[Order]) -> tuple[ChainTransfer, ...]:
        ours = {to_hex(order.destination): order.destination for order in orders}
        tokens = {to_hex(token): token for token in self._ledger.tokens}
        return tuple(
            ChainTransfer(
                self._ledger.times[tx.block],
                place,
                tx.id,
                tokens[log.address],
                ours[log.topics[2][-40:]],
                int(log.data, 16),
                credited=int(log.data, 16),
                time=self._ledger.times[tx.block] // 1000,
            )
            for tx in self._ledger.between(0, self._ledger.solid)
            if not tx.failed
            for place, log in enumerate(tx.logs)
            if log.topics[0] == tron_ledger.TRANSFER and log.topics[2][-40:] in ours
        )

    async def coins(self, orders: Sequence[Order]) -> tuple[Coin, ...]:
        """Return what arrived, at most once at each destination, whatever the time."""
        return tuple(Coin(0, o.destination, self._coins[o.destination]) for o in orders if o.destination in self._coins)


@asynccontextmanager
async def tron_environment(plan: Plan) -> AsyncIterator[TronEnvironment]:
    """Start two endpoints over one ledger."""
    async with AsyncExitStack() as stack:
        ledger = tron_shop.chain_of_today(ago_s=HEAD_START_S)
        grids = [await stack.enter_async_context(TronGrid(ledger)) for _ in range(2)]
        yield TronEnvironment(grids, seed=plan.seed)
