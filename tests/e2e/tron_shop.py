"""The real daemon on a Tron chain in memory, over real HTTP: what the Tron tests of the whole daemon build on."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chains.tron.address import to_hex
from devnet.receiver import Receiver
from devnet.tron.ledger import CHAIN_ID, TokenFacts, TronLedger, account
from devnet.tron.trongrid import TronGrid
from tests.e2e.index_shop import IndexShop, index_environment
from tests.harness import Running, running

USDC = "TEkxiTehnzSmSe2XqrBj4w32RUN966rdz8"
KEY = "a-trongrid-key-of-36-characters-long"
BUYER = account("buyer")
QUICK_RPS = "10000"  # tests that are not about the pace must not wait
_addresses = itertools.count(1)


def fresh_address() -> str:
    """Return an address nobody was asked to pay to before."""
    return account(f"shop {next(_addresses)}")


def in_hex(address: str) -> str:
    return "41" + to_hex(address)


def chain_of_today(*, ago_s: int = 0, **facts: Any) -> TronLedger:
    """Return a chain whose newest block was made just now, or so long ago, with the registry's tokens."""
    ledger = TronLedger.until(int((time.time() - ago_s) * 1000), **facts)
    ledger.tokens[USDC] = TokenFacts("USDC", 6)
    return ledger


def environment(folder: Path, *grids: TronGrid, **more: str) -> dict[str, str]:
    """Return the environment of a scanner for Tron."""
    urls = ",".join(grid.url for grid in grids)
    service = {"TRONGRID_URL": urls, "TRONGRID_API_KEY": KEY, "TRONGRID_RPS": QUICK_RPS}
    return index_environment(folder, CHAIN_ID, **service | more)


class TronShop(IndexShop):
    """A shop on Tron."""

    chain_id = CHAIN_ID

    def __init__(self, grid: TronGrid, scanner: Running, hooks: Receiver) -> None:
        super().__init__(scanner, hooks)
        self.grid = grid
        self.ledger = grid.ledger

    def fresh_address(self) -> str:
        return fresh_address()

    async def pay_hash(self, to: str, amount: int) -> str:
        return await self.pay(to, amount)

    async def settle(self) -> None:
        """Let everything that was sent become irreversible, and let the scanner see it."""
        self.ledger.settle()
        await self.scanner.worker.poll()

    async def pay(self, to: str, amount: int, **how: Any) -> str:
        """Pay and let it become irreversible; return the transaction."""
        tx = self.ledger.transfer(to, amount, **how)
        await self.settle()
        return tx


@asynccontextmanager
async def opened(
    folder: Path, grid: TronGrid, hooks: Receiver, *, clock: Any = None, **more: str
) -> AsyncIterator[TronShop]:
    """Run the daemon over a service that is there already."""
    async with running(environment(folder, grid, **more), clock=clock) as scanner:
        yield TronShop(grid, scanner, hooks)


@asynccontextmanager
async def run_tron_shop(folder: Path, hooks: Receiver, *, clock: Any = None, **more: str) -> AsyncIterator[TronShop]:
    """Open a chain, a service over it, and the daemon."""
    async with TronGrid(chain_of_today()) as grid, opened(folder, grid, hooks, clock=clock, **more) as found:
        yield found
