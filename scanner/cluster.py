"""
Who does what where several processes share a store; one process alone does everything.

Every process answers and delivers. What is done once a chain (reading, confirming, expiring, watching balances) is
done by whoever leads the chain, and housekeeping by whoever leads that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from chains.errors import ChainError, ChainUnavailable
from chains.types import Condition
from kernel.clock import Clock
from kernel.store.database import Database, Tx
from kernel.store.leases import LeasedDatabase, Leases, Standing
from kernel.store.postgresql import PostgresDatabase
from kernel.tasks.failure_log import FailureLog
from scanner.model import ChainTime
from scanner.store import reports
from scanner.store.errors import StoreError
from scanner.store.reports import Report
from scanner.upkeep.health import ChainHealth

log = logging.getLogger(__name__)

HOUSEKEEPING = "housekeeping"
FRESH_MS = 120_000  # how long a report tells what time it is on the chain
ANSWER_STEP_S = 0.25


def chain_lock(chain_id: int) -> str:
    """Return the name of what is locked by whoever decides about intents of a chain."""
    return f"chain:{chain_id}"


class NodeView(NamedTuple):
    """A process, for the status. Times are unix ms."""

    node_id: str
    version: str
    started_at: int
    seen_at: int
    leads: tuple[int, ...]


class Published(msgspec.Struct, frozen=True):
    """What the leader of a chain shows of it."""

    health: ChainHealth
    condition: Condition


@dataclass(frozen=True, slots=True)
class View:
    """The processes, who of them leads each chain, and what the leaders show."""

    nodes: tuple[NodeView, ...]
    leaders: Mapping[int, str]
    published: Mapping[int, Published] = field(default_factory=dict)


class Led(Protocol):
    """A chain's worker, as far as it is led."""

    health: ChainHealth

    def condition(self) -> Condition:
        """Return what is known of the endpoints."""

    def chain_time(self) -> ChainTime | None:
        """Return what time it is on the chain, as this process sees it."""

    async def poll(self) -> None:
        """Look at the chain now."""

    def begin(self) -> None:
        """Forget what was known before: another process may have led the chain since."""

    def forget_targets(self) -> None:
        """Ask the store anew whom the chain is watched for: an intent that had ended may wait again."""

    def measure_again(self) -> None:
        """Correct creations at the next poll: something was registered while the chain's time was not known."""


