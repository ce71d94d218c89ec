"""A real local EVM chain, and what buyers and miners do on it."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from eth_abi.abi import encode

from chains.evm.proxy import payment_calldata
from config.checksum import keccak
from devnet import toolchain
from devnet.ports import free_port

PROXY = "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9"  # where the registry expects the proxy on most chains
ZERO = "0x" + "0" * 40
CHAIN_ID = 97
GAS = hex(3_000_000)
MAX_UINT = 2**256 - 1


class AnvilError(Exception):
    """The local chain refused a call."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment through the proxy; `reference` is 0x + 16 hex."""

    token: str
    destination: str
    amount: int
    reference: str


def _call(signature: str, *arguments: Any) -> str:
    types = signature[signature.index("(") + 1 : -1]
    encoded = encode([t for t in types.split(",") if t], list(arguments)) if arguments else b""
    return f"0x{(keccak(signature.encode())[:4] + encoded).hex()}"


class Anvil:
    """A running chain with ten unlocked accounts. Open with `anvil`."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.accounts: list[str] = []
        self._session = session
        self._ready: set[tuple[str, str, str]] = set()  # (payer, token, proxy) minted and approved

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

    async def automine(self, *, on: bool) -> None:
        await self.rpc("evm_setAutomine", [on])

    async def reorg(self, depth: int, transactions: Sequence[tuple[dict[str, Any], int]] = ()) -> None:
        """Replace the newest `depth` blocks; `transactions` go into the new block at their index."""
        await self.rpc("anvil_reorg", [depth, [list(pair) for pair in transactions]])

    async def snapshot(self) -> str:
        return str(await self.rpc("evm_snapshot"))

    async def revert(self, snapshot: str) -> None:
        await self.rpc("evm_revert", [snapshot])

    async def send(self, to: str | None, data: str, *, sender: str | None = None, gas: str = GAS) -> str:
        """Send a transaction and return its hash; it is mined at once unless automine is off."""
        transaction = {"from": sender or self.accounts[0], "data": data, "gas": gas}
        if to is not None:
            transaction["to"] = to
        return str(await self.rpc("eth_sendTransaction", [transaction]))

    async def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self.rpc("eth_getTransactionReceipt", [tx_hash])
        return found

    async def mined(self, tx_hash: str) -> dict[str, Any]:
        """Return the receipt once there is one; mining goes on beside the answer to a transaction."""
        async with asyncio.timeout(10):
            while (found := await self.receipt(tx_hash)) is None:  # noqa: ASYNC110 - a node has no event for it
                await asyncio.sleep(0.005)
        return found

    async def deploy(self, contract: str) -> str:
        """Deploy a compiled contract and return its address."""
        receipt = await self.mined(await self.send(None, toolchain.bytecode(contract)))
        if receipt["status"] != "0x1":
            raise AnvilError(f"{contract} was not deployed")
        return str(receipt["contractAddress"])

    async def place(self, contract: str, address: str) -> None:
        """Put a contract's code at a given address."""
        code = await self.rpc("eth_getCode", [await self.deploy(contract), "latest"])
        await self.rpc("anvil_setCode", [address, code])

    async def token(
        self, symbol: str = "USDT", decimals: int = 18, *, at: str | None = None, kind: str = "TestToken"
    ) -> str:
        """Make a token, at a given address if one is given."""
        address = at or await self.deploy(kind)
        if at is not None:
            await self.place(kind, at)
        await self.mined(await self.send(address, _call("init(string,uint8)", symbol, decimals)))
        return address

    async def pay(
        self,
        token: str,
        destination: str,
        amount: int,
        reference: str,
        *,
        fee_amount: int = 0,
        fee_address: str = ZERO,
        payer: str | None = None,
        proxy: str = PROXY,
    ) -> str:
        """Pay through the proxy as a buyer does; return the transaction hash."""
        payer = payer or self.accounts[1]
        await self.fund(token, payer, proxy)
        data = payment_calldata(
            token=token,
            destination=destination,
            amount=amount,
            reference=reference,
            fee_amount=fee_amount,
            fee_address=fee_address,
        )
        return await self.send(proxy, data, sender=payer, gas=hex(500_000))

    async def fund(self, token: str, payer: str, proxy: str = PROXY) -> None:
        """Give a payer tokens and the proxy's allowance, once."""
        if (payer, token, proxy) not in self._ready:
            await self.send(token, _call("mint(address,uint256)", payer, 10**40))
            await self.send(token, _call("approve(address,uint256)", proxy, MAX_UINT), sender=payer)
            self._ready.add((payer, token, proxy))

    async def pay_together(self, payments: Sequence[Payment], *, proxy: str = PROXY) -> str:
        """Pay several references in one transaction."""
        payer = await self.deploy("MultiPay")
        rows = [(p.token, p.destination, p.amount, bytes.fromhex(p.reference[2:])) for p in payments]
        data = _call("pay(address,(address,address,uint256,bytes)[])")
        encoded = encode(["address", "(address,address,uint256,bytes)[]"], [proxy, rows])
        return await self.send(payer, data + encoded.hex())

    async def transfer(self, token: str, destination: str, amount: int, *, sender: str | None = None) -> str:
        """Send tokens without the proxy."""
        sender = sender or self.accounts[1]
        await self.fund(token, sender)
        return await self.send(token, _call("transfer(address,uint256)", destination, amount), sender=sender)


@asynccontextmanager
async def anvil(*, chain_id: int = CHAIN_ID, block_time: float | None = None) -> AsyncIterator[Anvil]:
    """
    Start a chain with the real proxy at its usual address; nothing of it is left behind.

    `block_time` in seconds mines by the clock; without it every transaction is mined at once.
    """
    toolchain.setup()
    port = free_port()
    command = [str(toolchain.anvil_binary()), "--port", str(port), "--chain-id", str(chain_id), "--silent"]
    command += ["--prune-history", "256"]
    if block_time is not None:
        command += ["--block-time", str(block_time)]
    # Without a scratch home and pruning it writes gigabytes into the user's.
    with tempfile.TemporaryDirectory(prefix="anvil-") as home:
        environment = {**os.environ, "HOME": home}
        process = await asyncio.create_subprocess_exec(*command, env=environment, start_new_session=True)
        try:
            async with aiohttp.ClientSession() as session:
                chain = Anvil(f"http://127.0.0.1:{port}", session)
                await _answering(chain, process)
                chain.accounts = await chain.rpc("eth_accounts")
                await chain.place("ERC20FeeProxy", PROXY)
                yield chain
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _answering(chain: Anvil, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await chain.rpc("eth_chainId")
            except aiohttp.ClientError:
                if process.returncode is not None:
                    raise AnvilError(f"anvil ended with {process.returncode}") from None
                await asyncio.sleep(0.02)
            else:
                return
