"""The real daemon on TON over real HTTP, with jetton transfers that real contracts made: what its tests build on."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chains.ton.address import parse_address, show_address
from devnet.receiver import Receiver
from devnet.ton.ledger import Payment, TonLedger
from devnet.ton.toncenter import TonCenter
from tests.e2e.index_shop import IndexShop, index_environment
from tests.harness import Running, running

CHAIN_ID = 1100
USDT = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
JUSDC = "EQB-MPwrd1G6WKNkLz_VnV6WqBDd142KMQv-g1O-8QUA3728"
MASTER = parse_address(USDT, testnet=False)
KEY = "a-toncenter-key"
QUICK_RPS = "100000"  # tests that are not about the pace must not wait
_addresses = itertools.count(1)


def fresh_address() -> str:
    """Return an address nobody was asked to pay to before, in raw form."""
    return f"0:{0x7111 << 200 | next(_addresses):064X}"


def bounceable(raw: str) -> str:
    return show_address(raw, testnet=False)


def unbounceable(raw: str) -> str:
    return show_address(raw, testnet=False, bounceable=False)


def chain_of_today(*, ago_s: int = 0) -> TonLedger:
    """Return a chain whose newest block was made just now, or so long ago, with the registry's jettons."""
    ledger = TonLedger(int(time.time()) - 500 - ago_s)
    for _ in range(50):
        ledger.advance(10)
    ledger.issue(MASTER, "USD₮", 6)
    ledger.issue(parse_address(JUSDC, testnet=False), "jUSDC", 6)
    return ledger


def environment(folder: Path, *centers: TonCenter, **more: str) -> dict[str, str]:
    """Return the environment of a scanner for TON."""
    urls = ",".join(center.url for center in centers)
    service = {"TONCENTER_URL": urls, "TONCENTER_API_KEY": KEY, "TONCENTER_RPS": QUICK_RPS}
    return index_environment(folder, CHAIN_ID, **service | more)


class TonShop(IndexShop):
    """A shop on TON, whose buyers pay in jettons."""

    chain_id = CHAIN_ID

    def __init__(self, center: TonCenter, scanner: Running, hooks: Receiver) -> None:
        super().__init__(scanner, hooks)
        self.center = center
        self.ledger = center.ledger

    def fresh_address(self) -> str:
        return fresh_address()

    async def pay_hash(self, to: str, amount: int) -> str:
        return (await self.pay(to, amount)).tx_hash

    async def pay(self, to: str, amount: int = 1000, **how: Any) -> Payment:
        """Pay above the newest block, produce one over it, and let the scanner see it."""
        self.ledger.advance(1)
        payment = self.ledger.pay(to, amount, **{"master": MASTER, **how})
        await self.see()
        return payment

    async def see(self) -> None:
        """Produce a block and let the scanner read up to it."""
        self.ledger.advance(5)
        await self.scanner.worker.poll()


@asynccontextmanager
async def opened(
    folder: Path, center: TonCenter, hooks: Receiver, *, clock: Any = None, **more: str
) -> AsyncIterator[TonShop]:
    """Run the daemon over a service that is there already."""
    async with running(environment(folder, center, **more), clock=clock) as scanner:
        yield TonShop(center, scanner, hooks)


@asynccontextmanager
async def run_ton_shop(folder: Path, hooks: Receiver, *, clock: Any = None, **more: str) -> AsyncIterator[TonShop]:
    """Open a chain, a service over it, and the daemon."""
    async with TonCenter(chain_of_today()) as center, opened(folder, center, hooks, clock=clock, **more) as found:
        yield found
