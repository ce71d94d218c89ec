"""The chain's side of a scenario: fresh wallets, payments that really happen, blocks that keep coming."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from addresses.keccak import keccak
from devnet.evm.anvil import Anvil
from devnet.runner.facts import OnChain

TRANSFER = f"0x{keccak(b'Transfer(address,address,uint256)').hex()}"
RICH = hex(10**21)
MINE_S = 0.5
GAS = hex(200_000)


class ChainActor:
    """A local chain as buyers and the custodian of the escrow use it."""

    def __init__(self, chain: Anvil, chain_id: int, token: str) -> None:
        self.chain = chain
        self.chain_id = chain_id
        self.token = token

    async def wallet(self) -> str:
        """Return a fresh account that may send: every buyer and seller has their own."""
        address = f"0x{secrets.token_hex(20)}"
        await self._may_send(address)
        return address

    async def _may_send(self, address: str) -> None:
        await self.chain.rpc("anvil_impersonateAccount", [address])
        await self.chain.rpc("anvil_setBalance", [address, RICH])

    async def pay_through_proxy(self, wallet: str, block: Mapping[str, Any]) -> str:
        """Pay what a checkout asks for."""
        await self.chain.fund(self.token, wallet)
        tx_hash = await self.chain.send(block["proxyAddress"], block["calldata"], sender=wallet, gas=hex(500_000))
        return await self._mined(tx_hash)

    async def pay_directly(self, wallet: str, destination: str, amount: int) -> str:
        """Pay as any wallet does."""
        return await self._mined(await self.chain.transfer(self.token, destination, amount, sender=wallet))

    async def execute(self, instruction: Mapping[str, Any]) -> str:
        """Execute a payout out of the escrow, which holds no more than what was paid into it."""
        sender, amount = instruction["from"], int(instruction["amountBaseUnits"])
        await self._may_send(sender)
        sent = await self.chain.transfer(
            instruction["tokenAddress"], instruction["to"], amount, sender=sender, fund=False
        )
        return await self._mined(sent)

    async def _mined(self, tx_hash: str) -> str:
        receipt = await self.chain.mined(tx_hash)
        if receipt["status"] != "0x1":
            raise RuntimeError(f"transaction {tx_hash} was reverted")
        return tx_hash

    async def balance(self, owner: str) -> int:
        return await self.chain.balance(self.token, owner)

    async def observe(self, tx_hash: str, destination: str) -> OnChain:
        """Ask the chain itself about a payment."""
        receipt = await self.chain.receipt(tx_hash)
        if receipt is None:
            return OnChain(tx_hash=tx_hash, succeeded=False, canonical=False, depth=0, sender="", received=0, balance=0)
        number = int(receipt["blockNumber"], 16)
        block, height = await self.chain.block(number), await self.chain.height()
        return OnChain(
            tx_hash=tx_hash,
            succeeded=receipt["status"] == "0x1",
            canonical=block is not None and block["hash"] == receipt["blockHash"],
            depth=height - number + 1,
            sender=str(receipt["from"]),
            received=_received(receipt, self.token, destination),
            balance=await self.balance(destination),
        )


def _received(receipt: Mapping[str, Any], token: str, destination: str) -> int:
    """Add up what a transaction brought to an address."""
    to = f"0x{destination.lower()[2:]:0>64}"
    return sum(
        int(log["data"], 16)
        for log in receipt["logs"]
        if log["address"].lower() == token.lower() and log["topics"][0] == TRANSFER and log["topics"][2] == to
    )


@asynccontextmanager
async def open_chain_actor(url: str, chain_id: int, token: str, *, mine_s: float = MINE_S) -> AsyncIterator[ChainActor]:
    """Use a local chain that runs, and mine steadily until the block ends."""
    async with aiohttp.ClientSession() as session:
        chain = Anvil(url, session, automine=True)
        chain.accounts = await chain.rpc("eth_accounts")
        async with mining(chain, mine_s):
            yield ChainActor(chain, chain_id, token)


@asynccontextmanager
async def mining(chain: Anvil, every_s: float) -> AsyncIterator[None]:
    """Mine a block every so often: depth comes from time, as on a real chain."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_mine(chain, every_s), name="miner")
        try:
            yield
        finally:
            task.cancel()


async def _mine(chain: Anvil, every_s: float) -> None:
    while True:
        await chain.mine()
        await asyncio.sleep(every_s)
