"""A local EVM node over JSON-RPC: blocks, time, reorganisations, transactions and contracts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson
from eth_abi.abi import encode

from addresses.keccak import keccak
from devnet import toolchain

GAS = hex(3_000_000)


class AnvilError(Exception):
    """The local chain refused a call."""


def call_data(signature: str, *arguments: Any) -> str:
    types = signature[signature.index("(") + 1 : -1]
    encoded = encode([t for t in types.split(",") if t], list(arguments)) if arguments else b""
    return f"0x{(keccak(signature.encode())[:4] + encoded).hex()}"


class LocalNode:
    """A running node with unlocked accounts, whose keys it has."""

    def __init__(self, url: str, session: aiohttp.ClientSession, *, automine: bool) -> None:
        self.url = url
        self.accounts: list[str] = []
        self._session = session
        self._automine = automine

    async def rpc(self, method: str, params: Sequence[Any] = ()) -> Any:
        """Call the node."""
        body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self.url, data=body, headers=headers) as response:
            answer = orjson.loads(await response.read())
        if "error" in answer:
            raise AnvilError(f"{method}: {answer['error']}")
        return answer["result"]

    async def height(self) -> int:
        return int(await self.rpc("eth_blockNumber"), 16)

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc("anvil_mine", [hex(blocks)])

    async def mine_every(self, seconds: int) -> None:
        """Mine by the clock from now on, also when nobody pays."""
        await self.rpc("evm_setIntervalMining", [seconds])
        self._automine = False

    async def pass_time(self, seconds: int) -> None:
        """Let the chain's clock go on, and make a block that says so."""
        await self.rpc("evm_increaseTime", [seconds])
        await self.mine()

    async def automine(self, *, on: bool) -> None:
        """Mine every transaction as it comes, or leave them in the pool until `mine`."""
        await self.rpc("evm_setAutomine", [on])
        self._automine = on

    async def reorg(self, depth: int, transactions: Sequence[tuple[str | dict[str, Any], int]] = ()) -> None:
        """
        Replace the newest `depth` blocks by as many others; what they held is gone, also from the pool.

        `transactions` (raw, see `raw`, or as an object) come back, each in the new block of its index,
        0 the oldest.
        """
        await self.rpc("anvil_reorg", [depth, [list(pair) for pair in transactions]])
        self.blocks_replaced()

    def blocks_replaced(self) -> None:
        """Forget what was in blocks that are gone."""

    async def raw(self, tx_hash: str) -> str:
        """Return a signed transaction, so that a reorg can bring the very same one back."""
        return str(await self.rpc("eth_getRawTransactionByHash", [tx_hash]))

    async def snapshot(self) -> str:
        return str(await self.rpc("evm_snapshot"))

    async def revert(self, snapshot: str) -> None:
        """Go back to a snapshot, which is used up by it."""
        if await self.rpc("evm_revert", [snapshot]) is not True:
            raise AnvilError(f"there is no snapshot {snapshot}")
        self.blocks_replaced()

    async def block(self, number: int | str = "latest") -> dict[str, Any] | None:
        """Return a block by number or tag, without its transactions."""
        which = hex(number) if isinstance(number, int) else number
        found: dict[str, Any] | None = await self.rpc("eth_getBlockByNumber", [which, False])
        return found

    async def send(self, to: str | None, data: str, *, sender: str | None = None, gas: str = GAS) -> str:
        """Send a transaction and return its hash; it has been mined by then unless automine is off."""
        transaction = {"from": sender or self.accounts[0], "data": data, "gas": gas}
        if to is not None:
            transaction["to"] = to
        tx_hash = str(await self.rpc("eth_sendTransaction", [transaction]))
        if self._automine:
            await self.mined(tx_hash)
        return tx_hash

    async def call(self, to: str, signature: str, *arguments: Any) -> str | None:
        """Ask a contract and return the raw answer, None where it gives none."""
        answer = await self.rpc("eth_call", [{"to": to, "data": call_data(signature, *arguments)}, "latest"])
        return str(answer) if answer != "0x" else None

    async def balance(self, token: str, owner: str) -> int:
        """Return what a token says an address holds, in base units."""
        return int(await self.call(token, "balanceOf(address)", owner) or "0x0", 16)

    async def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self.rpc("eth_getTransactionReceipt", [tx_hash])
        return found

    async def mined(self, tx_hash: str) -> dict[str, Any]:
        """Return the receipt once there is one: the node answers a transaction before it mines it."""
        async with asyncio.timeout(10):
            while (found := await self.receipt(tx_hash)) is None:  # noqa: ASYNC110 - a node has no event for it
                await asyncio.sleep(0.002)
        return found

    async def deploy(self, contract: str) -> str:
        """Deploy a compiled contract and return its address."""
        receipt = await self.mined(await self.send(None, toolchain.bytecode(contract)))
        if receipt["status"] != "0x1":
            raise AnvilError(f"{contract} was not deployed")
        return str(receipt["contractAddress"])

    async def place(self, contract: str, address: str) -> None:
        """Put a contract's code at a given address, without a transaction and without its constructor's state."""
        creation = {"data": toolchain.bytecode(contract), "gas": GAS}
        await self.rpc("anvil_setCode", [address, await self.rpc("eth_call", [creation, "latest"])])
