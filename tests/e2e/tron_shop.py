"""The real daemon on a Tron chain in memory, over real HTTP: what the Tron tests of the whole daemon build on."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chains.errors import ChainUnavailable
from chains.tron.address import to_hex
from devnet.receiver import Receiver
from devnet.tron.ledger import CHAIN_ID, TokenFacts, TronLedger, account
from devnet.tron.trongrid import TronGrid
from tests.harness import ROOT, Running, running

USDC = "TEkxiTehnzSmSe2XqrBj4w32RUN966rdz8"
KEY = "a-trongrid-key-of-36-characters-long"
BUYER = account("buyer")
QUICK_RPS = "10000"  # tests that are not about the pace must not wait
_tills = itertools.count(1)


def fresh_address() -> str:
    """Return an address nobody was asked to pay to before."""
    return account(f"till {next(_tills)}")


def in_hex(address: str) -> str:
    return "41" + to_hex(address)


def chain_of_today(*, ago_s: int = 0, **facts: Any) -> TronLedger:
    """Return a chain whose newest block was made just now, or so long ago, with the registry's tokens."""
    ledger = TronLedger.until(int((time.time() - ago_s) * 1000), **facts)
    ledger.tokens[USDC] = TokenFacts("USDC", 6)
    return ledger


def environment(folder: Path, *grids: TronGrid, **more: str) -> dict[str, str]:
    """Return the environment of a scanner for Tron."""
    return {
        "DB_PATH": str(folder / "scanner.db"),
        "CHAINS_JSON_PATH": str(ROOT / "supported-chains.json"),
        "TOKENS_JSON_PATH": str(ROOT / "tokens.json"),
        "TRONGRID_URL": ",".join(grid.url for grid in grids),
        "TRONGRID_API_KEY": KEY,
        "TRONGRID_RPS": QUICK_RPS,
        "SCANNER_ENABLED_CHAINS": str(CHAIN_ID),
        "PORT": "0",
        "POLL_INTERVAL_SEC": "0.05",
        "RPC_TIMEOUT_SEC": "5",
        "WEBHOOK_RETRY_DELAYS_SEC": "0.1,0.2,0.4",
        **more,
    }


class TronShop:
    """A shop whose backend talks to the daemon, and buyers who pay on chain."""

    def __init__(self, grid: TronGrid, scanner: Running, hooks: Receiver) -> None:
        self.grid = grid
        self.ledger = grid.ledger
        self.scanner = scanner
        self.api = scanner.api
        self.hooks = hooks

    async def sell(self, **fields: Any) -> str:
        """Register an intent for 1000 base units; return its id."""
        created = await self.checkout(**fields)
        return str(created["intentId"])

    async def checkout(self, **fields: Any) -> dict[str, Any]:
        """Register an intent and return the whole answer; it has an address of its own unless one is given."""
        body = {
            "chainId": CHAIN_ID,
            "destination": fresh_address(),
            "amount": "1000",
            "callbackUrl": self.hooks.url(),
            **fields,
        }
        return await self.api.create(**body)

    async def settle(self) -> None:
        """Let everything that was sent become irreversible, and let the scanner see it."""
        self.ledger.settle()
        await self.scanner.worker.poll()

    async def pay(self, to: str, amount: int, **how: Any) -> str:
        """Pay and let it become irreversible; return the transaction."""
        tx = self.ledger.transfer(to, amount, **how)
        await self.settle()
        return tx

    async def unmatched(self, intent_id: str) -> list[tuple[str, str]]:
        """Return the reasons and transactions of what did not settle an intent."""
        rows = await self.api.unmatched(chainId=CHAIN_ID)
        return sorted((row["reason"], row["txHash"]) for row in rows if row["intentId"] == intent_id)

    async def delivered(self, intent_id: str) -> dict[str, Any]:
        return await self.api.until(intent_id, lambda intent: intent["webhookDeliveredAt"] is not None)

    async def answers_again(self) -> None:
        """Poll until the service is asked again: one that failed is left alone for a second."""
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self.scanner.worker.poll()
                except ChainUnavailable:
                    await asyncio.sleep(0.05)  # its backoff goes by the real clock

    async def chain(self) -> dict[str, Any]:
        return await self.api.chain(CHAIN_ID)

    async def until_chain(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Ask for the chain's status until a condition holds."""
        async with asyncio.timeout(60):
            while not condition(found := await self.chain()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # an operator has no event to wait on either
        return found


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
