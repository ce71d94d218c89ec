"""A Tron chain in memory: blocks, transactions, tokens and balances, moved on by whoever holds it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from addresses.base58 import encode_check
from addresses.keccak import keccak
from chains.tron.address import to_hex, topic

CHAIN_ID = 728126428
USDT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
SLOT_MS = 3_000
SOLID_DEPTH = 19  # blocks that 19 of 27 producers have built on are irreversible
GENESIS_MS = 1_790_000_001_000
TRANSFER = keccak(b"Transfer(address,address,uint256)").hex()
APPROVAL = keccak(b"Approval(address,address,uint256)").hex()


def account(name: str) -> str:
    """Return the address that stands for a name, always the same one."""
    return encode_check(b"\x41" + hashlib.sha256(name.encode()).digest()[:20])


STRANGER = account("a stranger")


@dataclass(frozen=True, slots=True)
class Log:
    """One event: addresses and topics in hex without prefix, as a receipt holds them."""

    address: str
    topics: tuple[str, ...]
    data: str


@dataclass(frozen=True, slots=True)
class Move:
    """What a transaction did to balances; `token` None is TRX."""

    token: str | None
    source: str
    to: str
    amount: int


@dataclass(slots=True)
class Tx:
    """A transaction and its receipt."""

    id: str
    logs: tuple[Log, ...] = ()
    moves: tuple[Move, ...] = ()
    result: str | None = "SUCCESS"  # of the contract; None for a plain TRX transfer
    failed: bool = False
    block: int = -1


@dataclass(slots=True)
class TokenFacts:
    """One TRC-20 contract."""

    symbol: str
    decimals: int
    broken: bool = False  # its balanceOf reverts


@dataclass(slots=True)
class TronLedger:
    """
    The chain. What is sent waits for the next block; `advance` makes blocks.

    Addresses are base58, amounts base units.
    """

    chain_id: int = CHAIN_ID
    solid_depth: int = SOLID_DEPTH
    times: list[int] = field(default_factory=lambda: [GENESIS_MS])  # ms, by block number
    tokens: dict[str, TokenFacts] = field(default_factory=lambda: {USDT: TokenFacts("USDT", 6)})
    full: list[int] = field(default_factory=list)  # numbers of blocks with transactions
    by_block: dict[int, list[Tx]] = field(default_factory=dict)
    by_id: dict[str, Tx] = field(default_factory=dict)
    waiting: list[Tx] = field(default_factory=list)
    busy: bool = True  # strangers pay each other in every block, as on the real chain
    _serial: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def until(cls, now_ms: int, *, blocks: int = 100, **facts: Any) -> TronLedger:
        """Return a chain of so many blocks whose newest one was made just now."""
        ledger = cls(times=[now_ms // SLOT_MS * SLOT_MS - blocks * SLOT_MS], **facts)
        ledger.advance(blocks)
        return ledger

    async def produce(self, every_s: float = SLOT_MS / 1000) -> None:
        """Make a block every so often, for ever; more often than every 3 s, block times run ahead of the clock."""
        while True:
            await asyncio.sleep(every_s)
            self.advance()

    @property
    def head(self) -> int:
        return len(self.times) - 1

    @property
    def solid(self) -> int:
        return max(0, self.head - self.solid_depth)

    def advance(self, blocks: int = 1, *, missed: int = 0) -> None:
        """Make blocks, the first after so many missed slots and with everything that waits."""
        for number in range(blocks):
            self.times.append(self.times[-1] + SLOT_MS * (1 + (missed if number == 0 else 0)))
            mined, self.waiting = self.waiting, []
            if self.busy:
                mined.append(self._new(self._transfer_logs([(USDT, STRANGER, 5_000_000)], "another")))
            for tx in mined:
                tx.block = self.head
            if mined:
                self.full.append(self.head)
                self.by_block[self.head] = mined

    def settle(self) -> None:
        """Make everything that was sent solid."""
        self.advance(1 + self.solid_depth)

    def transfer(self, to: str, amount: int, *, token: str = USDT, sender: str = "buyer") -> str:
        """Send a token; return the transaction."""
        return self.transfers([(token, to, amount)], sender=sender)

    def transfers(self, parts: Sequence[tuple[str, str, int]], *, sender: str = "buyer") -> str:
        """Send several amounts (token, to, amount) in one transaction."""
        moves = tuple(Move(token, account(sender), to, amount) for token, to, amount in parts)
        return self._send(self._new(self._transfer_logs(parts, sender), moves))

    def approve(self, spender: str, amount: int, *, token: str = USDT, sender: str = "buyer") -> str:
        """Allow somebody to take: moves nothing, yet is listed among the transfers of both."""
        log = Log(to_hex(token), (APPROVAL, topic(account(sender)), topic(spender)), f"{amount:064x}")
        return self._send(self._new((log,)))

    def fail(self, to: str, amount: int, *, token: str = USDT, result: str = "REVERT", keeps_logs: bool = False) -> str:
        """Send a transfer that fails on chain."""
        logs = self._transfer_logs([(token, to, amount)], "buyer") if keeps_logs else ()
        tx = self._new(logs)
        tx.result, tx.failed = result, True
        return self._send(tx)

    def send_coin(self, to: str, amount: int, *, sender: str = "buyer") -> str:
        """Send TRX."""
        tx = self._new((), (Move(None, account(sender), to, amount),))
        tx.result = None
        return self._send(tx)

    def emit(self, *logs: Log) -> str:
        """Send a transaction with just these events."""
        return self._send(self._new(logs))

    def deploy(self, name: str, symbol: str, decimals: int = 6, *, broken: bool = False) -> str:
        """Add a token; return its contract."""
        self.tokens[account(name)] = TokenFacts(symbol, decimals, broken)
        return account(name)

    def number_at(self, time_ms: int) -> int:
        """Return the newest block that is not younger than this."""
        return bisect_right(self.times, time_ms) - 1

    def time_of(self, tx_id: str) -> int:
        """Return when a transaction happened, in ms."""
        return self.times[self.by_id[tx_id].block]

    def between(self, first: int, last: int) -> Iterator[Tx]:
        """Iterate the transactions of these blocks, both included, in chain order."""
        for number in self.full[bisect_left(self.full, first) : bisect_right(self.full, last)]:
            yield from self.by_block[number]

    def balance(self, holder: str, token: str | None, at: int) -> int:
        """Return what somebody holds after a block; whoever sends has enough."""
        got = sum(m.amount for tx in self.between(0, at) for m in tx.moves if (m.to, m.token) == (holder, token))
        gave = sum(m.amount for tx in self.between(0, at) for m in tx.moves if (m.source, m.token) == (holder, token))
        return max(0, got - gave)

    def block_id(self, number: int) -> str:
        """Return a block's id: its number, then a hash; the genesis block's ends in the chain id."""
        digest = hashlib.sha256(f"{self.chain_id}:{number}".encode()).hexdigest()[16:]
        return f"{number:016x}" + (digest if number else digest[:-8] + f"{self.chain_id:08x}")

    def _transfer_logs(self, parts: Sequence[tuple[str, str, int]], sender: str) -> tuple[Log, ...]:
        source = topic(account(sender))
        return tuple(Log(to_hex(token), (TRANSFER, source, topic(to)), f"{amount:064x}") for token, to, amount in parts)

    def _new(self, logs: tuple[Log, ...], moves: tuple[Move, ...] = ()) -> Tx:
        serial = next(self._serial)
        tx = Tx(hashlib.sha256(f"tx {self.chain_id} {serial}".encode()).hexdigest(), logs, moves)
        self.by_id[tx.id] = tx
        return tx

    def _send(self, tx: Tx) -> str:
        self.waiting.append(tx)
        return tx.id
