"""Several daemons on one database inside one loop: they die, stop for a while, and lose their way to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from config.settings import load_settings
from scanner.cluster import Together, chain_lock
from scanner.store import maintenance
from tests.chaos.schedule import LEADER
from tests.harness import Api
from tests.simulation import plans
from tests.simulation.invariants import Invariants
from tests.simulation.loop import PROCESS, SimProcess
from tests.simulation.plans import LEASE_S, NODES
from tests.simulation.shared_store import URL, Way
from tests.simulation.supervisor import DEATH_STEPS, SCANNER, Instance, SimSupervisor

IDLE_S = LEASE_S / 2  # in which nothing is said in a transaction, until the server ends it
CHECKPOINTS = "SELECT chain_id, rail, last_scanned_block FROM checkpoints"
HOLDER = "SELECT holder FROM leases WHERE name = ?"
BLIND = "SELECT chain_id, blind FROM chain_reports"


class Node(SimSupervisor):
    """Keeps one of several daemons running."""

    def __init__(
        self, name: str, folder: Path, env: Mapping[str, str], session: aiohttp.ClientSession, seed: object
    ) -> None:
        own = {key: value for key, value in env.items() if key != "DB_PATH"}
        own |= {"DATABASE_URL": f"{URL}{folder / 'scanner.db'}", "SCANNER_NODE_ID": name}
        own["SCANNER_LEASE_SEC"] = str(LEASE_S)
        super().__init__(folder, own, session, seed, replace(SCANNER, maintained=self._maintained))
        self.name = name

    def _maintained(self, env: Mapping[str, str]) -> tuple[Any, Path, Any]:
        return maintenance.KIND, self.store, load_settings(env).sealing

    def _prepare(self, process: SimProcess) -> None:
        process.way, process.skew_s = Way(), self._skew_s

    @property
    def stopped(self) -> bool:
        return self.current is not None and self.current.process.paused

    @property
    def cluster(self) -> Together | None:
        """What the daemon knows of the others, once it is up."""
        found = self.current and self.current.daemon and self.current.daemon.cluster
        return found if isinstance(found, Together) else None

    def kill(self) -> None:
        if self.current is not None:
            self.current.process.stops = None
        super().kill()
        if self.current is not None and self.stopped:
            self.loop.kill(self.current.process)

    async def disturb(self, kind: str, seconds: float, size: int) -> None:
        """Do something to the process, to its host or to its way to the database."""
        running = self.current
        if running is None or self.stopped or running.process.stops is not None:
            return
        self.loop.note(f"{self.name}: {kind} for {seconds:.1f} s")
        match kind:
            case "node_kill":
                self.kill()
            case "node_end":
                self.terminate()
            case plans.HOST_CLOCK:
                self.skew(size)
            case "node_stop":
                await self._stop(running, seconds)
            case "node_cut":
                running.process.way.cut = True
                end_transactions(running.process)
                await asyncio.sleep(seconds)
                running.process.way.cut = False
            case "node_deaf":
                running.process.way.lost = True
                await asyncio.sleep(seconds)
                running.process.way.lost = False
            case _:
                raise ValueError(f"a cluster has no fault called {kind}")

    async def _stop(self, running: Instance, seconds: float) -> None:
        """
        Let it do nothing at all for a while, from one of its next steps on: it steps where it has something to do.

        The server gives up what it was in the middle of.
        """
        stops = running.process.stops = asyncio.Event()
        running.process.dies_in = self._rng.randrange(DEATH_STEPS)
        stopping = asyncio.ensure_future(stops.wait())
        await asyncio.wait([stopping, running.ended], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            return
        await asyncio.sleep(min(seconds, IDLE_S))
        if running.process.alive:
            end_transactions(running.process)
        await asyncio.sleep(max(0.0, seconds - IDLE_S))
        if running.process.alive:
            self.loop.resume(running.process)


def end_transactions(process: SimProcess) -> None:
    for connection in process.connections:
        with contextlib.suppress(sqlite3.ProgrammingError):  # it was closed before
            connection.end_transaction()


class SimCluster:
    """What the laboratory does with several daemons as it does with one. Open with `clustered`."""

    def __init__(
        self, folder: Path, env: Mapping[str, str], session: aiohttp.ClientSession, seed: int, chain_id: int
    ) -> None:
        self.nodes = [Node(f"node-{n}", folder, env, session, f"{seed} {n}") for n in range(NODES)]
        self._chain_id = chain_id  # whose leader is meant by `LEADER`
        self._rng = random.Random(f"nodes of {seed}")
        first = self.nodes[0]
        self.anomalies, self.unexpected_exits, self.output = first.anomalies, first.unexpected_exits, first.output
        for node in self.nodes:
            node.anomalies, node.unexpected_exits, node.output = self.anomalies, self.unexpected_exits, self.output

    @property
    def lives(self) -> int:
        return sum(node.lives for node in self.nodes)

    @property
    def api(self) -> Api | None:
        """One that runs, as a balancer picks it."""
        ready = [api for node in self.nodes if not node.stopped and (api := node.api) is not None]
        return self._rng.choice(ready) if ready else None

    @property
    def hears(self) -> bool:
        """Say whether whoever leads a chain knows what time it is there, and dated anew what was registered without it."""
        running = [n.current.daemon for n in self.nodes if n.cluster is not None and n.current is not None]
        with contextlib.closing(sqlite3.connect(self.nodes[0].store)) as store:
            counted = dict(store.execute(BLIND).fetchall())  # another process may have counted one just now
        heard = {
            chain_id
            for daemon in running
            for chain_id, worker in daemon.workers.items()
            if daemon.cluster.leads(chain_id) and worker._chain_time() is not None and not worker._asked_blind
            if daemon.cluster._blind.get(chain_id) == counted.get(chain_id)
        }
        return bool(running) and heard == running[0].workers.keys()

    @property
    def doubts_time(self) -> bool:
        """Say whether anybody waits with a chain because its time is far ahead of the clock, and nobody bears it out."""
        return any(node.doubts_time for node in self.nodes)

    def terminate(self) -> None:
        for node in self.nodes:
            node.terminate()

    async def stop(self) -> None:
        for node in self.nodes:
            await node.stop()

    async def check(self) -> None:
        await self.nodes[0].check()

    def skew(self, seconds: int) -> None:
        raise NotImplementedError("each host has a clock of its own, and all go by the database's: `node_clock`")

    async def inject(self, kind: str, seconds: float, size: int = 0) -> None:
        if kind == "terminate":
            self.terminate()
            return
        led = (n for n in self.nodes if n.cluster is not None and n.cluster.leads(self._chain_id))
        node = next(led, None) if size == LEADER else None
        await (node or self.nodes[size % NODES]).disturb(kind, seconds, size)

    def incarnation(self, process: SimProcess) -> str | None:
        """Return the name under which a process holds leases."""
        running = [n for n in self.nodes if n.current is not None and n.current.process is process]
        return next((n.cluster.leases.incarnation for n in running if n.cluster is not None), None)


class Fence:
    """Looks at every commit whether it moved a checkpoint of a chain that another process led."""

    def __init__(self, cluster: SimCluster, store: Path, invariants: Invariants) -> None:
        self._cluster = cluster
        self._reader = sqlite3.connect(store)
        self._say = invariants.say
        self._seen: dict[tuple[int, str], int] = {}

    def __call__(self) -> None:
        process = PROCESS.get()
        for chain_id, rail, position in self._reader.execute(CHECKPOINTS).fetchall():
            if self._seen.get((chain_id, rail)) == position:
                continue
            self._seen[chain_id, rail] = position
            (holder,) = self._reader.execute(HOLDER, (chain_lock(chain_id),)).fetchone()
            if process is not None and self._cluster.incarnation(process) != holder:
                self._say(f"{process} moved the {rail} rail of chain {chain_id} to {position}, and did not lead it")


@asynccontextmanager
async def clustered(
    folder: Path, env: Mapping[str, str], session: aiohttp.ClientSession, seed: int, chain_id: int
) -> AsyncIterator[Any]:
    """Keep several daemons running until the block ends."""
    cluster = SimCluster(folder, env, session, seed, chain_id)
    keeping = [asyncio.create_task(node.keep(), name=node.name) for node in cluster.nodes]
    try:
        yield cluster
    finally:
        for each in keeping:
            each.cancel()
        await asyncio.wait(keeping)
