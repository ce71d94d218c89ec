"""Read waiting addresses a second time, another way: an index may have lagged when the running scan passed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from chains.base import ChainAdapter
from chains.errors import ChainError
from chains.types import Fork, Rail, RescanResult, Targets, Transfer, UnreadableLog, VerificationOutcome
from config.catalog import Chain
from kernel.clock import Clock
from kernel.logging import fields
from kernel.store.database import Database, Tx
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.wakeup import Wakeup
from scanner import ingest
from scanner.matching import GRACE_MS, LOOK_BACK_MS
from scanner.page_result import PageResult
from scanner.reading.unread import remember
from scanner.store import folds, intents, transfers
from scanner.store.errors import StoreError
from scanner.store.intents import Reading
from scanner.upkeep.health import ChainHealth, Sweep

log = logging.getLogger(__name__)

SWEPT_S = 3 * 3600
FIRST_SWEEP_S = 600.0  # after the start, for processes that do not live for an interval
TRIED_S = 3600.0  # so long an intent waits for its second reading before it expires without
BATCH_SIZE = 200  # addresses in one question
MAX_PROBLEMS = 20
MOST_VERIFIED = 200  # transactions of one reading that are asked about, however many a stranger or an endpoint shows

T = TypeVar("T")


class SecondReader:
    """
    Sweeps the last hours of one chain's waiting addresses, and takes a last look before a direct intent expires.

    Runs beside the polls: it is paced, and nobody's confirmation waits for it.
    """

    def __init__(
        self,
        *,
        chain: Chain,
        adapter: ChainAdapter,
        db: Database,
        clock: Clock,
        health: ChainHealth,
        late_watch_ms: int,
        interval_s: float,
        monotonic: Callable[[], float],
        on_recorded: Callable[[PageResult], None],
        on_read: Callable[[], None],
    ) -> None:
        self.wakeup = Wakeup()
        self.problems: Sequence[str] = ()
        self._chain = chain
        self._adapter = adapter
        self._db = db
        self._clock = clock
        self._health = health
        self._late_ms = late_watch_ms
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._on_recorded = on_recorded
        self._on_read = on_read
        self._next_sweep = monotonic() + min(interval_s, FIRST_SWEEP_S)
        self._tried_since: dict[str, float] = {}  # intents whose last look has not succeeded yet
        self._outage = FailureLog(log, f"[scanner] second reading of chain {chain.chain_id}")

    async def run(self) -> None:
        """Read when there is something to read again, for ever; what fails is tried again at the next ring."""
        while True:
            await self.wakeup.wait()
            try:
                await self.turn()
            except (ChainError, StoreError) as exc:
                self._outage.failed(str(exc))
            else:
                self._outage.recovered()

    async def ask(self, tx: Tx, read_to: int) -> None:
        """Have a turn taken if an intent waits for its last look, or the time for a sweep has come."""
        if await self._due(tx, read_to, limit=1) or self._monotonic() >= self._next_sweep:
            self.wakeup.wake()

    async def turn(self) -> None:
        """Take the last looks that are due, then sweep if it is time."""
        read = self._health.read.get(Rail.DIRECT)
        if read is not None and read.time is not None:
            await self._last_looks(read.time)
        if self._monotonic() >= self._next_sweep:
            self._next_sweep = self._monotonic() + self._interval_s
            await self.sweep()

    async def _due(self, tx: Tx, read_to: int, *, limit: int) -> list[Reading]:
        before = read_to * 1000 - GRACE_MS
        return await intents.to_read_again(tx, self._chain.chain_id, before, grace_ms=GRACE_MS, limit=limit)

    async def _last_looks(self, read_to: int) -> None:
        """Look once more at the addresses of intents that are about to expire."""
        async with self._db.read() as tx:
            due = await self._due(tx, read_to, limit=BATCH_SIZE)
        if not due:
            self._tried_since.clear()
            return
        until = max(_deadline(reading) for reading in due)
        unread = (await self._read_again(_destinations(due), due, since=min(map(self._since, due)), until=until)).unread
        now = self._monotonic()
        self._tried_since = {
            reading.intent_id: self._tried_since.get(reading.intent_id, now)
            for reading in due
            if reading.destination in unread
        }
        given_up = [r for r in due if now - self._tried_since.get(r.intent_id, now) >= TRIED_S]
        if given_up:
            async with self._db.write() as tx:
                for reading in given_up:
                    await intents.set_unread(tx, reading.intent_id, unread[reading.destination])
        if given_up or len(unread) < len({reading.destination for reading in due}):
            self._on_read()

    def _since(self, reading: Reading) -> int:
        """Return from where a last look reads: on EVM what a sweep has covered is not read a third time."""
        begin = (reading.created_at - LOOK_BACK_MS) // 1000
        return max(begin, reading.swept_to or begin) if self._adapter.counts_blocks else begin

    async def sweep(self) -> None:
        """Read the last hours of every address once more that waits, or waited within them."""
        if not self._health.read:
            return
        times = [read.time for read in self._health.read.values()]
        if None in times:
            return  # not read yet in this process: the next interval sweeps
        until = min(time for time in times if time is not None)
        since = until - SWEPT_S
        async with self._db.read() as tx:
            waiting = await intents.waiting_direct(tx, self._chain.chain_id)
            # What was paid to an intent that had just ended, and came late into an index, was listed by nobody.
            watched = await intents.direct_destinations(tx, self._chain.chain_id, since * 1000)
            proxied = await intents.any_awaited_proxy(tx, self._chain.chain_id, since * 1000)
        ended = sorted(watched - {reading.destination for reading in waiting})
        parts = [*((_destinations(part), part) for part in _parts(waiting)), *((part, []) for part in _parts(ended))]
        covered: list[int] = [] if parts or proxied else [until]
        problems: list[str] = []
        for destinations, readings in parts:
            again = await self._read_again(destinations, readings, since=since, until=until)
            problems += [f"address {each} could not be swept: {why}" for each, why in again.unread.items()]
            # One address that nobody can read once hid how far all the others were.
            any_read = len(again.unread) < len(destinations)
            covered.append(until if any_read else again.read_to or since)
        if proxied and Rail.PROXY in self._adapter.rails:
            reached, why = await self._sweep_proxy(since, until)
            covered.append(reached)
            problems += [] if why is None else [f"the proxy's events could not be swept: {why}"]
        self._show(covered, since, problems)

    def _show(self, covered: Sequence[int], since: int, problems: Sequence[str]) -> None:
        """Tell how far the sweep came where it came anywhere, and what it could not read."""
        more = len(problems) - MAX_PROBLEMS
        self.problems = [*problems[:MAX_PROBLEMS], *([f"{more} more could not be swept"] if more > 0 else [])]
        reached = [moment for moment in covered if moment > since]
        if reached:
            self._health.sweep = Sweep(min(reached), self._clock.now_ms())

    async def _sweep_proxy(self, since: int, until: int) -> tuple[int, str | None]:
        """
        Read the proxy's events once more; return how far that went, and why no further.

        A pause nine times as long as each question keeps it to a tenth.
        """
        time = since
        try:
            head = await self._adapter.head()
            cursor = await self._adapter.cursor_before(since, head)
            while time < until and cursor.position < head.position:
                started = self._monotonic()
                page = await self._adapter.scan(Rail.PROXY, Targets(), cursor, head)
                if isinstance(page, Fork):
                    return time, "the chain was reorganised meanwhile"
                await self._keep(Rail.PROXY, await self._standing(page.transfers), page.unread, moment=head.time * 1000)
                cursor, time = page.cursor, page.time
                await asyncio.sleep(9 * (self._monotonic() - started))
        except ChainError as exc:
            return time, str(exc)
        return until, None

    async def _keep(
        self, rail: Rail, found: Sequence[Transfer], unread: Sequence[UnreadableLog], *, moment: int
    ) -> None:
        async with self._db.write() as tx:
            now = self._clock.now_ms()
            recorded = await ingest.record_page(
                tx, self._chain.chain_id, found, now=now, late_ms=self._late_ms, moment=moment
            )
            await remember(tx, self._chain.chain_id, rail, unread, now=now)
        self._on_recorded(recorded)

    async def _read_again(
        self, destinations: Collection[str], readings: Sequence[Reading], *, since: int, until: int
    ) -> RescanResult:
        """Read these addresses once more, store what is found and how far their intents are read; say what was told."""
        again = await self._adapter.rescan(destinations, since=since, until=until)
        read = [r.intent_id for r in readings if r.destination not in again.unread and self._continues(r, since)]
        found = await self._standing(again.transfers)
        now = self._clock.now_ms()
        head = self._health.head
        async with self._db.write() as tx:
            recorded = await ingest.record_page(
                tx,
                self._chain.chain_id,
                found,
                now=now,
                late_ms=self._late_ms,
                moment=None if head is None else head.time * 1000,
            )
            await remember(tx, self._chain.chain_id, Rail.DIRECT, again.unread_logs, now=now)
            await intents.set_swept_to(tx, read, until)
        if recorded.matched:
            log.warning(
                "[scanner] a second reading found what the first had missed",
                extra=fields(chain=self._chain.chain_id, transfers=recorded.matched),
            )
        self._on_recorded(recorded)
        return again

    async def _standing(self, found: Sequence[Transfer]) -> Sequence[Transfer]:
        """
        Leave out what nobody had read before and stands in a block that another one has replaced.

        Another endpoint may never have heard of a reorganisation. It lies below the checkpoint, so no fork is
        noticed there, and what can never count is looked at by nobody again.
        """
        chain_id, head = self._chain.chain_id, self._health.head
        if not found or head is None:
            return found
        async with self._db.read() as tx:
            known = await transfers.places(tx, chain_id, {transfer.tx_hash for transfer in found})
            held = await folds.parts_of(tx, chain_id, found)
        known |= {(part.tx_hash, part.block_hash) for part in held.values()}
        # One of each transaction: a stranger chooses how many there are in it.
        new = {place: t for t in found if (place := (t.tx_hash, t.block_hash)) not in known}
        if not new:
            return found
        try:
            seen = await self._adapter.verify(list(new.values())[:MOST_VERIFIED], head=head)
        except ChainError as exc:
            # What counts is looked at again before anything is confirmed; to leave it out could miss a payment.
            log.debug("what a second reading of chain %s found cannot be looked at yet: %s", chain_id, exc)
            return found
        gone = {
            (each.transfer.tx_hash, each.transfer.block_hash)
            for each in seen
            if each.outcome is VerificationOutcome.GONE
        }
        return [transfer for transfer in found if (transfer.tx_hash, transfer.block_hash) not in gone]

    def _continues(self, reading: Reading, since: int) -> bool:
        """Say whether a reading from a moment on leaves no gap since before the intent's creation."""
        return since <= self._since(reading)


def _parts(wanted: Sequence[T]) -> list[Sequence[T]]:
    return [wanted[start : start + BATCH_SIZE] for start in range(0, len(wanted), BATCH_SIZE)]


def _destinations(readings: Sequence[Reading]) -> Collection[str]:
    return sorted({reading.destination for reading in readings})


def _deadline(reading: Reading) -> int:
    """Return the last second in which an intent can be paid."""
    return -(-((reading.expires_at or 0) + GRACE_MS) // 1000)
