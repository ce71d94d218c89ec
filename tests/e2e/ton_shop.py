"""The real daemon on TON over real HTTP, with jetton transfers that real contracts made: what its tests build on."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chains.errors import ChainError
from chains.ton.address import parse_address, show_address
from devnet.receiver import Receiver
from devnet.ton.ledger import Payment, TonLedger
from devnet.ton.toncenter import TonCenter
from tests.harness import ROOT, Running, running

CHAIN_ID = 1100
USDT = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
JUSDC = "EQB-MPwrd1G6WKNkLz_VnV6WqBDd142KMQv-g1O-8QUA3728"
MASTER = parse_address(USDT, testnet=False)
KEY = "a-toncenter-key"
QUICK_RPS = "100000"  # tests that are not about the pace must not wait
_tills = itertools.count(1)


def fresh_address() -> str:
    """Return an address nobody was asked to pay to before, in raw form."""
    return f"0:{0x7111 << 200 | next(_tills):064X}"


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
    return {
        "DB_PATH": str(folder / "scanner.db"),
        "CHAINS_JSON_PATH": str(ROOT / "supported-chains.json"),
        "TOKENS_JSON_PATH": str(ROOT / "tokens.json"),
        "TONCENTER_URL": ",".join(center.url for center in centers),
        "TONCENTER_API_KEY": KEY,
        "TONCENTER_RPS": QUICK_RPS,
        "SCANNER_ENABLED_CHAINS": str(CHAIN_ID),
        "PORT": "0",
        "POLL_INTERVAL_SEC": "0.05",
        "RPC_TIMEOUT_SEC": "5",
        "WEBHOOK_RETRY_DELAYS_SEC": "0.1,0.2,0.4",
        **more,
    }


class TonShop:
    """A shop whose backend talks to the daemon, and buyers who pay in jettons."""

    def __init__(self, center: TonCenter, scanner: Running, hooks: Receiver) -> None:
        self.center = center
        self.ledger = center.ledger
        self.scanner = scanner
        self.api = scanner.api
        self.hooks = hooks

    async def checkout(self, **fields: Any) -> dict[str, Any]:
        """Register an intent for 1000 base units; it has an address of its own unless one is given."""
        return await self.api.create(
            **{
                "chainId": CHAIN_ID,
                "destination": fresh_address(),
                "amount": "1000",
                "callbackUrl": self.hooks.url(),
                **fields,
            }
        )

    async def sell(self, **fields: Any) -> str:
        return str((await self.checkout(**fields))["intentId"])

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
                except ChainError:
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
