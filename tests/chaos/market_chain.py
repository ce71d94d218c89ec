"""The chain under the marketplace's laboratory: every payment out of a wallet of its own, payouts that stay."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from devnet.evm.anvil import CHAIN_ID, Anvil
from devnet.evm.local_node import AnvilError
from devnet.runner.chain_actor import ChainActor
from devnet.runner.facts import OnChain
from tests.chaos.chain_controller import ChainController, pay_many_calldata, payment_of
from tests.harness import MULTICALL, USDT

BLOCK_EVERY_S = 0.35
LOOK_S = 0.1
SWARM_GAS = hex(5_000_000)  # of what a stranger sends at once: several fit into a block
AWAY_BLOCKS = 6  # the longest that a transaction is missing


class MarketChainController(ChainController):
    """
    Reorganisations move, delay and drop what buyers pay, and end above the newest payout.

    A payout is sent without its key, so it cannot be brought back; a wallet pays once, so that nothing
    that comes back later needs another transaction first.
    """

    def __init__(self, chain: Anvil, rng: random.Random, *, listed: int) -> None:
        """`listed`: how many wallets belong to people on the sanctions list."""
        super().__init__(chain, rng)
        self.chosen = rng
        self.depth = 0  # blocks under which nothing is replaced
        self.passed_s = 0  # by which everybody's time was set forward
        self.listed = tuple(chain.accounts[1 : 1 + listed])
        self.sent: set[str] = set()  # what buyers ever sent
        self.gassed: set[str] = set()  # who was given native coin to pay out
        self.needed: set[str] = set()  # what a scenario cannot do without: it never vanishes
        self.lock = self._lock
        self._wallets = iter(chain.accounts[1 + listed :])
        self._listed = iter(self.listed)
        self._away: list[tuple[int, str]] = []  # blocks until it comes back, and what

    async def fund_wallets(self, *, depth: int) -> None:
        """Give every payer the token, deeper than any reorganisation reaches: `depth` blocks are never replaced."""
        self.depth = depth
        await self.chain.automine(on=False)
        await asyncio.gather(*(self.chain.fund(USDT, payer) for payer in self.chain.accounts[1:]))
        await self.chain.mine(depth + 1)
        await self.chain.automine(on=True)

    def wallet(self) -> str:
        return next(self._wallets)

    def listed_wallet(self) -> str:
        """Return a fresh wallet of somebody on the sanctions list."""
        return next(self._listed)

    async def mine(self, blocks: int) -> None:
        async with self._lock:
            due = [text for left, text in self._away if left <= 0]
            self._away = [(left - blocks, text) for left, text in self._away if left > 0]
            for text in due:
                await self._send_again(text)
            await self.chain.mine(blocks)

    async def _send_again(self, text: str) -> None:
        try:
            await self.chain.rpc("eth_sendRawTransaction", [text])
        except AnvilError as exc:
            raise AssertionError(f"a payment cannot come back: {exc}") from exc

    def noted(self, tx_hash: str, *, needed: bool) -> str:
        """Remember what a buyer sent."""
        self.payments += 1
        self.sent.add(tx_hash)
        if needed:
            self.needed.add(tx_hash)
        return tx_hash

    async def pay_from_fresh_wallet(
        self,
        token: str,
        destination: str,
        amount: int,
        reference: str | None,
        *,
        needed: bool,
        payer: str | None = None,
    ) -> str:
        """Pay out of a fresh wallet, through the proxy when there is a reference."""
        async with self._lock:
            payer = payer or self.wallet()
            if reference is None:
                sent = await self.chain.transfer(token, destination, amount, sender=payer)
            else:
                sent = await self.chain.pay(token, destination, amount, reference, payer=payer)
            await self.chain.mined(sent)
            return self.noted(sent, needed=needed)

    async def pay_many_fresh(
        self, token: str, destination: str, amount: int, reference: str | None, count: int, *, needed: bool = False
    ) -> str:
        """Let a stranger pay the same amount many times in one transaction."""
        async with self._lock:
            data = pay_many_calldata(payment_of(token, destination, amount, reference), token, amount, count)
            sent = await self.chain.send(MULTICALL, data, sender=self.wallet(), gas=SWARM_GAS)
            if (await self.chain.mined(sent))["status"] != "0x1":
                raise AnvilError(f"a stranger's transaction {sent} failed")
            return self.noted(sent, needed=needed)

    async def send_coin_from_fresh_wallet(self, destination: str, amount: int) -> str:
        """Send the chain's own coin out of a fresh wallet."""
        async with self._lock:
            payment = {"from": self.wallet(), "to": destination, "value": hex(amount)}
            sent = str(await self.chain.rpc("eth_sendTransaction", [payment]))
            await self.chain.mined(sent)
            return self.noted(sent, needed=False)

    async def buried(self, tx_hash: str) -> None:
        """Wait until a transaction is so deep that it stays where it is."""
        while not await self._is_deep(tx_hash):  # noqa: ASYNC110 - a chain has no event for it
            await asyncio.sleep(LOOK_S)

    async def _is_deep(self, tx_hash: str) -> bool:
        async with self._lock:
            receipt = await self.chain.receipt(tx_hash)
            return receipt is not None and await self.chain.height() - int(receipt["blockNumber"], 16) >= self.depth

    async def jump(self, seconds: int, deep: int) -> None:
        """Let so much time pass on the chain, and bury it."""
        async with self._lock:
            head = await self.chain.block()
            now = int((head or {})["timestamp"], 16)
            self.passed_s += seconds
            await self.chain.rpc("evm_setNextBlockTimestamp", [now + seconds])
            await self.chain.mine(deep)

    async def reorg(self, depth: int, kind: str) -> None:
        async with self._lock:
            depth, held = await self._loose(depth)
            if not depth:
                return
            stay: list[tuple[str | dict[str, Any], int]] = []
            for tx, place in held:
                raw = await self.chain.raw(tx)
                if kind == "same":
                    stay.append((raw, place))
                elif kind == "shuffled":
                    stay.append((raw, self.chosen.randrange(depth)))
                elif kind == "later" or tx in self.needed:
                    self._away.append((self.chosen.randint(1, AWAY_BLOCKS), raw))
            await self.chain.reorg(depth, sorted(stay, key=lambda pair: pair[1]))

    async def _loose(self, depth: int) -> tuple[int, list[tuple[str, int]]]:
        """Return how deep it may go, and the transactions of those blocks with their places, 0 the oldest."""
        height = await self.chain.height()
        blocks: list[list[str]] = []
        for number in range(height, height - depth, -1):
            hashes: list[str] = (await self.chain.block(number) or {})["transactions"]
            if not set(hashes) <= self.sent:
                break
            blocks.append(hashes)
        blocks.reverse()
        return len(blocks), [(tx, place) for place, hashes in enumerate(blocks) for tx in hashes]

    async def all_back(self) -> None:
        """Send every transaction again that is still missing."""
        async with self._lock:
            away, self._away = self._away, []
            for _, text in away:
                await self._send_again(text)


