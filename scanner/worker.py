"""The one worker: reads a chain rail by rail, writes down what it found, confirms what is deep enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from chains.base import ChainAdapter
from chains.errors import ChainError, ChainUnavailable
from chains.token_metadata import disagreement
from chains.types import Condition, Head, PageAhead, Rail, Targets
from config.catalog import Chain, Token
from kernel.clock import Clock
from kernel.logging import fields
from kernel.store.database import Database, Tx
from kernel.store.horizon import Horizon
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.wakeup import Wakeup
from scanner import ingest, settlement
from scanner.confirmer import Confirmer
from scanner.model import ChainTime
from scanner.page_result import PageResult
from scanner.reading.rail_reader import REREAD_S, Held, LastPage, RailReader
from scanner.reading.second_reading import SecondReader
from scanner.reading.target_index import TargetIndex
from scanner.store import checkpoints, intents, transfers
from scanner.store import unread as unread_store
from scanner.store.errors import StoreError
from scanner.store.intents import Reading
from scanner.upkeep.health import ChainHealth, ChainState
from scanner.upkeep.metrics import Metrics

log = logging.getLogger(__name__)

MOST_SHOWN = 20  # of one kind of trouble on the status page
BLOCK_S = 2.0  # how much older a block's time may be than the moment it is made
HOLES_S = 0.1  # how long a poll waits for registrations that are under way
RECENT_S = 600.0  # how long after somebody waited a chain is still read to its newest block at each poll
QUIET_LAG_S = 60  # of chain time: how far below the newest block a chain may be read on which nobody waits
FRESH_S = 120.0  # how long the time of the newest block tells what time it is on the chain


class Outset(NamedTuple):
    """What the store says once the head is known: what to look for, and from where on."""

    targets: Targets
    new: Sequence[Reading]  # direct intents the minutes before whose creation are to be read
    waits: bool  # whether anybody waits, or did a moment ago
    held: Mapping[Rail, Held]


class Due(NamedTuple):
    """What the store says once the rails are read: what is to be decided, and what an operator should know."""

    deep: Sequence[str]  # intents to be looked at again
    expiring: Collection[Rail]  # on which an intent's time is over
    problems: Sequence[str]


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
        sweep_interval_s: float = 3600.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.chain = chain
        self.adapter = adapter
        self.health = ChainHealth(chain.chain_id)
        self.wakeup = Wakeup()
        self.refused_tokens: frozenset[str] = frozenset()  # keys of tokens that are not what the registry says
        self._tokens = tokens
        self._db = db
        self._clock = clock
        self._metrics = metrics
        self._late_ms = late_watch_ms
        self._on_events = on_events
        self._monotonic = monotonic
        self._confirmer = Confirmer(chain, adapter, db, clock, late_ms=late_watch_ms)
        self._rails = {
            rail: RailReader(
                rail,
                chain=chain,
                adapter=adapter,
                db=db,
                clock=clock,
                metrics=metrics,
                late_watch_ms=late_watch_ms,
                on_recorded=self.count,
                monotonic=monotonic,
            )
            for rail in adapter.rails
        }
        self.second = SecondReader(
            chain=chain,
            adapter=adapter,
            db=db,
            clock=clock,
            health=self.health,
            late_watch_ms=late_watch_ms,
            interval_s=sweep_interval_s,
            monotonic=monotonic,
            on_recorded=self.count,
            on_read=self.wakeup.wake,
        )
        self._index = TargetIndex(
            chain.chain_id, (adapter.parse_address(token.address) for token in tokens), late_ms=late_watch_ms
        )
        self._registered = Horizon(db, "intents", "number")
        self._polling = asyncio.Lock()
        self._outage = FailureLog(log, f"[{chain.chain_type}] chain {chain.chain_id}")
        self._lagging = False
        self._best_head = -1
        self._newest: tuple[int, float] | None = None  # time of the newest block known, and when it was first seen
        self._asked_blind = True  # for the chain's time, here or in a process before, when none was known
        self._known: Head | None = None  # the newest block as the poll before was shown it
        self._ahead: Sequence[PageAhead] = ()  # what the next poll reads up to that block
        self._waited_at: float | None = None  # monotonic: when a poll last found somebody to wait
        self._orphan: str | None = None  # hash of the block by which the last reorganisation showed
        self._tested = False
        self._mismatches: Sequence[str] = ()
        self._store_problems: Sequence[str] = ()
        self._slowest_detection: float | None = None  # in seconds, since it was taken
        self.steps = 0  # taken so far, for whoever watches that any are taken

    def begin(self) -> None:
        """Forget what was known of the store: another process may have led the chain since."""
        self._asked_blind = True
        self._index.forget()
        self._known, self._ahead = None, ()
        for reader in self._rails.values():
            reader.begin()

    def forget_targets(self) -> None:
        """Ask the store anew whom the chain is watched for: an intent that had ended may wait again."""
        self._index.forget()

    def measure_again(self) -> None:
        """Correct creations at the next poll: something was registered while the chain's time was not known."""
        self._asked_blind = True
        self.wakeup.wake()

    def condition(self) -> Condition:
        """Return what is known of the endpoints now."""
        return self.adapter.condition()

    @property
    def busy(self) -> bool:
        """Whether a poll is under way."""
        return self._polling.locked()

    def chain_time(self) -> ChainTime | None:
        """
        Return what time it is on the chain, from its newest block; None when no fresh one is known.

        The host's clock has no part in it: one that is ahead would make payments look older than their intents.
        Where none is known, whoever asked measures by the host's clock, and is corrected once one is.
        """
        known = self._chain_time()
        self._asked_blind = self._asked_blind or known is None
        return known

    def _chain_time(self) -> ChainTime | None:
        condition = self.health.condition
        # Before it is known which is wrong, an old head or the host's clock, the head's time harms no payment.
        if self._newest is None or self.health.head is None or (condition.stale and not condition.unproven):
            return None
        newest, seen_at = self._newest
        age = self._monotonic() - seen_at
        if age > FRESH_S:
            return None
        # Blocks are made in whole seconds and seen a moment later: less rather than more.
        return ChainTime(newest * 1000 + max(0, int((age - BLOCK_S) * 1000)), self.health.head.position)

    async def announced(self) -> bool:
        """
        Poll at once for a block that was announced, where anybody waits; say whether.

        The store is asked each time: whoever registers, perhaps with another process, is paid in a block to come.
        """
        try:
            async with self._db.read() as tx:
                waits = await self._is_waited_for(tx)
        except StoreError:
            waits = True  # the poll finds out, and says what is wrong with the store
        if waits:
            self.wakeup.wake()
        return waits

    async def run(self) -> None:
        """Poll at every ring, for ever. A failing chain is unhealthy and harms nobody else."""
        self.wakeup.wake()
        while True:
            await self.wakeup.wait()
            try:
                await self.poll()
            except (ChainError, StoreError) as exc:
                self._failed(str(exc))
            except Exception as exc:  # the one bulkhead: a bug in one chain must not stop the others
                log.exception("[scanner] chain %s: poll failed", self.chain.chain_id)
                self._failed(f"{type(exc).__name__}: {exc}")

    async def poll(self) -> None:
        """
        Read every rail up to the head, confirm what is deep enough, expire what was read past its time.

        What cannot be read on one rail stops neither the other, nor confirmations, nor expiries up to where
        it was read.

        Raises:
            ChainError: the chain could not be read; everything found before is stored.
        """
        async with self._polling:
            try:
                ahead, self._ahead = self._ahead, ()  # once: should they fail, the next poll asks for the head alone
                head = await self.adapter.head(ahead)
                self._saw(head)
                await self._correct_creations()
                failures = await self._read(head)
                failures += await self._decide(head)
                await self._self_test()
            finally:
                self._show()
            if failures:
                raise failures[0] if len(failures) == 1 else ChainUnavailable("; ".join(map(str, failures)))
            self._succeeded(caught_up=head.position >= self._best_head)

    async def _correct_creations(self) -> None:
        """Measure by the chain what was registered before its time was known, by a host clock that was ahead."""
        on_chain = self._chain_time()
        if not self._asked_blind or on_chain is None:
            return
        self._asked_blind = False  # before the store is waited for: whoever asks meanwhile is told
        ahead = max(0, self._clock.now_ms() - on_chain.ms)
        try:
            now = self._clock.now_ms()
            async with self._db.write() as tx:
                recorded = await ingest.measure_creations(
                    tx, self.chain.chain_id, by=ahead, latest=on_chain.ms, now=now
                )
            self.count(recorded)
        except BaseException:
            self._asked_blind = True
            raise

    async def _read(self, head: Head) -> list[ChainError]:
        """Read every rail; return what stopped any."""
        targets, new, waits, held = await self._outset(head)
        goal = head if waits else self._goal(head)
        failures: list[ChainError] = []
        for rail, reader in self._rails.items():
            try:
                await reader.catch_up(head, targets, new if rail is Rail.DIRECT else (), held[rail], goal=goal)
            except ChainError as exc:
                failures.append(exc)
            if reader.went_back:
                self._best_head = head.position
        failures += await self._pass_over(head)
        self.health.read |= {rail: reader.read for rail, reader in self._rails.items() if reader.read is not None}
        self._known = head
        if self.adapter.reads_ahead and not (waits or failures):
            self._ahead = [
                PageAhead(rail, targets, reader.cursor, head, REREAD_S)
                for rail, reader in self._rails.items()
                if reader.cursor is not None and reader.cursor.position < head.position
            ]
        self._count_reorganisation()
        if self.health.checkpoint is not None:
            self._metrics.checkpoint.labels(str(self.chain.chain_id)).set(self.health.checkpoint)
        return failures

    async def _pass_over(self, head: Head) -> list[ChainError]:
        """Move the checkpoints of all rails over the pages in which nothing was, in one write; say what failed."""
        last = [(reader, reader.last) for reader in self._rails.values() if reader.last is not None]
        if not last:
            return []
        unsure: list[tuple[RailReader, LastPage]] = []
        async with self._db.write() as tx:
            unsure += [(reader, each) for reader, each in last if not await reader.pass_over(tx, each, head)]
        failures: list[ChainError] = []
        for reader, each in last:
            try:
                if (reader, each) in unsure:
                    await reader.store_last(each, head)
                else:
                    reader.arrive(each.page, PageResult())
            except ChainError as exc:
                failures.append(exc)
        return failures

    def _goal(self, head: Head) -> Head:
        """
        Return up to where to read while nobody waits: the block that was the newest at the poll before.

        Its logs were asked for beside the head, so that a quiet poll is one request. Whoever comes to wait is read
        for up to the newest block by the next poll; and what no intent waits for is found a poll later.
        """
        known = self._known
        if not self.adapter.reads_ahead or known is None or known.position >= head.position:
            return head
        if any(reader.cursor is None or reader.cursor.position > known.position for reader in self._rails.values()):
            return head
        blocks, seconds = head.position - known.position, head.time - known.time
        # Not so far below that it would look like a chain that lags.
        return known if blocks <= self.adapter.lag_warning and seconds <= QUIET_LAG_S else head

    async def _is_waited_for(self, tx: Tx) -> bool:
        """Say whether an intent waits for a payment or for its confirmation, or did a moment ago."""
        if await intents.any_live(tx, self.chain.chain_id):
            self._waited_at = self._monotonic()
        return self._waited_at is not None and self._monotonic() - self._waited_at <= RECENT_S

    def _count_reorganisation(self) -> None:
        """Count one of the chain once, however many rails it showed on, and when."""
        for reader in self._rails.values():
            if reader.reorganised is None or reader.reorganised[1] == self._orphan:
                continue
            depth, self._orphan = reader.reorganised
            chain = str(self.chain.chain_id)
            self._metrics.reorgs.labels(chain).inc()
            self._metrics.reorg_depth.labels(chain).observe(depth)

    async def _outset(self, head: Head) -> Outset:
        """
        Return what to look for and from where on, all in one read after the head was asked for.

        Whoever registers from now on is paid above the head, or in the minutes that are read once for each new one.
        """
        async with self._db.read() as tx:
            targets = await self._index.known(tx, now=self._monotonic())
            if targets is not None:
                return await self._outset_of(tx, targets)
        # Somebody registered. Which numbers are all there has to be known before the snapshot in which they are read.
        settled = await self._registered.settled(patience_s=HOLES_S)
        async with self._db.read() as tx:
            now = self._monotonic()
            targets = await self._index.refresh(tx, moment=head.time * 1000, now=now, settled=settled)
            return await self._outset_of(tx, targets)

    async def _outset_of(self, tx: Tx, targets: Targets) -> Outset:
        chain_id = self.chain.chain_id
        new, waits = await intents.not_looked_back(tx, chain_id), await self._is_waited_for(tx)
        read_to = await checkpoints.of_chain(tx, chain_id)
        unread = await unread_store.of_chain(tx, chain_id)
        return Outset(
            targets, new, waits, {rail: Held(read_to.get(rail), unread.get(rail, ())) for rail in self._rails}
        )

    async def _decide(self, head: Head) -> list[ChainError]:
        """
        Confirm what is deep enough, expire what was read past its time, and find what an operator should know.

        Most polls find nothing to decide, in one read. Whatever was decided, the rest is asked anew.
        """
        due = await self._due(head)
        acted, failures = await self._confirm(head, due.deep)
        if acted:
            due = await self._due(head)
        if due.expiring:
            await self._expire(head, due.expiring)
            due = await self._due(head)
        self._store_problems = due.problems
        return failures

    async def _due(self, head: Head) -> Due:
        """Return what there is to decide. Whoever decides reads it again, in the transaction that writes."""
        chain_id = self.chain.chain_id
        async with self._db.read() as tx:
            deep = await self._confirmer.deep(tx, head)
            expiring = set()
            for rail, read_to in self._read_to().items():
                if rail is Rail.DIRECT:
                    await self.second.ask(tx, read_to)
                if await settlement.anything_to_expire(tx, chain_id, rail, read_to):
                    expiring.add(rail)
            return Due(deep, expiring, await self._trouble(tx, head))

    def _read_to(self) -> dict[Rail, int]:
        """Return up to which time (unix seconds) the rails were read, as far as that is known."""
        read = {rail: reader.read for rail, reader in self._rails.items()}
        return {rail: held.time for rail, held in read.items() if held is not None and held.time is not None}

    async def _confirm(self, head: Head, deep: Sequence[str]) -> tuple[bool, list[ChainError]]:
        """Confirm what is deep enough; say whether anything was written, and what failed."""
        acted = False
        try:
            async for recorded in self._confirmer.run(head, deep):
                acted = True
                self.count(recorded)
        except ChainError as exc:
            return acted, [exc]
        return acted, []

    async def _expire(self, head: Head, rails: Collection[Rail]) -> None:
        """Expire what its rail was read past: a payment made in time would have been seen."""
        chain_id, moment = self.chain.chain_id, head.time * 1000
        for rail, read_to in self._read_to().items():
            due = rail in rails
            while due:
                async with self._db.write() as tx:
                    now = self._clock.now_ms()
                    due = await self._stands(tx, rail) and bool(
                        await settlement.expire(tx, chain_id, rail, read_to, now=now, moment=moment)
                    )
                self._on_events()

    async def _stands(self, tx: Tx, rail: Rail) -> bool:
        """Say whether a rail is read to where it was read: what is found gone has it read again from below."""
        held, read = await checkpoints.get(tx, self.chain.chain_id, rail), self._rails[rail].read
        return held is not None and read is not None and held.cursor.position >= read.position

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
        self._mismatches = problems
        for problem in problems:
            log.error("[%s] %s", self.chain.chain_type, problem, extra=fields(chain=self.chain.chain_id))

    async def _test_tokens(self) -> list[str]:
        problems: list[str] = []
        refused: set[str] = set()
        for token in self._tokens:
            key = self.adapter.parse_address(token.address)
            meta = await self.adapter.token(key)
            said = disagreement(token, meta)
            problems += [] if said is None else [said]
            if meta is None or meta.decimals is None:
                continue
            # A symbol is a label, and issuers change theirs; a wrong number of decimals is a wrong amount.
            refused |= {key} if meta.decimals != token.decimals else set()
        self.refused_tokens = frozenset(refused)
        return problems

    async def _trouble(self, tx: Tx, head: Head) -> list[str]:
        """Return what the store knows and an operator should."""
        chain_id = self.chain.chain_id
        lost = await transfers.lost(tx, chain_id, MOST_SHOWN)
        unread = await intents.unread(tx, chain_id, head.time * 1000 - self._late_ms, MOST_SHOWN)
        return [
            *(
                f"intent {intent_id} was confirmed, and its payment {tx_hash} left the chain: do not deliver before"
                " it is back"
                for intent_id, tx_hash in lost
            ),
            *(f"intent {intent_id} expired without having been read a second time: {why}" for intent_id, why in unread),
        ]

    def _show(self) -> None:
        """Bring the health up to date, whether the poll succeeded or not."""
        self.health.condition = self.adapter.condition()
        self.health.endpoint = self.adapter.endpoint
        # The logs of one transaction may be unreadable on both rails.
        unread = {stuck.tx_hash: stuck for reader in self._rails.values() for stuck in reader.unread.stuck}
        stuck = [*self._confirmer.stuck, *unread.values()]
        self.health.stuck = sorted(stuck, key=lambda each: (each.since, each.tx_hash))
        condition = self.health.condition
        found = [*self._mismatches, *condition.problems, *(warning.message for warning in condition.warnings)]
        for reader in self._rails.values():
            found += reader.problems
        self.health.problems = list(dict.fromkeys([*found, *self.second.problems, *self._store_problems]))

    def _saw(self, head: Head) -> None:
        self.steps += 1
        self._best_head = max(self._best_head, head.position)
        self.health.head = head
        newest = self.adapter.condition().newest_time or head.time
        if self._newest is None or newest > self._newest[0]:
            self._newest = (newest, self._monotonic())
        self._metrics.head.labels(str(self.chain.chain_id)).set(head.position)

    def count(self, recorded: PageResult) -> None:
        """Count what a transaction found, once it is committed."""
        self.steps += 1
        if recorded.revived:
            self._index.forget()  # its address may have been given up
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
            self._slowest_detection = max(seconds, self._slowest_detection or 0.0)
        if recorded.queued or recorded.confirmed:
            self._on_events()

    def take_slowest_detection(self) -> float | None:
        """Return how many seconds the slowest payment took to be seen since this was asked; None: nobody paid."""
        slowest, self._slowest_detection = self._slowest_detection, None
        return slowest

    def _succeeded(self, *, caught_up: bool) -> None:
        if self.health.condition.stale:
            self.health.state = ChainState.STALE
        else:
            # A node that is behind what we saw before cannot say that nothing happened since.
            self.health.state = ChainState.READY if caught_up else ChainState.SYNCING
        self.health.last_error = None
        self.health.last_success_at = self._clock.now_ms()
        self.health.last_success_elapsed = self._clock.elapsed_ms()
        self._outage.recovered()
        self._warn_lag()

    def _warn_lag(self) -> None:
        lag = self.health.lag or 0
        if lag > self.adapter.lag_warning and not self._lagging:
            log.warning("[%s] scanner lag", self.chain.chain_type, extra=fields(chain=self.chain.chain_id, lag=lag))
        self._lagging = lag > self.adapter.lag_warning

    def _failed(self, why: str) -> None:
        self.health.state = ChainState.STALE if self.health.condition.stale else ChainState.FAILING
        self.health.last_error = why
        self._metrics.poll_failures.labels(str(self.chain.chain_id)).inc()
        self._outage.failed(why)
        self._warn_lag()
