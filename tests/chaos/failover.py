"""How long a chain is led by nobody, as the database saw it: from the last renewal to the successor's first write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

LOOK_S = 0.05
CONNECT_S = 1.0

_SIGHT = """
    SELECT l.term, n.node_id, n.seen_at, now_ms(),
        greatest(r.at, (SELECT max(updated_at) FROM checkpoints WHERE chain_id = $1))
    FROM leases l
    LEFT JOIN nodes n ON n.incarnation = l.holder
    LEFT JOIN chain_reports r ON r.chain_id = $1
    WHERE l.name = 'chain:' || $1
"""


class Sight(NamedTuple):
    """What the database says at one moment. Times are unix ms by its clock."""

    term: str | None
    leader: str | None  # a node id
    renewed_at: int | None
    now: int
    wrote_at: int | None  # by the leader: nobody else writes this


@dataclass(frozen=True, slots=True)
class Failover:
    """A chain that got another leader."""

    lost_at: int  # when the former leader renewed for the last time
    wrote_at: int  # when its successor first wrote
    former: str
    successor: str

    @property
    def seconds(self) -> float:
        return (self.wrote_at - self.lost_at) / 1000


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that was wrong for a while, by the wall clock in unix ms."""

    kind: str
    where: str  # a node id, or `database`
    since: int
    until: int


class FailoverLog:
    """Makes failovers of what is seen."""

    def __init__(self) -> None:
        self.failovers: list[Failover] = []
        self._leader: Sight | None = None  # as it was seen last
        self._new: Sight | None = None  # a leader that has not written yet

    @property
    def leader(self) -> str | None:
        """Who led the chain when it was last looked at."""
        return None if self._leader is None else self._leader.leader

    def see(self, sight: Sight) -> None:
        """Take the next thing seen."""
        if sight.term is None:
            return
        if self._leader is None or sight.term == self._leader.term:
            self._leader = sight
            return
        if self._new is None or self._new.term != sight.term:
            self._new = sight
            return
        if sight.wrote_at is None or sight.wrote_at <= self._new.now:
            return
        before, self._leader, self._new = self._leader, sight, None
        if before.renewed_at is not None:
            names = (before.leader or "", sight.leader or "")
            self.failovers.append(Failover(before.renewed_at, sight.wrote_at, *names))


def is_undisturbed(failover: Failover, troubles: Collection[Trouble], nodes: Collection[str]) -> bool:
    """Say whether the database and one other node at least were well all the time."""
    meanwhile = {t.where for t in troubles if t.since <= failover.wrote_at and t.until >= failover.lost_at}
    return "database" not in meanwhile and bool(set(nodes) - meanwhile - {failover.former})


def cause_of(failover: Failover, troubles: Collection[Trouble]) -> str:
    """Return what befell the former leader, or the database, until the successor wrote."""
    during = [
        trouble
        for trouble in sorted(troubles, key=lambda trouble: trouble.since)
        if trouble.where in {failover.former, "database"}
        and trouble.since <= failover.wrote_at
        and trouble.until >= failover.lost_at
    ]
    return " and ".join(dict.fromkeys(trouble.kind for trouble in during)) or "given up"


async def watch_failovers(url: Callable[[], str], chain_id: int, log: FailoverLog) -> None:
    """Look at the database that is there now, for ever."""
    while True:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            link = await asyncpg.connect(url(), timeout=CONNECT_S, command_timeout=CONNECT_S)
            try:
                await link.execute("SET search_path = amn_scanner")
                while True:
                    row = await link.fetchrow(_SIGHT, chain_id)
                    if row is not None:
                        log.see(Sight(*row))
                    await asyncio.sleep(LOOK_S)
            finally:
                link.terminate()
        await asyncio.sleep(LOOK_S)
