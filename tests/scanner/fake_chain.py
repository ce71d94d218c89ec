"""A chain in memory, behind the adapter's protocol: blocks can be replaced, pages cut and calls made to fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from chains.base import ChainAdapter
from chains.errors import ChainUnavailable, InvalidAddress
from chains.types import (
    BalanceKey,
    Balances,
    Checkout,
    Condition,
    Cursor,
    Fork,
    Head,
    PageAhead,
    Rail,
    RescanResult,
    ScanPage,
    SocketEvent,
    Targets,
    TokenMeta,
    TokenReceipt,
    Transaction,
    Transfer,
    Verification,
    VerificationOutcome,
)
from config.catalog import Chain
from tests.scanner.facts import CHAIN, NOW, a_hash

SENDER = "0x" + "5e" * 20
FIRST = 100  # the block below everything that happens


def a_chain(**fields: Any) -> Chain:
    values = {
        "chainId": CHAIN,
        "name": "Test",
        "proxyAddress": "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9",
        "confirmationThreshold": 5,
        **fields,
    }
    return Chain.model_validate(values)


class FakeChain:
    """
    One chain's adapter. `blocks` holds (hash, transfers) by number, without gaps up to the head.

    `outcomes` says what a second look finds, by transaction; `down` makes every call fail.
    """

    rails: tuple[Rail, ...] = (Rail.PROXY, Rail.DIRECT)
    coin_decimals = 18
    counts_blocks = True
    lag_warning = 100
    reads_many_coins = True
    reads_ahead = False
    endpoint = "here"

    def __init__(self, *, page: int = 3) -> None:
        self.page = page
        self.blocks: dict[int, tuple[str, list[Transfer]]] = {}
        self.times: dict[int, int] = {}  # unix seconds, by number
        self.seen_up_to: int | None = None  # a node that is behind
        self.says: int | None = None  # a head below what the node holds
        self.finalized: int | None = None
        self.outcomes: dict[str, VerificationOutcome] = {}
        self.tokens: dict[str, TokenMeta] = {}
        self.holdings: Callable[[Sequence[BalanceKey]], list[int | None]] = lambda asked: [0] * len(asked)
        self.moved: list[TokenReceipt] = []
        self.down = False
        self.refuses: set[Rail] = set()  # rails no endpoint serves
        self.transactions: dict[str, Transaction | None] = {}  # what is told of one, whatever its block holds
        self.unlisted: set[str] = set()  # transactions the index of a scan does not know yet
        self.unreadable: dict[str, str] = {}  # destinations that cannot be read a second time, and why
        self.looked_again: list[tuple[int, int]] = []
        self.is_stale = False
        self.ahead: tuple[PageAhead, ...] = ()  # what the last head was asked for with
        self.calls: Counter[str] = Counter()
        self.on_call: Callable[[str], None] = lambda name: None
        self.verified: list[list[Transfer]] = []
        self.extend(FIRST + 1)

    @property
    def top(self) -> int:
        return len(self.blocks) - 1

    def extend(self, blocks: int = 1, *, branch: str = "a", wait: int = 0) -> None:
        """Make blocks, a second apart; the first of them `wait` seconds later."""
        for _ in range(blocks):
            number = len(self.blocks)
            self.blocks[number] = (a_hash("block", number, branch), [])
            self.times[number] = self.times.get(number - 1, NOW // 1000 - 1) + 1 + wait
            wait = 0

    def cut(self, above: int) -> None:
        """Forget the blocks above one."""
        for number in range(above + 1, len(self.blocks)):
            del self.blocks[number]

    def put(self, transfer: Transfer, *, at: int | None = None, key: str | None = None) -> Transfer:
        """Put a transfer into a block, as the next log of it; `key` tells it apart in whatever block it stands."""
        number = self.top if at is None else at
        block_hash, held = self.blocks[number]
        placed = transfer._replace(
            block_number=number, block_hash=block_hash, log_index=len(held), event_key=key or str(len(held))
        )
        held.append(placed)
        return placed

    async def _asked(self, name: str) -> None:
        self.calls[name] += 1
        self.on_call(name)
        await asyncio.sleep(0)
        if self.down:
            raise ChainUnavailable("no endpoint answered")

    def parse_address(self, text: str) -> str:
        if not text.startswith("0x"):
            raise InvalidAddress("is not an address")
        return text.lower()

    def show_address(self, canonical: str) -> str:
        return canonical

    def checkout(self, rail: Rail, **facts: Any) -> Checkout:
        return Checkout(payment_uri=None, calldata=None)

    def first_cursor(self, head: Head) -> Cursor:
        return Cursor(min(FIRST, head.position))

    async def cursor_before(self, time: int, head: Head) -> Cursor:
        await self._asked("cursor_before")
        below = [number for number in self.blocks if self.times[number] <= time and number <= head.position]
        return Cursor(max(below, default=0))

    def _head(self) -> Head:
        position = self.top if self.seen_up_to is None else min(self.top, self.seen_up_to)
        return Head(position, self.blocks[position][0], self.times[position], self.finalized)

    async def head(self, ahead: Sequence[PageAhead] | None = None) -> Head:
        await self._asked("head")
        self.ahead = tuple(ahead or ())
        found = self._head()
        if self.says is None:
            return found
        return Head(self.says, self.blocks[self.says][0], self.times[self.says], found.finalized)

    def condition(self) -> Condition:
        return Condition(stale=self.is_stale)

    async def rescan(self, destinations: Collection[str], *, since: int, until: int) -> RescanResult:
        await self._asked("look_again")
        self.looked_again.append((since, until))
        unread = {each: self.unreadable[each] for each in destinations if each in self.unreadable}
        found = [
            transfer
            for number, (_, held) in self.blocks.items()
            for transfer in held
            if since <= self.times[number] <= until
            and transfer.reference is None
            and transfer.destination in set(destinations) - unread.keys()
        ]
        return RescanResult(found, unread)

    async def scan(
        self, rail: Rail, targets: Targets, after: Cursor, head: Head, *, reread_s: int = 0
    ) -> ScanPage | Fork:
        if rail is self.rails[0]:
            await self._asked("scan")
        if rail in self.refuses:
            raise ChainUnavailable(f"the {rail} rail is not served")
        if after.position > self._head().position:
            raise ChainUnavailable(f"the node does not hold block {after.position} yet")
        if after.block_hash is not None and self.blocks[after.position][0] != after.block_hash:
            return Fork(after)
        end = min(after.position + self.page, max(head.position, after.position))
        first = max(0, after.position + 1 - min(reread_s, 2))
        found = [
            transfer
            for number in range(first, end + 1)
            for transfer in self.blocks[number][1]
            if transfer.tx_hash not in self.unlisted
            and (
                transfer.reference is not None
                if rail is Rail.PROXY
                else transfer.reference is None and transfer.destination in targets.destinations | targets.beneficiaries
            )
        ]
        return ScanPage(found, Cursor(end, self.blocks[end][0]), self.times[end], len(found))

    async def latest_canonical(self, known_blocks: Sequence[Cursor]) -> Cursor | None:
        await self._asked("latest_canonical")
        held = (a for a in known_blocks if a.position in self.blocks and self.blocks[a.position][0] == a.block_hash)
        return next(held, None)

    async def replaced(self, known_blocks: Sequence[Cursor], *, tip: Cursor) -> set[Cursor]:
        await self._asked("replaced")
        if tip.block_hash not in {None, self.blocks[tip.position][0]}:
            raise ChainUnavailable(f"the node has another block {tip.position} than was read")
        return {a for a in known_blocks if self.blocks[a.position][0] != a.block_hash}

    async def verify(self, transfers: Sequence[Transfer], *, head: Head) -> list[Verification]:
        await self._asked("verify")
        self.verified.append(list(transfers))
        return [self._look(transfer) for transfer in transfers]

    def _look(self, transfer: Transfer) -> Verification:
        if transfer.block_number not in self.blocks:  # nobody holds it: nothing is known of it
            return Verification(
                transfer, VerificationOutcome.NOT_YET, 0, why=f"block {transfer.block_number} is not held"
            )
        block_hash, held = self.blocks[transfer.block_number]
        if block_hash != transfer.block_hash or transfer.tx_hash not in {t.tx_hash for t in held}:
            return Verification(transfer, VerificationOutcome.GONE, 0)
        outcome = self.outcomes.get(transfer.tx_hash, VerificationOutcome.CREDITED)
        filled = transfer._replace(sender=SENDER, block_time=self.times[transfer.block_number])
        return Verification(filled, outcome, transfer.amount if outcome is VerificationOutcome.CREDITED else 0)

    async def inspect(self, tx_hash: str, targets: Targets) -> list[Transfer]:
        await self._asked("inspect")
        return [t for _, held in self.blocks.values() for t in held if t.tx_hash == tx_hash]

    async def transaction(self, tx_hash: str) -> Transaction | None:
        await self._asked("transaction")
        if tx_hash in self.transactions:
            return self.transactions[tx_hash]
        for number, (block_hash, held) in self.blocks.items():
            moved = tuple(t for t in held if t.tx_hash == tx_hash)
            if moved:
                return Transaction(tx_hash, True, number, block_hash, moved, self._head())
        return None

    async def token(self, address: str) -> TokenMeta | None:
        await self._asked("token")
        return self.tokens.get(address)

    async def balances(self, holdings: Sequence[BalanceKey], *, confirmed: bool = False) -> Balances:
        await self._asked("balances")
        return Balances(self.top, self.times[self.top], self.holdings(holdings))

    async def token_receipts(self, holdings: Sequence[BalanceKey], *, first: int, last: int) -> list[TokenReceipt]:
        await self._asked("movements")
        return [movement for movement in self.moved if first <= movement.block_number <= last]

    async def follow_heads(
        self, wake: Callable[[], Awaitable[bool]], count: Callable[[str, SocketEvent], None]
    ) -> None:
        self.announce = wake

    async def self_test(self) -> list[str]:
        await self._asked("self_test")
        return []


_protocol: type[ChainAdapter] = FakeChain  # it promises what every adapter promises
