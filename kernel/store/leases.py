"""
Which of several equal processes leads what, by leases in the database and by its clock.

A process is alive as long as its row in `nodes` was written less than a lease ago: one small write renews everything
it holds. A lease has a term, drawn anew whenever it is taken. Every transaction of a leader locks the lease's row and
looks at the term, so that one that was stopped and wakes up after another took over writes nothing: it is not the
time that keeps two leaders apart, it is this row (the fence). Whoever else decides about the same locks the same row.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Column, MetaData, Table, Text, text

from kernel.clock import Clock
from kernel.errors import StoreError
from kernel.store.database import Database, Tx
from kernel.store.ddl import Whole
from kernel.store.postgresql import LONGEST_STATEMENT_S, PostgresDatabase
from kernel.tasks.failure_log import FailureLog

log = logging.getLogger(__name__)

BEATS_A_LEASE = 6
PROMPT_MS = 1_000  # within which an answer tells what time it is
BLOCKED_S = 1.0  # how long a lease that is over may be held up by whoever still has its row
FORGOTTEN_AFTER = 5  # leases: how long a process that is gone is still shown
LANE = "lane:"

# Unix ms by the clock of the database, of this moment: not of when the transaction began.
CLOCK = (
    "CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE"
    " AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$"
)


def lease_tables(metadata: MetaData) -> tuple[Table, Table]:
    """Declare the tables of leases in a service's schema."""
    nodes = Table(
        "nodes",
        metadata,
        Column("incarnation", Text, primary_key=True),  # one start of one process
        Column("node_id", Text, nullable=False),
        Column("version", Text, nullable=False),
        Column("started_at", Whole, nullable=False),
        Column("seen_at", Whole, nullable=False),
    )
    leases = Table(
        "leases",
        metadata,
        Column("name", Text, primary_key=True),
        Column("holder", Text),  # an incarnation
        Column("term", Text),
    )
    return nodes, leases


class NotLeading(StoreError):
    """Another process leads what was to be written, or nobody does."""


class Node(NamedTuple):
    """A process that was seen lately. Times are unix ms by the database's clock."""

    incarnation: str
    node_id: str
    version: str
    started_at: int
    seen_at: int
    alive: bool


class Lease(NamedTuple):
    """What is led, and by whom."""

    name: str
    holder: str | None
    term: str | None


class Standing(NamedTuple):
    """Who leads what."""

    nodes: list[Node]
    leases: list[Lease]

    def leader(self, name: str) -> Node | None:
        """Return the process that leads something; None while nobody does."""
        holder = next((lease.holder for lease in self.leases if lease.name == name), None)
        return next((node for node in self.nodes if node.incarnation == holder and node.alive), None)


@dataclass(slots=True)
class _Held:
    """Whether one lease is ours, for whoever waits for it."""

    term: str | None = None
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)


