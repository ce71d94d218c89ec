"""Logs that no endpoint showed in a way that can be read: the cursor goes on, and they are read again at every poll."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from chains.base import ChainAdapter
from chains.errors import ChainError, ChainUnavailable
from chains.types import Cursor, Head, Rail, ScanPage, Targets, Transfer, UnreadableLog
from kernel.clock import Clock
from kernel.logging import fields
from kernel.store.database import Database, Tx
from scanner.store import unread
from scanner.store.unread import Remembered
from scanner.upkeep.health import Stuck

log = logging.getLogger(__name__)

MOST_REMEMBERED = 1_000  # of one rail; then it waits for an endpoint that can be read
READ_AGAIN_A_POLL = 10
MOST_SHOWN = 5  # that name no transaction, among the problems

Keep = Callable[[UnreadableLog, Sequence[Transfer], Head], Awaitable[bool]]


async def remember(tx: Tx, chain_id: int, rail: Rail, logs: Sequence[UnreadableLog], *, now: int) -> None:
    """
    Remember logs that were passed.

    Raises:
        ChainUnavailable: there are too many of them to go on without.
    """
    if not logs:
        return
    await unread.put(tx, chain_id, rail, logs, now)
    if await unread.count(tx, chain_id, rail) > MOST_REMEMBERED:
        raise ChainUnavailable(f"more than {MOST_REMEMBERED} logs of the {rail} rail cannot be read: {logs[0].why}")


class UnreadLogs:
    """
    Reads one rail's unreadable logs again: in their blocks, from any endpoint, and in their transactions' receipts.

    One of them once stopped a whole rail; passed over without a word it would have been a payment lost.
    """

    def __init__(
        self, rail: Rail, *, chain_id: int, adapter: ChainAdapter, db: Database, clock: Clock, keep: Keep
    ) -> None:
        self._rail = rail
        self._chain_id = chain_id
        self._adapter = adapter
        self._db = db
        self._clock = clock
        self._keep = keep
        self._known: Sequence[Remembered] = ()
        self._changed = False  # in the store, since they were looked up
        self._read: dict[tuple[int, str | None], None] = {}  # since the last rewind: pages overlap
        self._whys: dict[tuple[int, str | None], str] = {}  # of the last attempt
        self._turn = 0

    @property
    def stuck(self) -> list[Stuck]:
        """What waits and can be named by its transaction, the longest first."""
        return [
            Stuck(log.tx_hash, since, self._whys.get(_key(log), log.why))
            for log, since in self._known
            if log.tx_hash is not None
        ]

    @property
    def problems(self) -> list[str]:
        """What waits and names no transaction."""
        nameless = [log for log, _ in self._known if log.tx_hash is None]
        return [
            f"a log of the {self._rail} rail in block {log.position} cannot be read, and names no transaction:"
            f" {self._whys.get(_key(log), log.why)}"
            for log in nameless[:MOST_SHOWN]
        ]

    def went_back(self) -> None:
        """Take everything above some block as not read yet."""
        self._read.clear()

    async def remember(self, tx: Tx, logs: Sequence[UnreadableLog]) -> None:
        """
        Remember what a page lacks, in the transaction that says the page was read.

        Raises:
            ChainUnavailable: there are too many of them to go on without.
        """
        new = [each for each in logs if _key(each) not in self._read]
        self._changed |= bool(new)
        await remember(tx, self._chain_id, self._rail, new, now=self._clock.now_ms())

    async def refresh(self) -> None:
        """Look up what is remembered, if that is not what was known."""
        if self._changed:
            async with self._db.read() as tx:
                held = await unread.of_chain(tx, self._chain_id)
            self.know(held.get(self._rail, ()))

    def know(self, held: Sequence[Remembered]) -> None:
        """Take over what the store remembers."""
        self._known, self._changed = held, False
        keys = {_key(log) for log, _ in self._known}
        self._whys = {key: why for key, why in self._whys.items() if key in keys}

    async def read_again(self, targets: Targets, head: Head) -> None:
        """Read some of them again, each in its turn; what can be read now is kept. Raises nothing of the chain's."""
        due = [each.log for each in self._known if each.log.position <= head.position]
        start = self._turn % len(due) if due else 0
        for each in (due[start:] + due[:start])[:READ_AGAIN_A_POLL]:
            self._turn += 1
            found = await self._read_one(each, targets, head)
            if found is None:
                continue
            if not await self._keep(each, found, head):
                self._whys[_key(each)] = f"{each.why}; its block shows nothing of it"
            else:
                self._changed = True
                self._read[_key(each)] = None
                log.info(
                    "[scanner] a log that could not be read was read",
                    extra=fields(chain=self._chain_id, rail=self._rail, tx=each.tx_hash, block=each.position),
                )
        while len(self._read) > MOST_REMEMBERED:
            del self._read[next(iter(self._read))]

    async def _read_one(self, each: UnreadableLog, targets: Targets, head: Head) -> list[Transfer] | None:
        """Return what the transaction of a log holds, or its block; None while neither can be read."""
        block = Head(each.position, None, head.time)
        whys, in_block = [each.why], None
        try:
            page = await self._adapter.scan(self._rail, targets, Cursor(each.position - 1), block)
            if isinstance(page, ScanPage) and not page.unread:
                in_block = page.transfers
                if shows(in_block, each):
                    return in_block
        except ChainError as exc:
            whys.append(str(exc))
        try:
            # A transaction that no endpoint holds has moved nothing that is known: only its block can tell then.
            found = [] if each.tx_hash is None else await self._adapter.inspect(each.tx_hash, targets)
            if found:
                return found
        except ChainError as exc:
            whys.append(str(exc))
        if in_block is None:
            self._whys[_key(each)] = "; ".join(whys)
        return in_block


def shows(found: Iterable[Transfer], log: UnreadableLog) -> bool:
    """Say whether what was found is of the transaction a log names; one that names none is all of its block."""
    return log.tx_hash is None or any(transfer.tx_hash == log.tx_hash for transfer in found)


def _key(log: UnreadableLog) -> tuple[int, str | None]:
    return log.position, log.tx_hash
