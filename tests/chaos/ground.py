"""The chain under the laboratory: mined, reorganised and paid on, one thing at a time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

from eth_abi.abi import decode

from chains.evm.decode import TRANSFER_TOPIC
from chains.evm.proxy import EVENT_TOPIC
from devnet.anvil import PROXY, Anvil, AnvilError
from tests.chaos.facts import Movement
from tests.harness import USDC, USDT

FEE_TOKEN, SILENT_TOKEN = "0x" + "fe" * 20, "0x" + "51" * 20


class Ground:
    """
    A local chain with one hand on it.

    A payer uses up nonces in order: what a reorganisation drops for one payer is dropped from there on.
    """

    def __init__(self, chain: Anvil, chance: random.Random) -> None:
        self.chain = chain
        self.payments = 0
        self._chance = chance
        self._hand = asyncio.Lock()
        self._returning: list[str] = []  # raw transactions that come back later

    async def prepare(self, *, block_s: int, depth: int) -> None:
        """Give every payer both tokens, deeper than any reorganisation reaches."""
        await self.chain.rpc("anvil_setBlockTimestampInterval", [block_s])
        await self.chain.token("FEE", 6, at=FEE_TOKEN, kind="FeeToken")
        await self.chain.token("HUSH", 6, at=SILENT_TOKEN, kind="SilentToken")
        for payer in self.chain.accounts[1:]:
            for token in (USDT, USDC, FEE_TOKEN, SILENT_TOKEN):
                await self.chain.fund(token, payer)
        await self.chain.mine(depth + 1)

    async def mine(self, blocks: int) -> None:
        async with self._hand:
            await self._bring_back()
            await self.chain.mine(blocks)

    async def pay(self, token: str, destination: str, amount: int, reference: str | None) -> None:
        """Pay through the proxy when there is a reference, else directly."""
        async with self._hand:
            payer = self._chance.choice(self.chain.accounts[1:])
            if reference is None:
                await self.chain.transfer(token, destination, amount, sender=payer)
            else:
                await self.chain.pay(token, destination, amount, reference, payer=payer)
            self.payments += 1

    async def reorg(self, depth: int, kind: str) -> None:
        """Replace the newest blocks; their transactions stay, move, come back later or vanish."""
        async with self._hand:
            held = await self._transactions(depth)
            raw = [(await self.chain.raw(tx), place) for tx, place in held]
            if kind == "later":
                self._returning += [text for text, _ in raw]
            stay = kind in {"same", "shuffled"}
            if kind == "shuffled":
                places = sorted(self._chance.randrange(depth) for _ in raw)
                raw = [(text, place) for (text, _), place in zip(raw, places, strict=True)]
            await self.chain.reorg(depth, raw if stay else [])

    async def _transactions(self, depth: int) -> list[tuple[str, int]]:
        first = await self.chain.height() - depth + 1
        blocks = [await self.chain.block(first + place) for place in range(depth)]
        return [(tx, place) for place, block in enumerate(blocks) for tx in (block or {})["transactions"]]

    async def _bring_back(self) -> None:
        raw, self._returning = self._returning, []
        for text in raw:
            try:
                await self.chain.rpc("eth_sendRawTransaction", [text])
            except AnvilError:  # its payer has paid something else since, with the same nonce
                continue

    async def movements(self, destinations: set[str], since: int) -> tuple[Movement, ...]:
        """Return every transfer on the canonical chain through the proxy or into one of these addresses."""
        async with self._hand:
            events = await self._logs({"address": PROXY, "topics": [EVENT_TOPIC]}, since)
            credited = await self._logs({"topics": [TRANSFER_TOPIC]}, since)
        moved = [_of_token(log) for log in credited]
        direct = [movement for movement in moved if movement.destination in destinations]
        return (*direct, *(_paired(_of_proxy(log), moved) for log in events))

    async def _logs(self, wanted: dict[str, Any], since: int) -> list[dict[str, Any]]:
        return list(await self.chain.rpc("eth_getLogs", [{**wanted, "fromBlock": hex(since), "toBlock": "latest"}]))


def _of_proxy(log: dict[str, Any]) -> Movement:
    kinds = ["address", "address", "uint256", "uint256", "address"]
    token, to, amount, _, _ = decode(kinds, bytes.fromhex(log["data"][2:]))
    return _movement(log, str(token), str(to), int(amount), log["topics"][1])


def _of_token(log: dict[str, Any]) -> Movement:
    return _movement(log, log["address"], "0x" + log["topics"][2][-40:], int(log["data"], 16), None)


def _paired(event: Movement, moved: list[Movement]) -> Movement:
    """Say what the token itself moved for an event of the proxy; a transaction of ours holds one payment."""
    same = [m.amount for m in moved if (m.tx, m.token, m.destination) == (event.tx, event.token, event.destination)]
    return replace(event, credited=sum(same) if same else None)


def _movement(log: dict[str, Any], token: str, to: str, amount: int, topic: str | None) -> Movement:
    where = int(log["blockNumber"], 16), int(log["logIndex"], 16)
    credited = amount if topic is None else None
    return Movement(*where, log["transactionHash"], token.lower(), to.lower(), amount, topic, credited)
