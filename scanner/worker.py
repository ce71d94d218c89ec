"""The one worker: reads a chain page by page, writes down what it found, confirms what is deep enough."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

from chains.base import ChainAdapter
from chains.errors import ChainError, ChainUnavailable
from chains.types import Cursor, Fork, Head, ScanPage, Targets
from config.catalog import Chain, Token
from config.logging import fields
from scanner import findings
from scanner.bell import Bell
from scanner.clock import Clock
from scanner.confirmations import Confirmer
from scanner.findings import Recorded
from scanner.health import ChainHealth, ChainState
from scanner.matching import TOLERANCE_MS
from scanner.metrics import Metrics
from scanner.outage import Outage
from scanner.store import checkpoints, intents
from scanner.store.database import Database
from scanner.store.errors import StoreError

log = logging.getLogger(__name__)

REREAD_S = 60  # an endpoint may answer a block before it has all its logs: read the last minute again
KEEP_ANCHORS = 1000  # positions of block hashes remembered, at least
FORKS_A_POLL = 3

T = TypeVar("T")
U = TypeVar("U")


class ChainWorker:
    """
    Watches one chain. Whatever differs between families is behind the adapter.

    `on_events` is called after a commit that queued webhooks.
    """

    def __init__(
        self,
        *,
        chain: Chain,
        adapter: ChainAdapter,
        tokens: Sequence[Token],
        db: Database,
        clock: Clock,
        metrics: Metrics,
        late_watch_ms: int,
        on_events: Callable[[], None],
    ) -> None:
        self.chain = chain
        self.adapter = adapter
        self.health = ChainHealth(chain.chain_id)
        self.bell = Bell()
        self.refused_tokens: frozenset[str] = frozenset()  # keys of tokens that are not what the registry says
        self._tokens = tokens
        self._db = db
        self._clock = clock
        self._metrics = metrics
        self._late_ms = late_watch_ms
        self._on_events = on_events
        self._confirmer = Confirmer(chain, adapter, db, clock)
        self._polling = asyncio.Lock()
        self._outage = Outage(log, f"[{chain.chain_type}] chain {chain.chain_id}")
        self._lagging = False
        self._best_head = -1
        self._tested = False
        self.steps = 0  # taken so far, for whoever watches that any are taken

    @property
    def busy(self) -> bool:
        """Whether a poll is under way."""
        return self._polling.locked()

    async def run(self) -> None:
        """Poll at every ring, for ever. A failing chain is unhealthy and harms nobody else."""
        self.bell.ring()
        while True:
            await self.bell.wait()
            try:
                await self.poll()
            except (ChainError, StoreError) as exc:
                self._failed(str(exc))
            except Exception as exc:  # the one bulkhead: a bug in one chain must not stop the others
                log.exception("[scanner] chain %s: poll failed", self.chain.chain_id)
                self._failed(f"{type(exc).__name__}: {exc}")

    async def poll(self) -> None:
        """
        Read up to the head and confirm what is deep enough.

        Raises:
            ChainError: the chain could not be read; everything found before is stored.
        """
        async with self._polling:
            started = self._clock.now_ms()
            head = await self.adapter.head()
            self._saw(head)
            caught_up = await self._catch_up(head)
            async for recorded in self._confirmer.run(head):
                self._count(recorded)
            if caught_up:
                await self._expire(started)
            await self._self_test()
            self._succeeded(caught_up=caught_up)

    async def _catch_up(self, head: Head) -> bool:
        """Read every page up to the head; say whether all of it was read."""
        for _ in range(FORKS_A_POLL):
            cursor = await self._start(head)
            fork = await self._read_pages(cursor, head)
            if fork is None:
                # A node that is behind what we saw before cannot say that nothing happened since.
                return head.position >= self._best_head
            await self._unwind(fork)
        raise ChainUnavailable(f"chain {self.chain.chain_id}: endpoints disagree about the canonical chain")

    async def _start(self, head: Head) -> Cursor:
        async with self._db.read() as tx:
            cursor = await checkpoints.get(tx, self.chain.chain_id)
        if cursor is None:
            cursor = await self._first(head)
            async with self._db.write() as tx:
                await checkpoints.put(tx, self.chain.chain_id, cursor, now=self._clock.now_ms(), keep_from=-1)
        self.health.checkpoint = cursor.position
        return cursor

    async def _first(self, head: Head) -> Cursor:
        """
        Return where a store without a checkpoint begins.

        Registrations are taken before the chain could be read for the first time: what was paid to them
        meanwhile lies above the creation of the oldest.
        """
        usual = self.adapter.first_cursor(head)
        async with self._db.read() as tx:
            oldest = await intents.oldest(tx, self.chain.chain_id, self._clock.now_ms() - self._late_ms)
        if oldest is None:
            return usual
        before = await self.adapter.cursor_before((oldest - TOLERANCE_MS) // 1000, head)
        return min(usual, before, key=lambda cursor: cursor.position)

    async def _read_pages(self, cursor: Cursor, head: Head) -> Fork | None:
        targets = await self._targets()
        page = await self._page(targets, cursor, head, reread_s=REREAD_S)
        while isinstance(page, ScanPage):
            if page.cursor.position >= head.position:
                await self._store(page, cursor, head)
                return None
            # The next page travels while this one is written down.
            ahead = self._page(targets, page.cursor, head)
            _, following = await _both(self._store(page, cursor, head), ahead)
            cursor, page = page.cursor, following
        return page

    async def _page(self, targets: Targets, after: Cursor, head: Head, *, reread_s: int = 0) -> ScanPage | Fork:
        """Read the page after a cursor on every rail: as far as the first rail's goes."""
        first, *others = self.adapter.rails
        page = await self.adapter.scan(first, targets, after, head, reread_s=reread_s)
        if isinstance(page, Fork):
            return page
        found, rows = list(page.transfers), page.rows_read
        goal = Head(page.cursor.position, page.cursor.anchor, page.time, head.finalized)
        for rail in others:
            cursor, again_s = after, reread_s
            while cursor.position < goal.position:
                more = await self.adapter.scan(rail, targets, cursor, goal, reread_s=again_s)
                if isinstance(more, Fork):
                    return more
                found, rows = [*found, *more.transfers], rows + more.rows_read
                cursor, again_s = more.cursor, 0
            if cursor.position == goal.position != after.position and cursor.anchor != goal.anchor:
                raise ChainUnavailable(f"chain {self.chain.chain_id}: the rails were read on two branches")
        return ScanPage(found, page.cursor, page.time, rows)

    async def _targets(self) -> Targets:
        """
        Return what to look for, asked after the head was: whoever registers from now on is paid above it.

        Whoever was paid between a registration and its first poll is found by the same order.
        """
        async with self._db.read() as tx:
            ended_after = self._clock.now_ms() - self._late_ms
            return Targets(await intents.direct_destinations(tx, self.chain.chain_id, ended_after))

    async def _store(self, page: ScanPage, before: Cursor, head: Head) -> None:
        """One transaction: the findings of a page and the checkpoint that says it was read."""
        self._metrics.logs_read.labels(str(self.chain.chain_id)).inc(page.rows_read)
        if page.cursor != before or page.transfers:
            now = self._clock.now_ms()
            keep_from = head.position - max(KEEP_ANCHORS, 2 * self.chain.confirmation_threshold)
            async with self._db.write() as tx:
                recorded = await findings.record(
                    tx, self.chain.chain_id, page.transfers, now=now, late_ms=self._late_ms
                )
                await checkpoints.put(tx, self.chain.chain_id, page.cursor, now=now, keep_from=keep_from)
            self._count(recorded)
        self.steps += 1
        self.health.checkpoint = page.cursor.position
        self.health.checkpoint_time = page.time
        self._metrics.checkpoint.labels(str(self.chain.chain_id)).set(page.cursor.position)

    async def _unwind(self, fork: Fork) -> None:
        """Go back to the newest block that is still canonical and take back what lay above it."""
        chain_id = self.chain.chain_id
        async with self._db.read() as tx:
            anchors = await checkpoints.anchors(tx, chain_id)
        ancestor = await self.adapter.latest_canonical(anchors)
        if ancestor is None:
            oldest = anchors[-1].position if anchors else fork.at.position
            ancestor = Cursor(max(0, oldest - KEEP_ANCHORS))
            log.error(
                "[%s] reorganisation below every block hash we remember: reading again from far below",
                self.chain.chain_type,
                extra=fields(chain=chain_id, position=ancestor.position),
            )
        depth = fork.at.position - ancestor.position
        if depth <= 0:
            return
        async with self._db.write() as tx:
            recorded = await findings.rewind(tx, chain_id, ancestor, now=self._clock.now_ms())
        log.warning(
            "[%s] reorganisation",
            self.chain.chain_type,
            extra=fields(chain=chain_id, depth=depth, transfers=recorded.reorged),
        )
        self._metrics.reorgs.labels(str(chain_id)).inc()
        self._metrics.reorg_depth.labels(str(chain_id)).observe(depth)
        self._count(recorded)

    async def _expire(self, until: int) -> None:
        """The chain was read up to `until`: a payment made in time would have been seen."""
        async with self._db.read() as tx:
            due = await findings.anything_to_expire(tx, self.chain.chain_id, until)
        while due:
            async with self._db.write() as tx:
                due = bool(await findings.expire(tx, self.chain.chain_id, until, now=self._clock.now_ms()))
            self._on_events()

    async def _self_test(self) -> None:
        """Once a start: compare the registry with the chain. A mismatch is shown, not fatal."""
        if self._tested:
            return
        try:
            problems = await self.adapter.self_test()
            problems += await self._test_tokens()
        except ChainError as exc:
            log.debug("self-test of chain %s is put off: %s", self.chain.chain_id, exc)
            return
        self._tested = True
        self.health.problems = problems
        for problem in problems:
            log.error("[%s] %s", self.chain.chain_type, problem, extra=fields(chain=self.chain.chain_id))

    async def _test_tokens(self) -> list[str]:
        problems: list[str] = []
        refused: set[str] = set()
        for token in self._tokens:
            key = self.adapter.parse_address(token.address)
            meta = await self.adapter.token(key)
            if meta is None or meta.decimals is None:
                problems.append(f"token {token.symbol} {token.address}: the contract cannot be read")
                continue
            if (meta.symbol, meta.decimals) != (token.on_chain_symbol or token.symbol, token.decimals):
                problems.append(
                    f"token {token.symbol} {token.address}: the chain says {meta.symbol} with {meta.decimals} decimals,"
                    f" the registry {token.on_chain_symbol or token.symbol} with {token.decimals}"
                )
            # A symbol is a label, and issuers change theirs; a wrong number of decimals is a wrong amount.
            refused |= {key} if meta.decimals != token.decimals else set()
        self.refused_tokens = frozenset(refused)
        return problems

    def _saw(self, head: Head) -> None:
        self.steps += 1
        self._best_head = max(self._best_head, head.position)
        self.health.head = head
        self.health.endpoint = self.adapter.endpoint
        self._metrics.head.labels(str(self.chain.chain_id)).set(head.position)
        if self.health.state is not ChainState.READY:
            self.health.state = ChainState.SYNCING

    def _count(self, recorded: Recorded) -> None:
        self.steps += 1
        chain = str(self.chain.chain_id)
        self._metrics.matches.labels(chain).inc(recorded.matched)
        for reason, times in recorded.rejected.items():
            self._metrics.rejects.labels(chain, reason).inc(times)
        for intent in recorded.confirmed:
            log.info(
                "[scanner] payment confirmed", extra=fields(chain=chain, intent=intent.intent_id, tx=intent.tx_hash)
            )
        for seconds in recorded.latencies:
            self._metrics.detection.labels(chain).observe(seconds)
        if recorded.queued or recorded.confirmed:
            self._on_events()

    def _succeeded(self, *, caught_up: bool) -> None:
        self.health.state = ChainState.READY if caught_up else ChainState.SYNCING
        self.health.last_error = None
        self.health.last_success_at = self._clock.now_ms()
        self._outage.recovered()
        self._warn_lag()

    def _warn_lag(self) -> None:
        lag = self.health.lag or 0
        if lag > self.adapter.lag_warning and not self._lagging:
            log.warning("[%s] scanner lag", self.chain.chain_type, extra=fields(chain=self.chain.chain_id, lag=lag))
        self._lagging = lag > self.adapter.lag_warning

    def _failed(self, why: str) -> None:
        self.health.state = ChainState.FAILING
        self.health.last_error = why
        self._metrics.poll_failures.labels(str(self.chain.chain_id)).inc()
        self._outage.failed(why)
        self._warn_lag()


async def _both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run two things at once; when one fails the other still ends before the failure is raised."""
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    for result in (one, two):
        if isinstance(result, BaseException):
            raise result
    return cast("T", one), cast("U", two)
