"""An EVM chain in memory, seen through JSON-RPC: blocks, logs, receipts, balances of coin, and reorganisations."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import decode, encode

from addresses.keccak import keccak
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from devnet.evm.anvil import CHAIN_ID, PROXY
from devnet.evm.scripted_node import ZERO_HASH, word
from tests.chaos.chain_controller import FEE_TOKEN, SILENT_TOKEN
from tests.chaos.facts import Order
from tests.harness import MULTICALL, USDC, USDT
from tests.simulation.evm_headers import hash_of, header, receipt_of

Json = dict[str, Any]
APPROVAL_TOPIC = "0x" + keccak(b"Approval(address,address,uint256)").hex()
PAYER = "0x" + "b0" * 20
SYMBOLS = {USDT: "USDT", USDC: "USDC", FEE_TOKEN: "FEE", SILENT_TOKEN: "HUSH"}
DECIMALS = {USDT: 18, USDC: 18, FEE_TOKEN: 6, SILENT_TOKEN: 6}
EMPTY_BLOOM = bytes(256)


@dataclass(frozen=True, slots=True)
class LedgerLog:
    """What a contract says, wherever its transaction stands."""

    address: str
    topics: tuple[str, ...]
    data: str


@dataclass(slots=True)
class LedgerTx:
    """A transaction; the same one in whatever block."""

    hash: str
    logs: tuple[LedgerLog, ...] = ()
    succeeded: bool = True
    to: str = PROXY.lower()
    value: int = 0
    sender: str = PAYER

    def pays(self, destination: str) -> bool:
        topic = "0x" + word(destination)
        return any(log.topics[0] == TRANSFER_TOPIC and log.topics[2] == topic for log in self.logs)


@dataclass(slots=True)
class LedgerBlock:
    """A block, with what is shown of it."""

    number: int
    hash: str
    parent: str
    time: int
    txs: tuple[LedgerTx, ...]
    logs: list[Json] = field(default_factory=list)
    bloom: bytes = EMPTY_BLOOM
    header: Json = field(default_factory=dict)  # where its hash covers it


def transfer_logs(token: str, to: str, amount: int, sender: str = PAYER) -> list[LedgerLog]:
    """Return what a token says about a transfer: one keeps a hundredth, one says nothing."""
    token = token.lower()
    if token == SILENT_TOKEN:
        return []
    fee = amount // 100 if token == FEE_TOKEN else 0
    moved = [(to, amount - fee)] + ([("0x" + f"{0xFEE:040x}", fee)] if token == FEE_TOKEN else [])
    return [
        LedgerLog(token, (TRANSFER_TOPIC, "0x" + word(sender), "0x" + word(whom)), "0x" + word(much))
        for whom, much in moved
    ]


def payment_logs(token: str, to: str, amount: int, reference: str | None, sender: str = PAYER) -> list[LedgerLog]:
    """Return what a payment leaves: the token's own logs, and the proxy's where there is a reference."""
    logs = transfer_logs(token, to, amount, sender)
    if reference is not None:
        topic = "0x" + keccak(bytes.fromhex(reference[2:])).hex()
        data = "0x" + word(token) + word(to) + word(amount) + word(0) + word(0)
        logs.append(LedgerLog(PROXY.lower(), (EVENT_TOPIC, topic), data))
    return logs


def approval_log(token: str, spender: str, amount: int) -> LedgerLog:
    return LedgerLog(token.lower(), (APPROVAL_TOPIC, "0x" + word(PAYER), "0x" + word(spender)), "0x" + word(amount))


class EvmLedger:
    """One chain; `now` is what its miners' clock says, in unix seconds."""

    def __init__(
        self, now: Any, rng: random.Random, *, epoch: int, chain_id: int = CHAIN_ID, proven: bool = False
    ) -> None:
        self.chain_id = chain_id
        self.blocks: list[LedgerBlock] = []
        self.coins: list[tuple[int, str, int]] = []  # block, to, value
        self.replaced: set[str] = set()  # transactions whose block a reorganisation replaced, wherever they are by now
        self.undone: set[str] = set()  # of those: whose block was deeper than was asked for
        self.ahead_s = 0  # of the miners' clock
        self._proven = proven  # whether a block's hash covers what it holds
        self.block_s: float | None = None  # how often a block is made by itself; None: when somebody makes one
        self._now = now
        self._rng = rng
        self._epoch = epoch
        self._made = 0
        self._by_hash: dict[str, int] = {}
        self._place: dict[str, tuple[int, int]] = {}
        self._said: dict[str, list[tuple[int, Json]]] = {}  # block and log, by each thing it says after what it is
        self._code = {PROXY.lower(), MULTICALL.lower(), *(token.lower() for token in SYMBOLS)}
        self._append((), int(now()) - 4000)

    @property
    def head(self) -> int:
        return len(self.blocks) - 1

    def copy(self) -> EvmLedger:
        """Return the chain as it is, whatever becomes of it."""
        held = copy.copy(self)
        held.blocks, held.coins = list(self.blocks), list(self.coins)
        held._by_hash, held._place = dict(self._by_hash), dict(self._place)
        held._said = {topic: list(logs) for topic, logs in self._said.items()}
        return held

    def tx(self, logs: Sequence[LedgerLog] = (), **more: Any) -> LedgerTx:
        self._made += 1
        return LedgerTx("0x" + keccak(f"transaction {self._made}".encode()).hex(), tuple(logs), **more)

    def mine(self, *txs: LedgerTx, blocks: int = 1) -> None:
        """Make a block with these transactions, and empty ones behind it."""
        self.keep_up()
        for number in range(blocks):
            self._append(txs if number == 0 else (), max(int(self._now()) + self.ahead_s, self.blocks[-1].time + 1))

    def keep_up(self) -> None:
        """Make what blocks the clock asks for."""
        while self.block_s is not None and self.blocks[-1].time + self.block_s <= self._now():
            self._append((), int(self.blocks[-1].time + self.block_s))

    def reorg(self, depth: int, contents: Sequence[Sequence[LedgerTx]]) -> None:
        """Replace the newest blocks by as many others."""
        times = [block.time for block in self.blocks[-depth:]]
        for block in self.blocks[-depth:]:
            self._by_hash.pop(block.hash)
            for tx in block.txs:
                self._place.pop(tx.hash, None)
                self.replaced.add(tx.hash)
            for log in block.logs:
                for topic in log["topics"][1:]:
                    self._said[topic] = [each for each in self._said[topic] if each[0] != block.number]
        del self.blocks[-depth:]
        self.coins = [coin for coin in self.coins if coin[0] <= self.head]
        for txs, time in zip(contents, times, strict=True):
            self._append(tuple(txs), time)

    def _append(self, txs: Sequence[LedgerTx], time: int) -> None:
        number = len(self.blocks)
        parent = self.blocks[-1].hash if self.blocks else ZERO_HASH
        chance = self._rng.getrandbits(256)
        block = LedgerBlock(number, f"0x{chance:064x}", parent, time, tuple(txs), bloom=_bloom(txs))
        if self._proven:
            receipts = [_covered(tx, place) for place, tx in enumerate(txs)]
            block.header = header(number, parent, time, block.bloom, receipts, chance)
            block.hash = hash_of(block.header)
        for place, tx in enumerate(txs):
            self._place[tx.hash] = (number, place)
            if tx.value and tx.succeeded:
                self.coins.append((number, tx.to.lower(), tx.value))
            for log in tx.logs if tx.succeeded else ():
                block.logs.append(self._shown(log, tx, block, place, len(block.logs)))
                for topic in log.topics[1:]:
                    self._said.setdefault(topic, []).append((number, block.logs[-1]))
        self.blocks.append(block)
        self._by_hash[block.hash] = number

    @staticmethod
    def _shown(log: LedgerLog, tx: LedgerTx, block: LedgerBlock, place: int, index: int) -> Json:
        return {
            "address": log.address,
            "topics": list(log.topics),
            "data": log.data,
            "blockNumber": hex(block.number),
            "blockHash": block.hash,
            "transactionHash": tx.hash,
            "transactionIndex": hex(place),
            "logIndex": hex(index),
            "blockTimestamp": hex(block.time),
            "removed": False,
        }

    def depth(self, tx_hash: str) -> int | None:
        """Return how deep a transaction stands, its own block included; None: the chain does not hold it."""
        place = self._place.get(tx_hash)
        return None if place is None else self.head - place[0] + 1

    def doubt(self, tx_hash: str, required: int) -> str | None:
        """Say why a transaction is not so deep; None when it is."""
        stands = self.depth(tx_hash)
        if tx_hash in self.undone:  # a reorganisation no depth would have covered: nobody could know
            return None
        if stands is None:
            return "which the chain does not hold"
        return None if stands >= required else f"{stands} blocks deep instead of {required}"

    def paid(self, order: Order, first: int, last: int) -> list[str]:
        """Return the transactions of two blocks and those between that pay an order, in its own token."""
        if order.rail == "proxy":
            place, topic = 1, _reference_topic(order.reference)
        else:
            place, topic = 2, "0x" + word(order.destination)
        return [
            log["transactionHash"]
            for number, log in self._said.get(topic, ())
            if first <= number <= last and log["topics"][place : place + 1] == [topic] and _moves(log, order.token)
        ]

    def _moved(self, token: str, holder: str) -> list[tuple[int, int]]:
        """Return the changes of a balance: block and how much."""
        topic, found = "0x" + word(holder), []
        for number, log in self._said.get(topic, ()):
            if log["address"] == token.lower() and log["topics"][0] == TRANSFER_TOPIC:
                amount = int(log["data"], 16)
                found.append((number, amount * ((log["topics"][2] == topic) - (log["topics"][1] == topic))))
        return found

    def moved_by(self, tx_hash: str, token: str, holder: str) -> int:
        """Return how much of a token a transaction of the chain brought to an address."""
        block = self.blocks[self._place[tx_hash][0]]
        mine = [log for log in block.logs if log["transactionHash"] == tx_hash and log["address"] == token.lower()]
        to = "0x" + word(holder)
        return sum(
            int(log["data"], 16) for log in mine if log["topics"][0] == TRANSFER_TOPIC and log["topics"][2] == to
        )

    def balance(self, token: str, holder: str, number: int) -> int:
        """Return what an address holds of a token after a block."""
        return sum(amount for block, amount in self._moved(token, holder) if block <= number)

    def balances(self, token: str, holder: str) -> set[int]:
        """Return every balance an address ever had after a block of the chain as it is."""
        return {0, *(self.balance(token, holder, block) for block, _ in self._moved(token, holder))}

    # As a node.

    def answer(self, call: Json) -> Json:
        """Answer one JSON-RPC call."""
        method, params = call["method"], list(call.get("params") or [])
        shown = {"jsonrpc": "2.0", "id": call.get("id")}
        if method in _AT_A_BLOCK and len(params) > 1 and self._height(params[1]) > self.head:
            return {**shown, "error": {"code": -32000, "message": "header not found"}}
        served = getattr(self, f"_{method}", None)
        if served is None:
            return {**shown, "error": {"code": -32601, "message": f"the method {method} does not exist"}}
        return {**shown, "result": served(*params)}

    def _eth_chainId(self) -> str:
        return hex(self.chain_id)

    def _eth_blockNumber(self) -> str:
        return hex(self.head)

    def _eth_getBlockByNumber(self, which: str, full: bool = False) -> Json | None:
        number = self._height(which)
        if not 0 <= number <= self.head:
            return None
        block = self.blocks[number]
        txs: list[Any] = [tx.hash for tx in block.txs]
        if full:
            txs = [{"hash": tx.hash, "to": tx.to, "value": hex(tx.value)} for tx in block.txs]
        return {
            "number": hex(number),
            "hash": block.hash,
            "parentHash": block.parent,
            "timestamp": hex(block.time),
            "logsBloom": "0x" + block.bloom.hex(),
            "transactions": txs,
            **block.header,
        }

    def _height(self, which: str) -> int:
        tags = {"latest": 0, "pending": 0, "safe": self._epoch, "finalized": 2 * self._epoch}
        return max(0, self.head - tags[which]) if which in tags else 0 if which == "earliest" else int(which, 16)

    def _eth_getLogs(self, wanted: Json) -> list[Json]:
        if "blockHash" in wanted:
            number = self._by_hash.get(wanted["blockHash"])
            chosen = [] if number is None else [self.blocks[number]]
        else:
            first, last = self._height(wanted.get("fromBlock", "latest")), self._height(wanted.get("toBlock", "latest"))
            chosen = self.blocks[first : last + 1]
        addresses = wanted.get("address")
        if addresses is not None:
            addresses = {a.lower() for a in ([addresses] if isinstance(addresses, str) else addresses)}
        topics = [None if t is None else {t} if isinstance(t, str) else set(t) for t in wanted.get("topics") or []]
        return [log for block in chosen for log in block.logs if _fits(log, addresses, topics)]

    def _eth_getTransactionReceipt(self, tx_hash: str) -> Json | None:
        place = self._place.get(tx_hash)
        return None if place is None else self._receipt(*place)

    def _eth_getBlockReceipts(self, which: str) -> list[Json] | None:
        number = self._height(which)
        return (
            [self._receipt(number, place) for place in range(len(self.blocks[number].txs))]
            if number <= self.head
            else None
        )

    def _receipt(self, number: int, place: int) -> Json:
        block = self.blocks[number]
        tx = block.txs[place]
        return {
            "transactionHash": tx.hash,
            "transactionIndex": hex(place),
            "blockNumber": hex(number),
            "blockHash": block.hash,
            "from": tx.sender,
            "to": tx.to,
            **receipt_of(
                [log for log in block.logs if log["transactionHash"] == tx.hash], place, succeeded=tx.succeeded
            ),
        }

    def _eth_getCode(self, address: str, _: Any = None) -> str:
        return "0x6080" if address.lower() in self._code else "0x"

    def _eth_getBalance(self, address: str, which: str = "latest") -> str:
        return hex(self._coin(address.lower(), self._height(which)))

    def _coin(self, address: str, number: int) -> int:
        return sum(value for block, to, value in self.coins if block <= number and to == address)

    def _eth_call(self, call: Json, which: str = "latest") -> str:
        data = bytes.fromhex(str(call.get("data") or call.get("input"))[2:])
        return "0x" + self._called(call["to"].lower(), data, self._height(which)).hex()

    def _called(self, to: str, data: bytes, number: int) -> bytes:
        selector, rest = data[:4], data[4:]
        if to == MULTICALL.lower() and selector == _AGGREGATE:
            (calls,) = decode(["(address,bool,bytes)[]"], rest)
            rows = [self._called(str(target).lower(), bytes(what), number) for target, _, what in calls]
            return bytes(encode(["(bool,bytes)[]"], [[(True, row) for row in rows]]))
        if to == MULTICALL.lower() and selector == _COIN:
            return self._coin("0x" + rest[12:32].hex(), number).to_bytes(32, "big")
        token = next((token for token in SYMBOLS if token.lower() == to), None)
        if token is None:
            return b""
        answers = {
            _BALANCE: lambda: self.balance(token, "0x" + rest[12:32].hex(), number).to_bytes(32, "big"),
            _DECIMALS: lambda: DECIMALS[token].to_bytes(32, "big"),
            _SYMBOL: lambda: bytes(encode(["string"], [SYMBOLS[token]])),
        }
        return answers.get(selector, lambda: bytes(32))()


