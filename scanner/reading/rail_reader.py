"""One rail of one chain: where it was read to, page by page, and what a reorganisation takes back."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar, cast

from chains.base import ChainAdapter
from chains.errors import ChainError, ChainUnavailable, LogsBehind
from chains.types import Cursor, Fork, Head, Rail, ScanPage, Targets, Transfer, UnreadableLog
from config.catalog import Chain
from kernel.clock import Clock
from kernel.logging import fields
from kernel.store.database import Database, Tx
from scanner import ingest
from scanner.matching import LOOK_BACK_MS
from scanner.page_result import PageResult
from scanner.reading.unread import UnreadLogs, shows
from scanner.store import checkpoints, intents, transfers
from scanner.store import unread as unread_store
from scanner.store.checkpoints import Checkpoint
from scanner.store.intents import Reading
from scanner.store.unread import Remembered
from scanner.upkeep.health import Read
from scanner.upkeep.metrics import Metrics

log = logging.getLogger(__name__)

REREAD_S = 60  # an endpoint may answer a block before it has all its logs: read the last minute again
LOGS_BEHIND_S = 60  # how much older than the head the newest block may be whose logs are served
KEEP_ANCHORS = 1000  # positions of block hashes remembered, at least
FORKS_A_POLL = 3
TRAIL = 1000  # polls: ten minutes of them, and more
STRANDED_S = 600.0  # a checkpoint above every head for so long was made up
REMEMBERED_S = 3600.0  # how long operators are shown that it was taken back

T = TypeVar("T")
U = TypeVar("U")


class Held(NamedTuple):
    """What the store holds of a rail when a poll begins."""

    checkpoint: Checkpoint | None
    unread: Sequence[Remembered]


class LastPage(NamedTuple):
    """The page at the end of a reading in which nothing was, and from where it was read."""

    page: ScanPage
    before: Cursor


class RailReader:
    """Reads one rail with a cursor of its own, so that what stops it does not stop the other."""

    def __init__(
        self,
        rail: Rail,
        *,
        chain: Chain,
        adapter: ChainAdapter,
        db: Database,
        clock: Clock,
        metrics: Metrics,
        late_watch_ms: int,
        on_recorded: Callable[[PageResult], None],
        monotonic: Callable[[], float],
    ) -> None:
        self.rail = rail
        self.read: Read | None = None  # as it was seen in this process
        self.cursor: Cursor | None = None  # the same, as the next page begins
        self._chain = chain
        self._adapter = adapter
        self._db = db
        self._clock = clock
        self._metrics = metrics
        self._late_ms = late_watch_ms
        self._on_recorded = on_recorded
        self._monotonic = monotonic
        self.unread = UnreadLogs(
            rail, chain_id=chain.chain_id, adapter=adapter, db=db, clock=clock, keep=self._keep_found
        )
        self._trail: deque[tuple[int, int]] = deque(maxlen=TRAIL)  # (position, unix seconds) of what was read
        self._above_since: float | None = None
        self._taken_back: tuple[float, str] | None = None
        self.went_back = False  # at the last reading, from above every head
        self.last: LastPage | None = None  # of the last reading: the checkpoint is still to be moved over it
        self.reorganised: tuple[int, str | None] | None = None  # how deep, and which block went, at the last reading

    def begin(self) -> None:
        """Forget where it was read to: another process may have gone on, or back, since."""
        self.read = self.cursor = None
        self._trail.clear()
        self._above_since = None
        self.unread.went_back()

    @property
    def problems(self) -> list[str]:
        """What operators have to know of this rail."""
        found = self.unread.problems
        if self._taken_back is not None and self._monotonic() - self._taken_back[0] <= REMEMBERED_S:
            found.append(self._taken_back[1])
        return found

    async def catch_up(
        self, head: Head, targets: Targets, new: Sequence[Reading], held: Held, *, goal: Head | None = None
    ) -> None:
        """
        Read every page up to the head; before that, for the `new` direct intents, the minutes before their creation.

        With a `goal` below the head, read up to that instead. Over a `last` page without anything in it the caller
        moves the checkpoint, with those of other rails.

        Raises:
            ChainError: it could not be read; everything found before is stored.
        """
        self.went_back, self.reorganised, self.last = False, None, None
        self.unread.know(held.unread)
        await self.unread.read_again(targets, head)
        try:
            await self._catch_up(head, targets, new, goal or head, held.checkpoint)
        finally:
            await self.unread.refresh()

    async def _catch_up(
        self, head: Head, targets: Targets, new: Sequence[Reading], goal: Head, held: Checkpoint | None
    ) -> None:
        cursor = await self._start(held, head)
        if new:
            await self._look_back(new, targets, cursor, head)
        for _ in range(FORKS_A_POLL):
            if self._is_stranded(cursor, head):
                cursor = await self._take_back(cursor, head)
            fork = await self._read_pages(cursor, head, targets, goal)
            if fork is None:
                return
            await self._unwind(fork)
            async with self._db.read() as tx:
                held = await checkpoints.get(tx, self._chain.chain_id, self.rail)
            cursor = await self._start(held, head)
        raise ChainUnavailable(f"chain {self._chain.chain_id}: endpoints disagree about the canonical chain")

    async def _start(self, held: Checkpoint | None, head: Head) -> Cursor:
        chain_id = self._chain.chain_id
        if held is None:
            cursor, time = await self._first(head), None
            async with self._db.write() as tx:
                now = self._clock.now_ms()
                await checkpoints.put(tx, chain_id, self.rail, cursor, time=None, now=now, keep_from=-1)
        else:
            cursor, time = held
        if self.read is None or self.read.position != cursor.position:
            self.unread.went_back()
            self.read = Read(cursor.position, time)
        self.cursor = cursor
        return cursor

    async def _first(self, head: Head) -> Cursor:
        """
        Return where a store without a checkpoint begins.

        Registrations are taken before the chain could be read for the first time: what was paid to them
        meanwhile lies above the creation of the oldest.
        """
        usual = self._adapter.first_cursor(head)
        async with self._db.read() as tx:
            oldest = await intents.oldest(tx, self._chain.chain_id, head.time * 1000 - self._late_ms)
        if oldest is None:
            return usual
        before = await self._adapter.cursor_before((oldest - LOOK_BACK_MS) // 1000, head)
        return min(usual, before, key=lambda cursor: cursor.position)

    async def _look_back(self, new: Sequence[Reading], targets: Targets, cursor: Cursor, head: Head) -> None:
        """
        Read what direct intents received before the running scan knew of them.

        A buyer may pay while the backend still registers, and a block is read before both are known here.
        """
        since = (min(reading.created_at for reading in new) - LOOK_BACK_MS) // 1000
        theirs = Targets(frozenset(reading.destination for reading in new), tokens=targets.tokens)
        goal = Head(cursor.position, cursor.block_hash, head.time)
        after = await self._position_before(since, cursor, head)
        found: dict[tuple[str, str], Transfer] = {}
        unread: list[UnreadableLog] = []
        while after.position < goal.position:
            page = await self._adapter.scan(self.rail, theirs, after, goal)
            if isinstance(page, Fork):
                raise ChainUnavailable("the chain was reorganised meanwhile")
            found |= {(transfer.tx_hash, transfer.event_key): transfer for transfer in page.transfers}
            unread += page.unread
            after = page.cursor
        dated = await self._dated(list(found.values()), head)
        now = self._clock.now_ms()
        async with self._db.write() as tx:
            recorded = await self._record(tx, dated, now, head)
            await self.unread.remember(tx, unread)
            await intents.set_looked_back(tx, {reading.intent_id for reading in new})
        self._on_recorded(recorded)

    async def _position_before(self, time: int, cursor: Cursor, head: Head) -> Cursor:
        """Return a position under which nothing is younger than a moment, from what was read if that tells it."""
        if self.read is not None and self.read.time is not None and self.read.time < time:
            return cursor
        for position, read_at in reversed(self._trail):
            if read_at < time and position < cursor.position:
                return Cursor(position)
        return await self._adapter.cursor_before(time - 1, head)

    async def _read_pages(self, cursor: Cursor, head: Head, targets: Targets, goal: Head) -> Fork | None:
        try:
            return await self._read_to_the_goal(cursor, head, targets, goal)
        except LogsBehind as exc:
            # A node whose logs come a few blocks after its head is no failure; one whose logs stopped is.
            if exc.time is None or head.time - exc.time > LOGS_BEHIND_S:
                raise
            return None

    async def _read_to_the_goal(self, cursor: Cursor, head: Head, targets: Targets, goal: Head) -> Fork | None:
        page = await self._adapter.scan(self.rail, targets, cursor, goal, reread_s=REREAD_S)
        while isinstance(page, ScanPage):
            if page.cursor.position >= goal.position:
                if page.transfers or page.unread or page.cursor == cursor:
                    await self._store(page, cursor, head)
                else:
                    self.last = LastPage(page, cursor)
                return None
            # The next page travels while this one is written down.
            ahead = self._adapter.scan(self.rail, targets, page.cursor, goal)
            _, following = await _both(self._store(page, cursor, head), ahead)
            cursor, page = page.cursor, following
        return page

    async def pass_over(self, tx: Tx, last: LastPage, head: Head) -> bool:
        """
        Move the checkpoint over a page in which nothing was: `arrive` once it is committed.

        Where something is stored that the page does not show, move nothing and say so: `store_last` asks for it.
        """
        page, before = last
        if await self._stored_unseen(tx, page, before):
            return False
        await self._move(tx, page, self._clock.now_ms(), head)
        return True

    async def store_last(self, last: LastPage, head: Head) -> None:
        """
        Store what the page at the end of a reading tells, after asking for blocks in which it shows nothing any more.

        Raises:
            ChainError: they could not be asked for; the checkpoint is where it was.
        """
        await self._store(last.page, last.before, head)

    def arrive(self, page: ScanPage, recorded: PageResult) -> None:
        """Go on from the end of a page, whose checkpoint is stored."""
        self._metrics.logs_read.labels(str(self._chain.chain_id)).inc(page.rows_read)
        self.read, self.cursor = Read(page.cursor.position, page.time), page.cursor
        self._trail.append((page.cursor.position, page.time))
        self._on_recorded(recorded)

    async def _move(self, tx: Tx, page: ScanPage, now: int, head: Head) -> None:
        keep_from = head.position - max(KEEP_ANCHORS, 2 * self._chain.confirmation_threshold)
        await checkpoints.put(
            tx, self._chain.chain_id, self.rail, page.cursor, time=page.time, now=now, keep_from=keep_from
        )

    async def _store(self, page: ScanPage, before: Cursor, head: Head) -> None:
        """One transaction: the findings of a page and the checkpoint that says it was read."""
        chain_id = self._chain.chain_id
        recorded = PageResult()
        if page.cursor != before or page.transfers or page.unread:
            found = await self._dated(page.transfers, head)
            now = self._clock.now_ms()
            asked: set[Cursor] = set()
            gone: set[Cursor] = set()
            taken_back = PageResult()
            while True:
                async with self._db.write() as tx:
                    unsure = await self._stored_unseen(tx, page, before) - asked
                    if not unsure:
                        if gone:
                            taken_back = await ingest.take_back(tx, chain_id, self.rail, gone, now=now)
                        recorded = await self._record(tx, found, now, head)
                        await self.unread.remember(tx, page.unread)
                        await self._move(tx, page, now, head)
                        break
                # Not while the store is held: an endpoint may take its time.
                blocks = sorted(unsure, key=lambda block: block.position)
                gone |= await self._adapter.replaced(blocks, tip=page.cursor)
                asked |= unsure
            if gone:
                self._on_recorded(taken_back)
        self.arrive(page, recorded)

    async def _stored_unseen(self, tx: Tx, page: ScanPage, before: Cursor) -> set[Cursor]:
        """
        Return the blocks a page went over in which something is stored already, and of which the page shows nothing.

        A sweep stores what lies above the checkpoint, and a checkpoint is taken back. Nobody notices a fork there:
        what was replaced before it was read would stay listed beside what came back in another block.
        """
        end = page.cursor.position
        stored = await ingest.blocks_between(tx, self._chain.chain_id, self.rail, before.position, end)
        return stored - {Cursor(t.block_number, t.block_hash) for t in page.transfers} if stored else stored

    async def _keep_found(self, log: UnreadableLog, told: Sequence[Transfer], head: Head) -> bool:
        """Store what a log that could not be read before turned out to be, and say whether that is all of it."""
        found = await self._dated(told, head)
        async with self._db.write() as tx:
            recorded = await self._record(tx, found, self._clock.now_ms(), head)
            # A block that shows nothing of a transaction that is stored does not tell how much there is in it.
            whole = shows(told, log) or not await transfers.stands(tx, self._chain.chain_id, self.rail, log.tx_hash)
            if whole:
                await unread_store.forget(tx, self._chain.chain_id, self.rail, log)
        self._on_recorded(recorded)
        return whole

    async def _record(self, tx: Tx, found: Sequence[Transfer], now: int, head: Head) -> PageResult:
        return await ingest.record_page(
            tx, self._chain.chain_id, found, now=now, late_ms=self._late_ms, moment=head.time * 1000
        )

    async def _dated(self, found: Sequence[Transfer], head: Head) -> Sequence[Transfer]:
        """Fill in the times of blocks on which it depends at once whose a transfer is and whether it came in time."""
        if all(transfer.block_time is not None for transfer in found):
            return found
        async with self._db.read() as tx:
            asked = await ingest.undated(tx, self._chain.chain_id, found)
        if not asked:
            return found
        try:
            seen = await self._adapter.verify(asked, head=head)
        except ChainError as exc:
            # It counts for now, and is judged by its time when it is looked at again, before anything is confirmed.
            log.debug("times of blocks of chain %s cannot be read yet: %s", self._chain.chain_id, exc)
            return found
        times = {(v.transfer.block_number, v.transfer.block_hash): v.transfer.block_time for v in seen}
        return [
            t._replace(block_time=times.get((t.block_number, t.block_hash))) if t.block_time is None else t
            for t in found
        ]

    async def _unwind(self, fork: Fork) -> None:
        """
        Go back to the newest block that is still canonical and take back what lay above it.

        The hashes at the ends of pages are sparse, and the nearest may lie far below the fork. All is read again
        from there; but the blocks that hold transfers are asked for one by one, and none is taken back in vain.
        """
        chain_id = self._chain.chain_id
        async with self._db.read() as tx:
            known_blocks = await checkpoints.known_blocks(tx, chain_id, self.rail)
        ancestor = await self._adapter.latest_canonical(known_blocks)
        lowest = ancestor
        if lowest is None:
            oldest = known_blocks[-1].position if known_blocks else fork.at.position
            lowest = Cursor(max(0, oldest - KEEP_ANCHORS))
        if ancestor is None:
            log.error(
                "[%s] reorganisation below every block hash we remember: reading again from far below",
                self._chain.chain_type,
                extra=fields(chain=chain_id, position=lowest.position),
            )
        depth = fork.at.position - lowest.position
        if depth <= 0:
            return
        async with self._db.read() as tx:
            ours = await ingest.blocks_between(tx, chain_id, self.rail, lowest.position, fork.at.position)
        newest_first = sorted(ours, key=lambda block: block.position, reverse=True)
        nearest = await self._adapter.latest_canonical(newest_first) if newest_first else None
        gone = newest_first if nearest is None else newest_first[: newest_first.index(nearest)]
        async with self._db.write() as tx:
            recorded = await ingest.rewind(tx, chain_id, self.rail, lowest, gone=gone, now=self._clock.now_ms())
        log.warning(
            "[%s] reorganisation",
            self._chain.chain_type,
            extra=fields(chain=chain_id, rail=self.rail, depth=depth, transfers=recorded.reorged),
        )
        self.reorganised = max((depth, fork.at.block_hash), self.reorganised or (0, None), key=lambda each: each[0])
        self._on_recorded(recorded)

    def _is_stranded(self, cursor: Cursor, head: Head) -> bool:
        """Say whether the checkpoint has lain above the head for so long that its blocks cannot have been real."""
        if cursor.position <= head.position:
            self._above_since = None
            return False
        if self._above_since is None:
            self._above_since = self._monotonic()
        return self._monotonic() - self._above_since >= STRANDED_S

    async def _take_back(self, cursor: Cursor, head: Head) -> Cursor:
        """
        Go back to what the chain holds, and take nothing back: a block nobody holds is unknown, not reorganised.

        A node that made up a head left it behind. What was found above is looked at again when the chain gets there.
        """
        chain_id = self._chain.chain_id
        async with self._db.read() as tx:
            known_blocks = await checkpoints.known_blocks(tx, chain_id, self.rail)
        below = [known for known in known_blocks if known.position <= head.position]
        to = await self._adapter.latest_canonical(below) if below else None
        if to is None:
            lowest = below[-1].position if below else head.position
            to = Cursor(max(0, min(lowest, head.position - REREAD_S)))
        async with self._db.write() as tx:
            await checkpoints.rewind(tx, chain_id, self.rail, to, now=self._clock.now_ms())
            doubted = await transfers.doubt_above(tx, chain_id, self.rail, to.position)
        self._above_since = None
        self.went_back = True
        self.unread.went_back()
        self.read, self.cursor = Read(to.position, None), to
        problem = (
            f"the {self.rail} rail had been read to {cursor.position}, above every endpoint's head for 10 minutes:"
            f" it is read again from {to.position}"
        )
        self._taken_back = (self._monotonic(), problem)
        log.error(
            "[%s] %s", self._chain.chain_type, problem, extra=fields(chain=chain_id, head=head.position, again=doubted)
        )
        return to


async def _both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run two things at once; when one fails the other still ends before the failure is raised."""
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    for result in (one, two):
        if isinstance(result, BaseException):
            raise result
    return cast("T", one), cast("U", two)
