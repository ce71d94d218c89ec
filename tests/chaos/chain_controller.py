"""The chain under the laboratory: mined, reorganised and paid on, one thing at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from eth_abi.abi import decode, encode

from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC, payment_calldata
from devnet.evm.anvil import MUCH_GAS, PROXY, ZERO, Anvil
from devnet.evm.local_node import AnvilError, call_data
from tests.chaos.facts import ChainTransfer, Coin
from tests.harness import MULTICALL, USDC, USDT

FEE_TOKEN, SILENT_TOKEN = "0x" + "fe" * 20, "0x" + "51" * 20


class ChainController:
    """
    A local chain with one hand on it.

    A payer uses up nonces in order: what a reorganisation drops for one payer is dropped from there on.
    """

    def __init__(self, chain: Anvil, rng: random.Random) -> None:
        self.chain = chain
        self.payments = 0
        self._rng = rng
        self._lock = asyncio.Lock()
        self._returning: list[str] = []  # raw transactions that come back later

    async def prepare(self, *, depth: int) -> None:
        """Give every payer both tokens, deeper than any reorganisation reaches."""
        await self.chain.token("FEE", 6, at=FEE_TOKEN, kind="FeeToken")
        await self.chain.token("HUSH", 6, at=SILENT_TOKEN, kind="SilentToken")
        for payer in self.chain.accounts[1:]:
            for token in (USDT, USDC, FEE_TOKEN, SILENT_TOKEN):
                await self.chain.fund(token, payer)
        await self.chain.mine(depth + 1)

    async def mine(self, blocks: int) -> None:
        async with self._lock:
            await self._bring_back()
            await self.chain.mine(blocks)

    async def now(self) -> int:
        """Return the time of the newest block."""
        async with self._lock:
            return int((await self.chain.block() or {})["timestamp"], 16)

    async def advance_to(self, moment: int) -> None:
        """Move the chain's clock forward, for good, until a block is at least as young as this."""
        async with self._lock:
            ahead = moment - int((await self.chain.block() or {})["timestamp"], 16)
            if ahead > 0:
                await self.chain.rpc("evm_increaseTime", [ahead])
                await self.chain.mine(1)

    async def pay(self, token: str, destination: str, amount: int, reference: str | None) -> None:
        """Pay through the proxy when there is a reference, else directly."""
        async with self._lock:
            await self._pay(self._payer(), token, destination, amount, reference)
            self.payments += 1

    async def pay_in_busy_block(self, token: str, destination: str, amount: int, reference: str | None) -> None:
        """Pay in a block that also holds payments between strangers, through the proxy and without it."""
        async with self._lock:
            await self.chain.automine(on=False)
            try:
                stranger, elsewhere = (
                    f"0x{self._rng.randrange(2**63):016x}",
                    f"0x6{self._rng.randrange(2**64):039x}",
                )
                await self._pay(self._payer(), token, elsewhere, amount, stranger)
                await self._pay(self._payer(), token, destination, amount, reference)
                await self._pay(self._payer(), token, elsewhere, amount, None)
                await self.chain.mine(1)
            finally:
                await self.chain.automine(on=True)
            self.payments += 1

    async def pay_together(self, payments: Sequence[tuple[str, str, int, str | None]]) -> None:
        """Pay several (token, destination, amount, reference) in one transaction, out of a contract's balance."""
        async with self._lock:
            calls = [call for payment in payments for call in _calls_of(*payment)]
            kind = "(address,bool,bytes)[]"
            data = call_data(f"aggregate3({kind})") + encode([kind], [calls]).hex()
            await self.chain.send(MULTICALL, data, sender=self._payer())
            self.payments += 1

    async def pay_many(self, token: str, destination: str, amount: int, reference: str | None, count: int) -> None:
        """Pay the same amount many times in one transaction, out of a contract's balance."""
        async with self._lock:
            data = pay_many_calldata(payment_of(token, destination, amount, reference), token, amount, count)
            await self.chain.send(MULTICALL, data, sender=self._payer(), gas=MUCH_GAS)
            self.payments += 1

    async def fail(self, token: str, destination: str, amount: int, reference: str | None) -> None:
        """Send a payment that is reverted: who signs it has none of the token."""
        async with self._lock:
            poor = self.chain.accounts[0]
            to, data = payment_of(token, destination, amount, reference)
            receipt = await self.chain.mined(await self.chain.send(to, data, sender=poor))
            if receipt["status"] != "0x0":
                raise AnvilError("a payment out of an empty purse went through")
            self.payments += 1

    async def approve(self, token: str, spender: str, amount: int) -> None:
        """Approve a spender, which moves nothing."""
        async with self._lock:
            await self.chain.send(token, call_data("approve(address,uint256)", spender, amount), sender=self._payer())
            self.payments += 1

    async def send_coin(self, destination: str, amount: int) -> None:
        async with self._lock:
            payment = {"from": self._payer(), "to": destination, "value": hex(amount)}
            await self.chain.mined(str(await self.chain.rpc("eth_sendTransaction", [payment])))
            self.payments += 1

    def _payer(self) -> str:
        return self._rng.choice(self.chain.accounts[1:])

    async def _pay(self, payer: str, token: str, destination: str, amount: int, reference: str | None) -> None:
        if reference is None:
            await self.chain.transfer(token, destination, amount, sender=payer)
        else:
            await self.chain.pay(token, destination, amount, reference, payer=payer)

    async def reorg(self, depth: int, kind: str) -> None:
        """Replace the newest blocks; their transactions stay, move, return later or never."""
        async with self._lock:
            held = await self._transactions(depth)
            raw = [(await self.chain.raw(tx), place) for tx, place in held]
            if kind == "later":
                self._returning += [text for text, _ in raw]
            stay = kind in {"same", "shuffled"}
            if kind == "shuffled":
                places = sorted(self._rng.randrange(depth) for _ in raw)
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

    async def transfers(self, destinations: set[str], since: int) -> tuple[ChainTransfer, ...]:
        """Return every transfer on the canonical chain through the proxy or into one of these addresses."""
        async with self._lock:
            events = await self._logs({"address": PROXY, "topics": [EVENT_TOPIC]}, since)
            credited = await self._logs({"topics": [TRANSFER_TOPIC]}, since)
        moved = [_of_token(log) for log in credited]
        through = paired([_of_proxy(log) for log in events], moved)
        behind = {place for event in through for place in event.behind}
        plain = [m for m in moved if m.destination in destinations and m.place not in behind]
        return (*plain, *through)

    async def coins(self, destinations: set[str], since: int) -> tuple[Coin, ...]:
        """Return every arrival of coin at one of these addresses on the canonical chain."""
        async with self._lock:
            numbers = range(since, await self.chain.height() + 1)
            blocks = [await self.chain.rpc("eth_getBlockByNumber", [hex(number), True]) for number in numbers]
        return tuple(
            Coin(number, tx["to"].lower(), int(tx["value"], 16))
            for number, block in zip(numbers, blocks, strict=True)
            for tx in block["transactions"]
            if tx["to"] is not None and tx["to"].lower() in destinations and int(tx["value"], 16)
        )

    async def _logs(self, wanted: dict[str, Any], since: int) -> list[dict[str, Any]]:
        return list(await self.chain.rpc("eth_getLogs", [{**wanted, "fromBlock": hex(since), "toBlock": "latest"}]))


