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

import aiohttp
from eth_abi.abi import encode

from chains.evm.fee_proxy import payment_calldata
from devnet import toolchain
from devnet.evm.local_node import AnvilError, LocalNode, call_data

PROXY = "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9"  # where the registry expects the proxy on most chains
MULTI_PAY = "0x" + "3a" * 20  # our contract that pays several references in one transaction
ZERO = "0x" + "0" * 40
CHAIN_ID = 97
SLOTS_IN_AN_EPOCH = 32  # `safe` and `finalized` trail the head by one and two epochs
MUCH_GAS = hex(29_000_000)  # just under a block
VAST_GAS = hex(300_000_000)  # ten usual blocks, for what strangers may do on chains with large ones
MAX_UINT = 2**256 - 1
PRUNE_HISTORY = "256"  # states kept; reorgs can go no deeper
START_S = 30


@dataclass(frozen=True, slots=True)
class ProxyPayment:
    """One payment through the proxy; `reference` is 0x + 16 hex."""

    token: str
    destination: str
    amount: int
    reference: str
    fee_amount: int = 0
    fee_address: str = ZERO


class Anvil(LocalNode):
    """A running chain with the real proxy, and payments on it. Open with `anvil`."""

    def __init__(self, url: str, session: aiohttp.ClientSession, *, automine: bool) -> None:
        super().__init__(url, session, automine=automine)
        self._ready: set[tuple[str, str, str]] = set()  # (payer, token, proxy) minted and approved

    def blocks_replaced(self) -> None:
        self._ready.clear()  # the allowances may have been in them

    async def token(
        self, symbol: str = "USDT", decimals: int = 18, *, at: str | None = None, kind: str = "TestToken"
    ) -> str:
        """Make a token, at a given address if one is given."""
        address = at or await self.deploy(kind)
        if at is not None:
            await self.place(kind, at)
        await self.mined(await self.send(address, call_data("init(string,uint8)", symbol, decimals)))
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
            await self.send(token, call_data("mint(address,uint256)", payer, 10**40), sender=payer)
            await self.send(token, call_data("approve(address,uint256)", proxy, MAX_UINT), sender=payer)
        self._ready.add((payer, token, proxy))

    async def pay_together(self, payments: Sequence[ProxyPayment], *, proxy: str = PROXY) -> str:
        """Pay several references in one transaction."""
        rows = [
            (p.token, p.destination, p.amount, bytes.fromhex(p.reference[2:]), p.fee_amount, p.fee_address)
            for p in payments
        ]
        kind = "(address,address,uint256,bytes,uint256,address)[]"
        encoded = encode(["address", kind], [proxy, rows])
        return await self.send(MULTI_PAY, call_data(f"pay(address,{kind})") + encoded.hex())

    async def print_payments(
        self, token: str, destination: str, amount: int, references: Sequence[str], *, proxy: str = PROXY
    ) -> None:
        """Print the events of many payments in one transaction; a `LogPrinter` stands at the proxy's address."""
        kinds = "address,address,uint256,bytes8[]"
        values = [token, destination, amount, [bytes.fromhex(reference[2:]) for reference in references]]
        data = call_data(f"payments({kinds})") + encode(kinds.split(","), values).hex()
        await self.send(proxy, data, gas=MUCH_GAS)

    async def print_transfers(self, printer: str, first: str, count: int) -> None:
        """Print `Transfer` logs of one token to so many addresses, in one transaction."""
        data = call_data("transfers(uint160,uint256)") + encode(["uint160", "uint256"], [int(first, 16), count]).hex()
        await self.send(printer, data, gas=MUCH_GAS)

    async def dust(self, stranger: str, token: str, destination: str, count: int) -> int:
        """Send one unit of a token so many times in one transaction; return the gas. `stranger` holds the token."""
        await self.rpc("evm_setBlockGasLimit", [VAST_GAS])
        data = call_data("dust(address,address,uint256)", token, destination, count)
        return await self._gas(await self.send(stranger, data, gas=VAST_GAS))

    async def worthless(self, stranger: str, destination: str, count: int) -> int:
        """Print so many `Transfer` logs of no token in one transaction; return the gas."""
        await self.rpc("evm_setBlockGasLimit", [VAST_GAS])
        data = call_data("worthless(address,uint256)", destination, count)
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
        return await self.send(token, call_data("transfer(address,uint256)", destination, amount), sender=sender)


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