class Leases:
    """The leases one process competes for."""

    def __init__(
        self, db: PostgresDatabase, clock: Clock, *, node_id: str, version: str, lease_s: float, names: Sequence[str]
    ) -> None:
        self.node_id = node_id
        self.incarnation = uuid.uuid4().hex
        self.lease_ms = round(lease_s * 1000)
        self._db = db
        self._clock = clock
        self._version = version
        self._held = {name: _Held() for name in names}
        self._renewed_ms = clock.elapsed_ms()
        self._outage = FailureLog(log, "[cluster] leases")

    def term(self, name: str) -> str | None:
        """Return the term under which this process leads something; None when it does not."""
        return self._held[name].term

    @property
    def leads(self) -> list[str]:
        return [name for name, held in self._held.items() if held.term is not None]

    async def join(self) -> None:
        """Appear among the processes, and have a row for each lease."""
        began = self._clock.elapsed_ms()
        async with self._db.write() as tx:
            for name in sorted(self._held):
                await tx.execute(
                    text("INSERT INTO leases (name) VALUES (:name) ON CONFLICT DO NOTHING"), {"name": name}
                )
            now = await self._renew(tx)
        self._follow(now, began)

    async def run(self) -> None:
        """Renew what is held and take what is free, for ever."""
        while True:
            try:
                await self.beat()
                self._outage.recovered()
            except StoreError as exc:
                self._outage.failed(str(exc))
            if self._clock.elapsed_ms() - self._renewed_ms > self.lease_ms:
                self._lose(self.leads, "it could not be renewed")
            await self._clock.sleep(self.lease_ms / 1000 / BEATS_A_LEASE)

    async def beat(self) -> None:
        """Renew, look who is there, and take a fair share of what is free."""
        began = self._clock.elapsed_ms()
        async with self._db.write() as tx:
            now = await self._renew(tx)
        self._renewed_ms = began
        self._follow(now, began)
        standing = await self.standing()
        mine = {lease.name: lease for lease in standing.leases if lease.holder == self.incarnation}
        self._lose(
            [name for name in self.leads if name not in mine or mine[name].term != self.term(name)], "taken over"
        )
        alive = sum(node.alive for node in standing.nodes)
        share = -(-len(self._held) // max(1, alive))
        for lease in standing.leases:
            if lease.name in self._held and len(self.leads) < share and self._is_free(lease, standing):
                await self.take(lease.name)
        if len(self.leads) > share:
            await self.release(self.leads[-1])

    def _follow(self, now: int, began: int) -> None:
        """Go by the database's clock, as every process does: what one plans another may do."""
        # An answer that took long says what time it was: a process that was stopped meanwhile would go back by hours.
        if self._clock.elapsed_ms() - began <= PROMPT_MS:
            self._clock.follow(now - self._clock.now_ms())

    def _is_free(self, lease: Lease, standing: Standing) -> bool:
        if lease.holder == self.incarnation:  # the answer was lost when it was taken
            return self.term(lease.name) is None
        return standing.leader(lease.name) is None

    async def _renew(self, tx: Tx) -> int:
        renewed = await tx.execute(
            text(
                "INSERT INTO nodes (incarnation, node_id, version, started_at, seen_at)"
                " VALUES (:incarnation, :node_id, :version, now_ms(), now_ms())"
                " ON CONFLICT (incarnation) DO UPDATE SET seen_at = now_ms() RETURNING seen_at"
            ),
            {"incarnation": self.incarnation, "node_id": self.node_id, "version": self._version},
        )
        return int(renewed.scalar_one())

    async def standing(self) -> Standing:
        """Return who leads what."""
        async with self._db.read() as tx:
            nodes = await tx.execute(
                text(
                    "SELECT incarnation, node_id, version, started_at, seen_at, seen_at > now_ms() - :lease AS alive"
                    " FROM nodes WHERE seen_at > now_ms() - :shown ORDER BY started_at, incarnation"
                ),
                {"lease": self.lease_ms, "shown": FORGOTTEN_AFTER * self.lease_ms},
            )
            leases = await tx.execute(
                text("SELECT name, holder, term FROM leases WHERE name NOT LIKE 'lane:%' ORDER BY name")
            )
            return Standing([Node(*row) for row in nodes], [Lease(*row) for row in leases])

    async def take(self, name: str) -> bool:
        """Take a lease that is free; say whether it is ours now."""
        term = uuid.uuid4().hex
        async with self._db.write() as tx:
            pid = (await tx.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
            # A stopped process may keep the row locked: neither its idle nor its statement time-out ends it when it
            # was stopped between two messages of one statement.
            ending = asyncio.create_task(self._end_blockers(name, int(pid)), name=f"end who holds {name}")
            try:
                holder = await _locked_holder(tx, name)
            finally:
                ending.cancel()
                await asyncio.wait([ending])
            # Asked after the row was waited for: its holder may have come back meanwhile.
            if holder is not None and holder != self.incarnation and await self._is_alive(tx, holder):
                return False
            await tx.execute(
                text("UPDATE leases SET holder = :holder, term = :term WHERE name = :name"),
                {"holder": self.incarnation, "term": term, "name": name},
            )
        held = self._held.get(name)
        if held is not None:
            held.term = term
            held.lost.clear()
            held.taken.set()
            log.info("[cluster] %s is led by this process", name)
        return True

    async def _is_alive(self, tx: Tx, incarnation: str) -> bool:
        found = await tx.execute(
            text("SELECT 1 FROM nodes WHERE incarnation = :incarnation AND seen_at > now_ms() - :lease"),
            {"incarnation": incarnation, "lease": self.lease_ms},
        )
        return found.first() is not None

    async def _end_blockers(self, name: str, pid: int) -> None:
        await self._clock.sleep(BLOCKED_S)
        with suppress(StoreError):
            async with self._db.write() as tx:
                # What has committed and waits for the standby alone is let be: ended, it would be there for everybody
                # to see, and gone when the standby takes over.
                ended = await tx.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE pid = ANY (pg_blocking_pids(:pid)) AND wait_event IS DISTINCT FROM 'SyncRep'"
                    ),
                    {"pid": pid},
                )
                log.warning("[cluster] ended %d connections that kept %s, whose lease is over", len(ended.all()), name)

    async def release(self, name: str) -> None:
        """Give up a lease, so that another process need not wait for it to end."""
        term = self.term(name)
        self._lose([name], "given up")
        async with self._db.write() as tx:
            await tx.execute(
                text("UPDATE leases SET holder = NULL, term = NULL WHERE name = :name AND term = :term"),
                {"name": name, "term": term},
            )

    async def leave(self) -> None:
        """Give up everything and disappear: the others need not wait for the leases to end."""
        self._lose(self.leads, "this process ends")
        with suppress(StoreError):  # they end by themselves
            async with self._db.write() as tx:
                mine = {"holder": self.incarnation}
                await tx.execute(text("DELETE FROM leases WHERE holder = :holder AND name LIKE 'lane:%'"), mine)
                await tx.execute(text("UPDATE leases SET holder = NULL, term = NULL WHERE holder = :holder"), mine)
                await tx.execute(text("DELETE FROM nodes WHERE incarnation = :holder"), mine)

    def _lose(self, names: Sequence[str], why: str) -> None:
        for name in names:
            held = self._held[name]
            held.term = None
            held.taken.clear()
            held.lost.set()
            log.info("[cluster] %s is not led by this process any more: %s", name, why)

    async def lead(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work whenever a lease is held, and stop it when it is lost, for ever."""
        held = self._held[name]
        while True:
            await held.taken.wait()
            working = asyncio.ensure_future(work())
            lost = asyncio.ensure_future(held.lost.wait())
            try:
                await asyncio.wait([working, lost], return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    working.result()
            finally:
                working.cancel()
                lost.cancel()
                await asyncio.wait([working, lost])

    async def fence(self, tx: Tx, name: str, term: str) -> None:
        """
        Lock a lease's row until the transaction ends, and see that it is still ours.

        Raises:
            NotLeading: it is another's.
        """
        found = await tx.execute(text("SELECT term FROM leases WHERE name = :name FOR UPDATE"), {"name": name})
        if found.scalar_one_or_none() != term:
            if self._held[name].term == term:
                self._lose([name], "taken over")
            raise NotLeading(f"{name} is led by another process")

    # -- lanes: what is claimed while there is something to do in it ------------------------------------

    async def claim(self, names: Collection[str]) -> set[str]:
        """
        Claim lanes that are free, or whose holder is gone; return which are ours now.

        One that comes back after another process had it has another term.
        """
        wanted = sorted(f"{LANE}{name}" for name in names)
        mine = {"names": wanted, "me": self.incarnation, "lease": self.lease_ms}
        async with self._db.write() as tx:
            await tx.execute(
                text("INSERT INTO leases (name) SELECT unnest(CAST(:names AS text[])) ON CONFLICT DO NOTHING"), mine
            )
            free = await tx.execute(
                text(
                    "SELECT name FROM leases WHERE name = ANY (CAST(:names AS text[])) AND (holder IS NULL"
                    " OR holder = :me OR NOT EXISTS (SELECT 1 FROM nodes WHERE incarnation = leases.holder"
                    " AND seen_at > now_ms() - :lease)) ORDER BY name FOR UPDATE SKIP LOCKED"
                ),
                mine,
            )
            claimed = list(free.scalars())
            await tx.execute(
                text(
                    "UPDATE leases SET holder = :me, term = :term"
                    " WHERE name = ANY (CAST(:names AS text[])) AND holder IS DISTINCT FROM :me"
                ),
                {"names": claimed, "me": self.incarnation, "term": uuid.uuid4().hex},
            )
        return {name.removeprefix(LANE) for name in claimed}

    async def keep(self, tx: Tx, names: Collection[str]) -> dict[str, str | None]:
        """Return the terms of the lanes that are ours, and keep them so until the transaction ends."""
        found = await tx.execute(
            text(
                "SELECT name, term FROM leases WHERE name = ANY (CAST(:names AS text[])) AND holder = :me"
                " ORDER BY name FOR SHARE"
            ),
            {"names": sorted(f"{LANE}{name}" for name in names), "me": self.incarnation},
        )
        return {name.removeprefix(LANE): term for name, term in found}

    async def drop(self, names: Collection[str]) -> None:
        """Give up lanes in which there is nothing left to do."""
        async with self._db.write() as tx:
            await tx.execute(
                text("DELETE FROM leases WHERE name = ANY (CAST(:names AS text[])) AND holder = :me"),
                {"names": [f"{LANE}{name}" for name in names], "me": self.incarnation},
            )

    async def forget(self) -> None:
        """Forget processes that are long gone, with their lanes."""
        gone = {"since": FORGOTTEN_AFTER * self.lease_ms}
        async with self._db.write() as tx:
            await tx.execute(text("DELETE FROM nodes WHERE seen_at < now_ms() - :since"), gone)
            await tx.exec_driver_sql(
                "DELETE FROM leases WHERE name LIKE 'lane:%'"
                " AND NOT EXISTS (SELECT 1 FROM nodes WHERE incarnation = leases.holder)"
            )


async def _locked_holder(tx: Tx, name: str) -> str | None:
    found = await tx.execute(text("SELECT holder FROM leases WHERE name = :name FOR UPDATE"), {"name": name})
    holder: str | None = found.scalar_one()
    return holder


class LeasedDatabase(Database):
    """A store as a leader writes to it: in every transaction the lease's row is locked and its term looked at."""

    shared = True

    def __init__(self, db: PostgresDatabase, leases: Leases, name: str) -> None:
        self._db = db
        self._leases = leases
        self._name = name

    def write(self) -> AbstractAsyncContextManager[Tx]:
        return self._write()

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[Tx]:
        term = self._leases.term(self._name)
        if term is None:
            raise NotLeading(f"{self._name} is not led by this process")
        async with self._db.write(statement_s=LONGEST_STATEMENT_S) as tx:
            await self._leases.fence(tx, self._name, term)
            yield tx

    def read(self) -> AbstractAsyncContextManager[Tx]:
        return self._db.read()

    async def lock(self, tx: Tx, *names: str) -> None:
        await self._db.lock(tx, *names)
