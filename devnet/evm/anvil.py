"""A real local EVM chain, and what buyers and miners do on it."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from eth_abi.abi import encode

from addresses.keccak import keccak
from chains.evm.fee_proxy import payment_calldata
from devnet import toolchain

PROXY = "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9"  # where the registry expects the proxy on most chains
MULTI_PAY = "0x" + "3a" * 20  # our contract that pays several references in one transaction
ZERO = "0x" + "0" * 40
CHAIN_ID = 97
SLOTS_IN_AN_EPOCH = 32  # `safe` and `finalized` trail the head by one and two epochs
GAS = hex(3_000_000)
MUCH_GAS = hex(29_000_000)  # just under a block
VAST_GAS = hex(300_000_000)  # ten usual blocks, for what strangers may do on chains with large ones
MAX_UINT = 2**256 - 1
PRUNE_HISTORY = "256"  # states kept; reorgs can go no deeper
START_S = 30


class AnvilError(Exception):
    """The local chain refused a call."""


@dataclass(frozen=True, slots=True)
class MinedPayment:
    """One payment through the proxy; `reference` is 0x + 16 hex."""

    token: str
    destination: str
    amount: int
    reference: str
    fee_amount: int = 0
    fee_address: str = ZERO


def _call(signature: str, *arguments: Any) -> str:
    types = signature[signature.index("(") + 1 : -1]
    encoded = encode([t for t in types.split(",") if t], list(arguments)) if arguments else b""
    return f"0x{(keccak(signature.encode())[:4] + encoded).hex()}"


class Anvil:
    """A running chain with unlocked accounts, whose keys it has. Open with `anvil`."""

    def __init__(self, url: str, session: aiohttp.ClientSession, *, automine: bool) -> None:
        self.url = url
        self.accounts: list[str] = []
        self._session = session
        self._automine = automine
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
        self._ready.clear()  # the allowances may have been in the blocks that are gone

    async def raw(self, tx_hash: str) -> str:
        """Return a signed transaction, so that a reorg can bring the very same one back."""
        return str(await self.rpc("eth_getRawTransactionByHash", [tx_hash]))

    async def snapshot(self) -> str:
        return str(await self.rpc("evm_snapshot"))

    async def revert(self, snapshot: str) -> None:
        """Go back to a snapshot, which is used up by it."""
        if await self.rpc("evm_revert", [snapshot]) is not True:
            raise AnvilError(f"there is no snapshot {snapshot}")
        self._ready.clear()

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
        answer = await self.rpc("eth_call", [{"to": to, "data": _call(signature, *arguments)}, "latest"])
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
        if (payer, token, proxy) in self._ready:
            return
        if int(await self.call(token, "allowance(address,address)", payer, proxy) or "0x0", 16) == 0:
            # All from the payer: one sender's transactions keep their order in a block that is mined later.
            await self.send(token, _call("mint(address,uint256)", payer, 10**40), sender=payer)
            await self.send(token, _call("approve(address,uint256)", proxy, MAX_UINT), sender=payer)
        self._ready.add((payer, token, proxy))

    async def pay_together(self, payments: Sequence[MinedPayment], *, proxy: str = PROXY) -> str:
        """Pay several references in one transaction."""
        rows = [
            (p.token, p.destination, p.amount, bytes.fromhex(p.reference[2:]), p.fee_amount, p.fee_address)
            for p in payments
        ]
        kind = "(address,address,uint256,bytes,uint256,address)[]"
        encoded = encode(["address", kind], [proxy, rows])
        return await self.send(MULTI_PAY, _call(f"pay(address,{kind})") + encoded.hex())

    async def print_payments(
        self, token: str, destination: str, amount: int, references: Sequence[str], *, proxy: str = PROXY
    ) -> None:
        """Print the events of many payments in one transaction; a `LogPrinter` stands at the proxy's address."""
        kinds = "address,address,uint256,bytes8[]"
        values = [token, destination, amount, [bytes.fromhex(reference[2:]) for reference in references]]
        data = _call(f"payments({kinds})") + encode(kinds.split(","), values).hex()
        await self.send(proxy, data, gas=MUCH_GAS)

    async def print_transfers(self, printer: str, first: str, count: int) -> None:
        """Print `Transfer` logs of one token to so many addresses, in one transaction."""
        data = _call("transfers(uint160,uint256)") + encode(["uint160", "uint256"], [int(first, 16), count]).hex()
        await self.send(printer, data, gas=MUCH_GAS)

    async def dust(self, stranger: str, token: str, destination: str, count: int) -> int:
        """Send one unit of a token so many times in one transaction; return the gas. `stranger` holds the token."""
        await self.rpc("evm_setBlockGasLimit", [VAST_GAS])
        data = _call("dust(address,address,uint256)", token, destination, count)
        return await self._gas(await self.send(stranger, data, gas=VAST_GAS))

    async def worthless(self, stranger: str, destination: str, count: int) -> int:
        """Print so many `Transfer` logs of no token in one transaction; return the gas."""
        await self.rpc("evm_setBlockGasLimit", [VAST_GAS])
        data = _call("worthless(address,uint256)", destination, count)
        return await self._gas(await self.send(stranger, data, gas=VAST_GAS))

    async def _gas(self, tx_hash: str) -> int:
        receipt = await self.mined(tx_hash)
        if receipt["status"] != "0x1":
            raise AnvilError(f"{tx_hash} failed")
        return int(receipt["gasUsed"], 16)

    async def transfer(
        self, token: str, destination: str, amount: int, *, sender: str | None = None, fund: bool = True
    ) -> str:
        """Send tokens without the proxy; without `fund` the sender has no more than it was sent."""
        sender = sender or self.accounts[1]
        if fund:
            await self.fund(token, sender)
        return await self.send(token, _call("transfer(address,uint256)", destination, amount), sender=sender)


