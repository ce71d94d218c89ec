"""The TON environment: a ledger in memory behind two faulty indexers, the direct rail alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, assert_never

from chains.ton.address import parse_address
from devnet.ton import ledger as ton_ledger
from devnet.ton.liteserver import Liteserver
from devnet.ton.toncenter import TonCenter
from tests.chaos.facts import ChainTransfer, Coin, Order
from tests.chaos.indexer_faults import inject_fault
from tests.chaos.liteserver_faults import inject_fault as disturb_liteserver
from tests.chaos.purchases import How, Part, PlannedPurchase
from tests.chaos.schedule import Plan
from tests.e2e import ton_shop

JUSDC = parse_address(ton_shop.JUSDC, testnet=False)
HEAD_START_S = 500  # a run makes blocks faster than the clock goes: it ends about where the clock is
CASES: dict[How, tuple[str, ...]] = {  # recorded ones
    "sent": ("success", "comment", "nanoton_forward", "zero_forward", "owner_not_deployed"),
    "fails": ("overdraw",),
    "bounces": ("bounce",),
}


class TonEnvironment:
    """Open with `ton_environment`."""

    chain_id = ton_shop.CHAIN_ID

    def __init__(self, centers: list[TonCenter], liteservers: list[Liteserver], *, seed: int) -> None:
        self.payments = 0
        self._centers = centers
        self._liteservers = liteservers
        self._ledger = centers[0].ledger
        self._seed = seed
        self._rng = random.Random(f"payers of {seed}")
        self._lock = asyncio.Lock()

    def environment(self, folder: Path, plan: Plan) -> dict[str, str]:
        if not self._liteservers:
            return ton_shop.environment(folder, *self._centers)
        listed = folder / "global.config.json"
        listed.write_bytes(Liteserver.config(*self._liteservers))
        return ton_shop.environment(folder, *self._centers, TON_LITESERVERS=str(listed))

    def body(self, purchase: PlannedPurchase, number: int) -> dict[str, Any]:
        destination = f"0:{(self._seed + 1) << 200 | number + 1:064X}"
        token = {"token": None, "tokenAddress": ton_shop.JUSDC} if purchase.kind == "other_token" else {"token": "USDT"}
        return {"chainId": ton_shop.CHAIN_ID, "destination": destination, **token}

    def canonical(self, address: str) -> str:
        return parse_address(address, testnet=False)

    async def mine(self, blocks: int) -> None:
        self._ledger.advance(blocks)

    async def now(self) -> int:
        return self._ledger.now

    async def advance_to(self, moment: int) -> None:
        self._ledger.advance(max(0, moment - self._ledger.now))

    async def pay(self, purchase: PlannedPurchase, order: Order, share: int, *, right: bool, how: How = "sent") -> None:
        """Pay as often as not with a receiving half that takes its time."""
        async with self._lock:
            amount = order.amount * share // 1000
            match how:
                case "coin":
                    self._credit(order.destination, 1 + amount)
                case "sent" | "fails" | "bounces":
                    await self._send([(order.destination, amount)], order.token if right else JUSDC, how)
                case "approves" | "plain":
                    raise ValueError("no jetton knows allowances, and no chain but EVM a proxy")
                case _:
                    assert_never(how)
            self.payments += 1

    async def pay_together(self, payments: Sequence[tuple[Order, int]]) -> None:
        async with self._lock:
            await self._send([(o.destination, o.amount * share // 1000) for o, share in payments], ton_shop.MASTER)
            self.payments += 1

    async def _send(self, parts: Sequence[tuple[str, int]], master: str, how: How = "sent") -> None:
        """Let one message of a buyer cause these transfers."""
        pending = self._rng.random() < 0.5
        sent: list[ton_ledger.Payment] = []
        for to, amount in parts:
            if any(to == payment.row["destination"] for payment in sent):
                self._ledger.advance(1)  # what one address gets within one second has no order
            name = self._rng.choice(CASES[how])
            with_ = sent[0] if sent else None
            sent.append(self._ledger.pay(to, amount, name=name, master=master, pending=pending, with_=with_))
        self._ledger.advance(1)
        await asyncio.sleep(self._rng.uniform(0, 0.5) if pending else 0)
        for payment in sent:
            payment.pending = False
        self._ledger.advance(1)

    def _credit(self, owner: str, amount: int) -> None:
        self._ledger.coins[owner] = self._ledger.coins.get(owner, 0) + amount

    async def pay_many(self, order: Order, part: Part) -> None:
        async with self._lock:
            master = ton_shop.MASTER if part.right else JUSDC
            for _ in range(part.count):
                self._ledger.pay(order.destination, part.share, master=master)
            self._ledger.advance(1)
            self.payments += 1

    async def reorg(self, depth: int, kind: str) -> None:
        """What the masterchain has committed is never replaced."""

    def inject_fault(self, place: int, kind: str, method: str) -> Any:
        """Let an index misbehave, and along with it the liteserver in the same place."""
        return self._faulty(place, kind)

    @asynccontextmanager
    async def _faulty(self, place: int, kind: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as faults:
            await faults.enter_async_context(inject_fault(self._centers[place], kind))
            if self._liteservers:
                faults.enter_context(disturb_liteserver(self._liteservers[place], kind, last=place > 0))
            yield

    def heal(self) -> None:
        for service in (*self._centers, *self._liteservers):
            service.heal()

    async def bury(self, plan: Plan) -> None:
        self._ledger.advance(30)

    async def is_read(self, position: int) -> bool:
        return position >= max((int(p.row["transaction_now"]) for p in self._ledger.payments), default=0)

    async def transfers(self, orders: Sequence[Order]) -> tuple[ChainTransfer, ...]:
        ours = {order.destination for order in orders}
        # What the sender's own wallet refused moved nothing; what the receiver's sent back was on its way.
        sent = (p for p in self._ledger.payments if not p.row["transaction_aborted"])
        return tuple(_of_row(p) for p in sent if p.row["destination"] in ours)

    async def coins(self, orders: Sequence[Order]) -> tuple[Coin, ...]:
        """Return what arrived; the ledger does not remember when, and at most once at each destination."""
        coins = self._ledger.coins
        return tuple(Coin(0, o.destination, coins[o.destination]) for o in orders if o.destination in coins)


def _of_row(payment: ton_ledger.Payment) -> ChainTransfer:
    row, amount = payment.row, int(payment.row["amount"])
    where = int(row["transaction_now"]), int(row["transaction_lt"])
    bounced = payment.credited < amount
    return ChainTransfer(
        *where,
        payment.tx_hash,
        row["jetton_master"],
        row["destination"],
        amount,
        credited=amount,
        bounced=bounced,
        time=where[0],
    )


@asynccontextmanager
async def ton_environment(plan: Plan, *, with_liteservers: bool = False) -> AsyncIterator[TonEnvironment]:
    """Start two endpoints over one ledger, and two liteservers that have to say the same, if asked to."""
    async with AsyncExitStack() as stack:
        ledger = ton_shop.chain_of_today(ago_s=HEAD_START_S)
        centers = [await stack.enter_async_context(TonCenter(ledger)) for _ in range(2)]
        count = len(centers) if with_liteservers else 0
        liteservers = [await stack.enter_async_context(Liteserver(ledger)) for _ in range(count)]
        yield TonEnvironment(centers, liteservers, seed=plan.seed)