_AT_A_BLOCK = {"eth_call", "eth_getBalance", "eth_getCode"}
_AGGREGATE = keccak(b"aggregate3((address,bool,bytes)[])")[:4]
_COIN = keccak(b"getEthBalance(address)")[:4]
_BALANCE = keccak(b"balanceOf(address)")[:4]
_DECIMALS = keccak(b"decimals()")[:4]
_SYMBOL = keccak(b"symbol()")[:4]


@functools.cache
def _reference_topic(reference: str) -> str:
    return "0x" + keccak(bytes.fromhex(reference[2:])).hex()


def _moves(log: Json, token: str) -> bool:
    """Say whether a log tells of some of a token."""
    data = log["data"][2:]
    if log["topics"][0] == EVENT_TOPIC:
        return bool(data[24:64] == token[2:] and int(data[128:192], 16))
    return bool(log["topics"][0] == TRANSFER_TOPIC and log["address"] == token and int(data, 16))


def _fits(log: Json, addresses: set[str] | None, topics: Sequence[set[str] | None]) -> bool:
    if addresses is not None and log["address"] not in addresses:
        return False
    shown = log["topics"]
    return all(wanted is None or (place < len(shown) and shown[place] in wanted) for place, wanted in enumerate(topics))


def _bloom(txs: Sequence[LedgerTx]) -> bytes:
    bloom = 0
    for tx in txs:
        for log in tx.logs if tx.succeeded else ():
            for item in (log.address, *log.topics):
                bloom |= _bits(bytes.fromhex(item[2:]))
    return bloom.to_bytes(256, "big")


def _covered(tx: LedgerTx, place: int) -> Json:
    """Return what of a receipt the block's root covers."""
    logs = [{"address": log.address, "topics": log.topics, "data": log.data} for log in tx.logs if tx.succeeded]
    return receipt_of(logs, place, succeeded=tx.succeeded)


def _bits(item: bytes) -> int:
    """Return the three bits of an item in a block's filter (Yellow Paper, 4.4.1)."""
    digest, bits = keccak(item), 0
    for pair in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[pair : pair + 2], "big") & 2047)
    return bits
