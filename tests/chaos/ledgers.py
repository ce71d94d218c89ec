"""The Tron and TON worlds: ledgers in memory behind two faulty indexers each, the direct rail alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from chains.ton.address import parse_address
from chains.tron.address import to_hex
from devnet import ton_ledger, tron_ledger
from devnet.toncenter import TonCenter
from devnet.trongrid import TronGrid
from tests.chaos.facts import Movement, Order
from tests.chaos.schedule import Plan, Purchase
from tests.e2e import ton_market, tron_street

JUSDC = parse_address(ton_market.JUSDC, testnet=False)
REQUESTS: dict[str, dict[str, Any]] = {
    "timeout": {"hang": True},
    "cut": {"close": True},
    "5xx": {"status": 503, "body": b"unavailable"},
    "429": {"status": 429, "body": b'{"error": "too many requests"}', "headers": {"Retry-After": "1"}},
    "html": {"body": b"<html>be right back</html>"},
    "wrong_json": {"body": b'{"data": 7, "result": {"oops": []}}'},
    "empty": {"body": b"{}"},
}
DEFECTS: dict[str, tuple[str, Any, Any]] = {  # attribute, while it lasts, afterwards
    "no_jsonrpc": ("jsonrpc", False, True),
    "no_batches": ("batches", False, True),
    "lagging": ("behind", 5, 0),
    "unconfirmed": ("ignores_confirmed", True, False),
    "reversed": ("reverses_rows", True, False),
    "repeated": ("repeats_rows", True, False),
    "no_fingerprint": ("drops_fingerprint", True, False),
    "behind": ("behind_s", 30, 0),
    "stale": ("stale_s", 20, 0),
    "wrong_order": ("wrong_order", True, False),
    "repeats": ("repeats", True, False),
    "hides_aborted": ("hides_aborted", True, False),
    "non_final": ("non_final", True, False),
}


@asynccontextmanager
async def trouble(service: TronGrid | TonCenter, kind: str) -> AsyncIterator[None]:
    """Let a service misbehave until the block ends."""
    if kind in REQUESTS:
        fault = service.fail(**REQUESTS[kind])
        try:
            yield
        finally:
            fault.times = 0
            service.release()
        return
    name, during, after = DEFECTS[kind]
    setattr(service, name, during)
    try:
        yield
    finally:
        setattr(service, name, after)


class TronWorld:
    """Open with `tron_world`."""

    def __init__(self, grids: list[TronGrid], *, seed: int) -> None:
        self.payments = 0
        self._grids = grids
        self._ledger = grids[0].ledger
        self._seed = seed

    def environment(self, folder: Path, plan: Plan) -> dict[str, str]:
        return tron_street.environment(folder, *self._grids)

    def body(self, purchase: Purchase, number: int) -> dict[str, Any]:
        destination = tron_ledger.account(f"stall {number} of {self._seed}")
        return {"chainId": tron_ledger.CHAIN_ID, "token": None, "tokenAddress": tron_ledger.USDT} | {
            "destination": destination
        }

    def canonical(self, address: str) -> str:
        return address

    async def mine(self, blocks: int) -> None:
        self._ledger.advance(blocks)

    async def pay(self, purchase: Purchase, order: Order, share: int, *, right: bool) -> None:
        token = tron_ledger.USDT if right else tron_street.USDC
        self._ledger.transfer(order.destination, order.amount * share // 1000, token=token)
        self.payments += 1

    async def reorg(self, depth: int, kind: str) -> None:
        """Only solid blocks count, and those are never replaced."""

    def trouble(self, place: int, kind: str, method: str) -> Any:
        return trouble(self._grids[place], kind)

    def heal(self) -> None:
        for grid in self._grids:
            grid.heal()

    async def bury(self, plan: Plan) -> None:
        self._ledger.settle()

    async def is_read(self, position: int) -> bool:
        return position >= self._ledger.times[self._ledger.solid]

    async def movements(self, orders: Sequence[Order]) -> tuple[Movement, ...]:
        ours = {to_hex(order.destination): order.destination for order in orders}
        tokens = {to_hex(token): token for token in self._ledger.tokens}
        return tuple(
            Movement(
                self._ledger.times[tx.block],
                place,
                tx.id,
                tokens[log.address],
                ours[log.topics[2][-40:]],
                int(log.data, 16),
                credited=int(log.data, 16),
            )
            for tx in self._ledger.between(0, self._ledger.solid)
            for place, log in enumerate(tx.logs)
            if log.topics[2][-40:] in ours
        )


class TonWorld:
    """Open with `ton_world`."""

    def __init__(self, centers: list[TonCenter], *, seed: int) -> None:
        self.payments = 0
        self._centers = centers
        self._ledger = centers[0].ledger
        self._seed = seed
        self._chance = random.Random(f"payers of {seed}")
        self._hand = asyncio.Lock()

    def environment(self, folder: Path, plan: Plan) -> dict[str, str]:
        return ton_market.environment(folder, *self._centers)

    def body(self, purchase: Purchase, number: int) -> dict[str, Any]:
        destination = f"0:{(self._seed + 1) << 200 | number + 1:064X}"
        return {"chainId": ton_market.CHAIN_ID, "token": "USDT", "destination": destination}

    def canonical(self, address: str) -> str:
        return parse_address(address, testnet=False)

    async def mine(self, blocks: int) -> None:
        self._ledger.advance(blocks)

    async def pay(self, purchase: Purchase, order: Order, share: int, *, right: bool) -> None:
        """Pay as often as not with a receiving half that takes its time."""
        async with self._hand:
            master = ton_market.MASTER if right else JUSDC
            pending = self._chance.random() < 0.5
            amount = order.amount * share // 1000
            payment = self._ledger.pay(order.destination, amount, master=master, pending=pending)
            self._ledger.advance(1)  # what is of one second has no order
            self.payments += 1
            await asyncio.sleep(self._chance.uniform(0, 0.5) if pending else 0)
            payment.pending = False
            self._ledger.advance(1)

    async def reorg(self, depth: int, kind: str) -> None:
        """What the masterchain has sealed is never replaced."""

    def trouble(self, place: int, kind: str, method: str) -> Any:
        return trouble(self._centers[place], kind)

    def heal(self) -> None:
        for center in self._centers:
            center.heal()

    async def bury(self, plan: Plan) -> None:
        self._ledger.advance(30)

    async def is_read(self, position: int) -> bool:
        return position >= max((int(p.row["transaction_now"]) for p in self._ledger.payments), default=0)

    async def movements(self, orders: Sequence[Order]) -> tuple[Movement, ...]:
        ours = {order.destination for order in orders}
        return tuple(_of_row(p) for p in self._ledger.payments if p.row["destination"] in ours)


def _of_row(payment: ton_ledger.Payment) -> Movement:
    row, amount = payment.row, int(payment.row["amount"])
    where = int(row["transaction_now"]), int(row["transaction_lt"])
    return Movement(*where, payment.tx_hash, row["jetton_master"], row["destination"], amount, credited=amount)


@asynccontextmanager
async def tron_world(plan: Plan) -> AsyncIterator[TronWorld]:
    """Start two endpoints over one ledger."""
    async with AsyncExitStack() as stack:
        ledger = tron_street.chain_of_today()
        grids = [await stack.enter_async_context(TronGrid(ledger)) for _ in range(2)]
        yield TronWorld(grids, seed=plan.seed)


@asynccontextmanager
async def ton_world(plan: Plan) -> AsyncIterator[TonWorld]:
    """Start two endpoints over one ledger."""
    async with AsyncExitStack() as stack:
        ledger = ton_market.chain_of_today()
        centers = [await stack.enter_async_context(TonCenter(ledger)) for _ in range(2)]
        yield TonWorld(centers, seed=plan.seed)