@asynccontextmanager
async def anvil(
    *,
    chain_id: int = CHAIN_ID,
    block_time: float | None = None,
    slots_in_epoch: int = SLOTS_IN_AN_EPOCH,
    port: int = 0,
    accounts: int = 10,
) -> AsyncIterator[Anvil]:
    """
    Start a chain with the real proxy at its usual address; nothing of it is left behind.

    `block_time` in seconds mines by the clock; without it every transaction is mined at once.
    """
    toolchain.setup()
    command = [str(toolchain.anvil_binary()), "--port", str(port), "--chain-id", str(chain_id)]
    command += ["--prune-history", PRUNE_HISTORY, "--slots-in-an-epoch", str(slots_in_epoch)]
    command += ["--accounts", str(accounts)]
    if block_time is not None:
        command += ["--block-time", str(block_time)]
    # Without a scratch home and pruning it writes gigabytes into the user's.
    with tempfile.TemporaryDirectory(prefix="anvil-") as home:
        log = Path(home) / "anvil.log"
        environment = {**os.environ, "HOME": home}
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            url = await _listening(log, process)
            async with aiohttp.ClientSession() as session:
                chain = Anvil(url, session, automine=block_time is None)
                await chain.rpc("anvil_setLoggingEnabled", [False])
                chain.accounts = await chain.rpc("eth_accounts")
                await chain.place("ERC20FeeProxy", PROXY)
                await chain.place("MultiPay", MULTI_PAY)
                yield chain
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _listening(log: Path, process: asyncio.subprocess.Process) -> str:
    """Wait for the port it chose itself: no two chains can meet on one."""
    async with asyncio.timeout(START_S):
        while True:
            said = log.read_text()  # noqa: ASYNC240 - a few lines of a local file
            address, ended, _ = said.partition("Listening on ")[2].partition("\n")
            if ended:
                return f"http://{address}"
            if process.returncode is not None:
                raise AnvilError(f"anvil ended with {process.returncode}: {said[-400:]}")
            await asyncio.sleep(0.005)