def _of_proxy(log: dict[str, Any]) -> ChainTransfer:
    kinds = ["address", "address", "uint256", "uint256", "address"]
    token, to, amount, _, _ = decode(kinds, bytes.fromhex(log["data"][2:]))
    return _transfer(log, str(token), str(to), int(amount), log["topics"][1])


def _of_token(log: dict[str, Any]) -> ChainTransfer:
    sender, to = ("0x" + topic[-40:] for topic in log["topics"][1:3])
    return replace(_transfer(log, log["address"], to, int(log["data"], 16), None), sender=sender)


def paired(events: Sequence[ChainTransfer], moved: Sequence[ChainTransfer]) -> list[ChainTransfer]:
    """
    Say what the token itself moved for each event of the proxy.

    The proxy moves, then tells: what stands in a transaction before an event and after the one before is its.
    """
    found, last = [], dict[str, int]()
    for event in sorted(events):
        since = last.get(event.tx, -1)
        same = [m for m in moved if _same(m, event) and since < m.log_index < event.log_index]
        credited = sum(m.amount for m in same) if same else None
        behind, sender = tuple(m.place for m in same), same[0].sender if same else ""
        found.append(replace(event, credited=credited, behind=behind, sender=sender))
        last[event.tx] = event.log_index
    return found


def _same(transfer: ChainTransfer, event: ChainTransfer) -> bool:
    return (transfer.tx, transfer.token, transfer.destination) == (event.tx, event.token, event.destination)


def pay_many_calldata(payment: tuple[str, str], token: str, amount: int, count: int) -> str:
    """Return what a contract is called with to pay so many times: it makes the money, and spends it."""
    kind = "(address,bool,bytes)[]"
    preparation = [
        (token, call_data("mint(address,uint256)", MULTICALL, amount * count)),
        (token, call_data("approve(address,uint256)", PROXY, amount * count)),
    ]
    calls = [(to, False, bytes.fromhex(data[2:])) for to, data in [*preparation, *[payment] * count]]
    return call_data(f"aggregate3({kind})") + encode([kind], [calls]).hex()


def payment_of(token: str, destination: str, amount: int, reference: str | None) -> tuple[str, str]:
    """Return whom to call, and with what."""
    if reference is None:
        return token, call_data("transfer(address,uint256)", destination, amount)
    data = payment_calldata(
        token=token, destination=destination, amount=amount, reference=reference, fee_amount=0, fee_address=ZERO
    )
    return PROXY, data


def _calls_of(token: str, destination: str, amount: int, reference: str | None) -> list[tuple[str, bool, bytes]]:
    """Return what a contract does to pay: it makes the money, allows the proxy to take it, and pays."""
    calls = [
        (token, call_data("mint(address,uint256)", MULTICALL, amount)),
        (token, call_data("approve(address,uint256)", PROXY, amount)),
        payment_of(token, destination, amount, reference),
    ]
    return [(to, False, bytes.fromhex(data[2:])) for to, data in calls]


def _transfer(log: dict[str, Any], token: str, to: str, amount: int, topic: str | None) -> ChainTransfer:
    where = int(log["blockNumber"], 16), int(log["logIndex"], 16)
    credited = amount if topic is None else None
    return ChainTransfer(
        *where,
        log["transactionHash"],
        token.lower(),
        to.lower(),
        amount,
        topic,
        credited,
        time=int(log["blockTimestamp"], 16),
    )