class MarketChainActor(ChainActor):
    """The runner's chain actor, which takes the lock of the controller."""

    def __init__(self, controller: MarketChainController) -> None:
        super().__init__(controller.chain, CHAIN_ID, USDT)
        self.controller = controller

    async def pay_through_proxy(self, wallet: str, block: Mapping[str, Any]) -> str:
        async with self.controller.lock:
            return self.controller.noted(await super().pay_through_proxy(wallet, block), needed=True)

    async def pay_directly(self, wallet: str, destination: str, amount: int) -> str:
        async with self.controller.lock:
            return self.controller.noted(await super().pay_directly(wallet, destination, amount), needed=True)

    async def execute(self, instruction: Mapping[str, Any]) -> str:
        async with self.controller.lock:
            self.controller.gassed.add(str(instruction["from"]).lower())
            return await super().execute(instruction)

    async def observe(self, tx_hash: str, destination: str) -> OnChain:
        async with self.controller.lock:
            return await super().observe(tx_hash, destination)

    async def wallet(self) -> str:
        """Return a fresh account of a seller: it only takes."""
        async with self.controller.lock:
            return await super().wallet()


@asynccontextmanager
async def mining(controller: MarketChainController) -> AsyncIterator[None]:
    """Mine a block every so often until the block ends."""

    async def go_on() -> None:
        while True:
            await controller.mine(1)
            await asyncio.sleep(BLOCK_EVERY_S)

    async with asyncio.TaskGroup() as group:
        miner = group.create_task(go_on(), name="miner")
        try:
            yield
        finally:
            miner.cancel()
