"""What the shops on Tron and TON have in common: intents over the daemon's API, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chains.errors import ChainError
from devnet.receiver import Receiver
from tests.harness import ROOT, Running


def index_environment(folder: Path, chain_id: int, **more: str) -> dict[str, str]:
    """Return the environment of a scanner of one chain that is read through an index."""
    return {
        "DB_PATH": str(folder / "scanner.db"),
        "CHAINS_JSON_PATH": str(ROOT / "supported-chains.json"),
        "TOKENS_JSON_PATH": str(ROOT / "tokens.json"),
        "SCANNER_ENABLED_CHAINS": str(chain_id),
        "PORT": "0",
        "POLL_INTERVAL_SEC": "0.05",
        "RPC_TIMEOUT_SEC": "5",
        "WEBHOOK_RETRY_DELAYS_SEC": "0.1,0.2,0.4",
        **more,
    }


class IndexShop:
    """A shop whose backend talks to the daemon, and buyers who pay on chain."""

    chain_id: int

    def __init__(self, scanner: Running, hooks: Receiver) -> None:
        self.scanner = scanner
        self.api = scanner.api
        self.hooks = hooks

    def fresh_address(self) -> str:
        """Return an address nobody was asked to pay to before."""
        raise NotImplementedError

    async def pay_hash(self, to: str, amount: int) -> str:
        """Pay, let the scanner read it as irreversible, and return the transaction."""
        raise NotImplementedError

    async def checkout(self, **fields: Any) -> dict[str, Any]:
        """Register an intent for 1000 base units; it has an address of its own unless one is given."""
        body = {
            "chainId": self.chain_id,
            "destination": self.fresh_address(),
            "amount": "1000",
            "callbackUrl": self.hooks.url(),
            **fields,
        }
        return await self.api.create(**body)

    async def sell(self, **fields: Any) -> str:
        """Register an intent and return its id."""
        return str((await self.checkout(**fields))["intentId"])

    async def unmatched(self, intent_id: str) -> list[tuple[str, str]]:
        """Return the reasons and transactions of what did not settle an intent."""
        rows = await self.api.unmatched(chainId=self.chain_id)
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
        return await self.api.chain(self.chain_id)

    async def until_chain(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Ask for the chain's status until a condition holds."""
        async with asyncio.timeout(60):
            while not condition(found := await self.chain()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # an operator has no event to wait on either
        return found