class Cluster(Protocol):
    """What the daemon asks about being one of several."""

    def database_of(self, chain_id: int) -> Database:
        """Return the store as the leader of a chain writes to it."""

    def housekeeping_database(self) -> Database:
        """Return the store as whoever leads housekeeping writes to it."""

    def leads(self, chain_id: int) -> bool:
        """Say whether this process leads a chain."""

    async def hold(self, tx: Tx, chain_ids: Collection[int]) -> Collection[int]:
        """Return which chains this process still leads, and keep it so until the transaction ends."""

    async def lead(self, chain_id: int, work: Callable[[], Awaitable[None]]) -> None:
        """Do a chain's work whenever this process leads it, for ever."""

    async def lead_housekeeping(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do housekeeping whenever this process leads it, for ever."""

    def chain_time(self, chain_id: int) -> ChainTime | None:
        """Return what time it is on a chain, as its leader sees it."""

    async def poll(self, chain_id: int) -> None:
        """
        Have the leader look at a chain now.

        Raises:
            ChainError: it could not.
        """

    async def view(self) -> View:
        """Return who is there and who leads what."""


class Alone:
    """One process on one store: it leads everything."""

    def __init__(self, db: Database, clock: Clock, node_id: str, version: str) -> None:
        self.workers: Mapping[int, Led] = {}
        self._db = db
        self._clock = clock
        self._node_id = node_id
        self._version = version
        self._started_at = clock.now_ms()

    def database_of(self, chain_id: int) -> Database:  # noqa: ARG002
        return self._db

    def housekeeping_database(self) -> Database:
        return self._db

    def leads(self, chain_id: int) -> bool:  # noqa: ARG002
        return True

    async def hold(self, tx: Tx, chain_ids: Collection[int]) -> Collection[int]:  # noqa: ARG002
        return chain_ids

    async def lead(self, chain_id: int, work: Callable[[], Awaitable[None]]) -> None:  # noqa: ARG002
        await work()

    async def lead_housekeeping(self, work: Callable[[], Awaitable[None]]) -> None:
        await work()

    def chain_time(self, chain_id: int) -> ChainTime | None:
        return self.workers[chain_id].chain_time()

    async def poll(self, chain_id: int) -> None:
        await self.workers[chain_id].poll()

    async def view(self) -> View:
        chains = tuple(self.workers)
        node = NodeView(self._node_id, self._version, self._started_at, self._clock.now_ms(), chains)
        return View((node,), dict.fromkeys(chains, self._node_id))


class Together:
    """One of several processes on one database."""

    def __init__(
        self, db: PostgresDatabase, clock: Clock, *, node_id: str, version: str, lease_s: float, chains: Sequence[int]
    ) -> None:
        self.workers: Mapping[int, Led] = {}
        self.poll_s = min(1.0, lease_s / 6)
        self.leases = Leases(
            db,
            clock,
            node_id=node_id,
            version=version,
            lease_s=lease_s,
            names=[*map(chain_lock, chains), HOUSEKEEPING],
        )
        self._chains = tuple(chains)
        self._db = db
        self._clock = clock
        self._known: tuple[dict[int, Report], int] = ({}, 0)  # and when that was, by the stopwatch
        self._blind: dict[int, int] = {}
        self._answering: set[int] = set()
        self._outage = FailureLog(log, "[cluster] reports")

    def database_of(self, chain_id: int) -> Database:
        return LeasedDatabase(self._db, self.leases, chain_lock(chain_id))

    def housekeeping_database(self) -> Database:
        return LeasedDatabase(self._db, self.leases, HOUSEKEEPING)

    def leads(self, chain_id: int) -> bool:
        return self.leases.term(chain_lock(chain_id)) is not None

    async def hold(self, tx: Tx, chain_ids: Collection[int]) -> Collection[int]:
        terms = {chain_id: self.leases.term(chain_lock(chain_id)) for chain_id in chain_ids}
        held = await reports.hold(tx, {chain_lock(chain_id) for chain_id in chain_ids})
        return [i for i, term in terms.items() if term is not None and held.get(chain_lock(i)) == term]

    async def lead(self, chain_id: int, work: Callable[[], Awaitable[None]]) -> None:
        async def begin() -> None:
            self.workers[chain_id].begin()
            await work()

        await self.leases.lead(chain_lock(chain_id), begin)

    async def lead_housekeeping(self, work: Callable[[], Awaitable[None]]) -> None:
        await self.leases.lead(HOUSEKEEPING, work)

    def chain_time(self, chain_id: int) -> ChainTime | None:
        if self.leads(chain_id):
            return self.workers[chain_id].chain_time()
        known, at = self._known
        report = known.get(chain_id)
        if report is None or report.chain_ms is None or report.at is None or report.chain_position is None:
            return None
        age = self._clock.elapsed_ms() - at
        return ChainTime(report.chain_ms + age, report.chain_position) if age <= FRESH_MS else None

    async def join(self) -> None:
        """Appear among the processes before anything is served."""
        async with self._db.write() as tx:
            await reports.join(tx, self._chains)
        await self.leases.join()
        await self._look()

    async def run(self) -> None:
        """Tell what is known of the chains that are led, and do what is asked for, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.leases.run(), name="leases")
            while True:
                try:
                    await self._tell_and_look()
                    self._do_asked(group)
                    self._outage.recovered()
                except StoreError as exc:
                    self._outage.failed(str(exc))
                await self._clock.sleep(self.poll_s)

    async def _tell_and_look(self) -> None:
        """Publish what is led, where another process does not lead it by now; know what all leaders tell."""
        told = []
        for chain_id in self._chains:
            lease = chain_lock(chain_id)
            term = self.leases.term(lease)
            if term is not None:
                worker = self.workers[chain_id]
                report = msgspec.json.encode(Published(worker.health, worker.condition())).decode()
                told.append((chain_id, term, lease, report, worker.chain_time()))
        if not told:
            await self._look()
            return
        async with self._db.write() as tx:
            for each in told:
                await reports.tell(tx, *each)
            found, now = await reports.every(tx)
        self._take(found, now)

    async def _look(self) -> None:
        async with self._db.read() as tx:
            found, now = await reports.every(tx)
        self._take(found, now)

    def _take(self, found: Mapping[int, Report], now: int) -> None:
        """Know what the leaders tell, as it stood at a moment of the database's clock."""
        at = self._clock.elapsed_ms()
        # As old as they were by the database's clock when they were read.
        aged = {
            chain_id: report._replace(chain_ms=report.chain_ms + now - report.at)
            if report.chain_ms is not None and report.at is not None and now - report.at <= FRESH_MS
            else report._replace(chain_ms=None)
            for chain_id, report in found.items()
        }
        self._known = (aged, at)
        # Whoever comes to lead measures at once what there is then: what is registered later is seen to be more.
        self._blind |= {chain_id: report.blind for chain_id, report in found.items() if not self.leads(chain_id)}

    def _do_asked(self, group: asyncio.TaskGroup) -> None:
        for chain_id, report in self._known[0].items():
            if not self.leads(chain_id) or chain_id not in self.workers:
                continue
            if self._blind.setdefault(chain_id, report.blind) != report.blind:
                self._blind[chain_id] = report.blind
                self.workers[chain_id].measure_again()
            if report.asked > report.answered and chain_id not in self._answering:
                self._answering.add(chain_id)
                group.create_task(self._answer(chain_id, report.asked), name=f"poll {chain_id}")

    async def _answer(self, chain_id: int, asked: int) -> None:
        failure = None
        try:
            self.workers[chain_id].forget_targets()  # whoever asks may have revived what was given up
            await self.workers[chain_id].poll()
        except (ChainError, StoreError) as exc:
            failure = str(exc)
        finally:
            self._answering.discard(chain_id)
        try:
            async with self._db.write() as tx:
                await reports.answer(tx, chain_id, asked, failure)
        except StoreError as exc:
            self._outage.failed(str(exc))

    async def poll(self, chain_id: int) -> None:
        if self.leads(chain_id):
            await self.workers[chain_id].poll()
            return
        async with self._db.write() as tx:
            number = await reports.ask(tx, chain_id)
        while True:  # whoever asks has a limit of its own
            await asyncio.sleep(ANSWER_STEP_S)
            async with self._db.read() as tx:
                answered, failure = await reports.answered(tx, chain_id)
            if answered >= number:
                if failure is not None:
                    raise ChainUnavailable(failure)
                return

    async def count_blind(self, tx: Tx, chain_ids: Collection[int]) -> None:
        await reports.count_blind(tx, chain_ids)

    async def view(self) -> View:
        standing = await self.leases.standing()
        async with self._db.read() as tx:
            found, _ = await reports.every(tx)
        leaders = {chain_id: standing.leader(chain_lock(chain_id)) for chain_id in self._chains}
        return View(
            tuple(
                NodeView(node.node_id, node.version, node.started_at, node.seen_at, _led(standing, node.incarnation))
                for node in standing.nodes
            ),
            {chain_id: node.node_id for chain_id, node in leaders.items() if node is not None},
            {
                chain_id: msgspec.json.decode(report.report, type=Published)
                for chain_id, report in found.items()
                if report.report is not None
            },
        )


def _led(standing: Standing, incarnation: str) -> tuple[int, ...]:
    """Return the chains a process leads; what it led before it was gone is nobody's."""
    return tuple(
        int(lease.name.removeprefix("chain:"))
        for lease in standing.leases
        if lease.name.startswith("chain:")
        and (leader := standing.leader(lease.name)) is not None
        and leader.incarnation == incarnation
    )
