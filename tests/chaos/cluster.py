"""Several scanners on one replicated database, each with a way of its own to it, and the faults of all of them."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from devnet.evm.anvil import CHAIN_ID
from kernel.errors import StoreError
from kernel.store.postgresql import PostgresSettings
from scanner.store.migrate import SCHEMA, migrate_postgresql
from tests.chaos.database_pair import DatabasePair, database_pair
from tests.chaos.failover import FailoverLog, Trouble, cause_of, is_undisturbed, watch_failovers
from tests.chaos.schedule import LEADER
from tests.chaos.supervisor import Supervisor
from tests.chaos.tcp_proxy import TcpProxy
from tests.harness import ROOT, Api, Process

LEASE_S = 4.0
NODES = 3
STARTS_S = 60.0
RECOVERS_S = 3.0  # after the end of a fault, or a start, until a process is of use again
LOOK_S = 0.05
DATABASE = "scanner"
LEFT_UNANSWERED_S = 12.0  # a standby that is behind when it takes over: longer than anybody waits for a COMMIT


class NodeProcess(Supervisor):
    """Keeps one of several processes on a database running."""

    def __init__(
        self,
        name: str,
        folder: Path,
        env: dict[str, str],
        session: aiohttp.ClientSession,
        proxy: TcpProxy,
        **more: Any,
    ) -> None:
        folder.mkdir()
        super().__init__(folder, env, session, **more)
        self.name = name
        self.proxy = proxy
        self.stopped = False

    def _note(self, ended: Process) -> None:
        if not self._expected:
            self.anomalies.append(f"{self.name} ended by itself: {''.join(ended.output[-12:])}")
        ended.output[:] = [f"{self.name} {line}" for line in ended.output]
        super()._note(ended)

    async def stop_for(self, seconds: float) -> None:
        """Let it do nothing at all for a while, and go on then as if nothing had been."""
        running = self._current
        if running is None:
            return
        self.stopped = True
        try:
            self._send(running, signal.SIGSTOP)
            await asyncio.sleep(seconds)
        finally:
            self._send(running, signal.SIGCONT)
            self.stopped = False

    async def disturb(self, kind: str, seconds: float) -> None:
        """Inject a fault of the process, or of its way to the database."""
        match kind:
            case "kill":
                self.kill()
            case "terminate":
                self.terminate()
            case "stop":
                await self.stop_for(seconds)
            case "cut":
                self.proxy.cut()
            case "hole":
                async with self.proxy.hole():
                    await asyncio.sleep(seconds)
            case "deaf":
                async with self.proxy.deaf():
                    await asyncio.sleep(seconds)
            case _:
                raise ValueError(f"a cluster has no fault called {kind}")

    @staticmethod
    def _send(running: Process, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            running.process.send_signal(number)


class Cluster:
    """What the laboratory does with several scanners as it does with one. Open with `cluster`."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        session: aiohttp.ClientSession,
        pair: DatabasePair,
        stack: AsyncExitStack,
        seed: int,
    ) -> None:
        self.anomalies: list[str] = []
        self.unexpected_exits: list[str] = []
        self.output: list[str] = []
        self.nodes: list[NodeProcess] = []
        self.log = FailoverLog()
        self.troubles: list[Trouble] = []
        self._folder = folder
        self._env = dict(env)
        self._session = session
        self._pair = pair
        self._stack = stack
        self._keeping: list[asyncio.Task[None]] = []
        self._restarts: set[asyncio.Task[None]] = set()
        self._rng = random.Random(f"nodes of {seed}")

    @property
    def api(self) -> Api | None:
        """One that runs, as a balancer picks it."""
        ready = [node.api for node in self.nodes if node.api is not None and not node.stopped]
        return self._rng.choice(ready) if ready else None

    async def add(self) -> None:
        """Start one more."""
        proxy = await self._stack.enter_async_context(TcpProxy(lambda: self._pair.socket))
        name = f"node-{len(self.nodes)}"
        own = {
            **{key: value for key, value in self._env.items() if key != "DB_PATH"},
            "DATABASE_URL": f"postgresql://us@127.0.0.1:{proxy.port}/{DATABASE}",
            "SCANNER_NODE_ID": name,
            "SCANNER_LEASE_SEC": str(LEASE_S),
        }
        node = NodeProcess(name, self._folder / name, own, self._session, proxy)
        node.anomalies, node.unexpected_exits, node.output = self.anomalies, self.unexpected_exits, self.output
        self.nodes.append(node)
        self._keeping.append(asyncio.create_task(node.keep(), name=name))

    async def ready(self) -> None:
        """Wait until every process answers and the chain is led."""
        async with asyncio.timeout(STARTS_S):
            while self.log.leader is None or any(node.api is None for node in self.nodes):  # noqa: ASYNC110 - nor has a balancer an event
                await asyncio.sleep(LOOK_S)

    def terminate(self) -> None:
        for node in self.nodes:
            self._end(node, "restart of all")

    def _end(self, node: NodeProcess, kind: str) -> None:
        """End a process; until it answers again it is in trouble."""
        before = node.api

        async def restarted() -> None:
            with self._noted(kind, node.name):
                while node.api is None or node.api is before:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_S)

        (node.kill if kind == "kill" else node.terminate)()
        task = asyncio.create_task(restarted(), name=f"{node.name} ended by {kind}")
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def stop(self) -> None:
        """End all of them for good; each has to be clean."""
        await self.ready()  # others answer for one that was killed last and is still being started
        for node in self.nodes:
            await node.stop()
        await asyncio.wait(self._keeping)

    async def close(self) -> None:
        tasks = [*self._keeping, *self._restarts]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def check(self) -> None:
        """Run `python -m scanner check` on the database that is left."""
        env = {n: v for n, v in self._env.items() if n != "DB_PATH"} | {"DATABASE_URL": self._pair.url}
        checking = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scanner", "check"),
            cwd=ROOT,
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await checking.communicate()
        if checking.returncode != 0:
            self.anomalies.append(f"the store is not whole: {said.decode()}")

    def skew(self, seconds: int) -> None:
        """Set one host's clock: all of them go by the database's."""
        self._rng.choice(self.nodes).skew(seconds)

    async def inject(self, kind: str, seconds: float, size: int) -> None:
        """Inject a fault of a process, of its way to the database, or of the database."""
        match kind:
            case "promote":
                with self._noted(kind, "database"):
                    await self._pair.promote()
            case "promote_behind":
                with self._noted(kind, "database"):
                    await self._pair.promote(behind_s=LEFT_UNANSWERED_S)
            case "stall":
                with self._noted(kind, "database"):
                    await self._pair.stall(seconds)
            case "migrate":
                await self._migrate()
            case "add":
                await self.add()
            case _:
                await self._disturb(self._picked(size), kind, seconds)

    def _picked(self, size: int) -> NodeProcess:
        """Return a node by its number, or whoever leads."""
        leader = self.log.leader if size == LEADER else None
        return next((node for node in self.nodes if node.name == leader), self.nodes[size % len(self.nodes)])

    async def _disturb(self, node: NodeProcess, kind: str, seconds: float) -> None:
        if kind in {"kill", "terminate"}:
            self._end(node, kind)
            return
        with self._noted(kind, node.name):
            await node.disturb(kind, seconds)

    async def _migrate(self) -> None:
        settings = PostgresSettings(url=self._pair.url, schema=SCHEMA, setting="DATABASE_URL")
        with suppress(StoreError):  # the database may be away
            await asyncio.gather(migrate_postgresql(settings), migrate_postgresql(settings))

    def _noted(self, kind: str, where: str) -> _Noted:
        return _Noted(self.troubles, kind, where)

    def notes(self) -> list[str]:
        """Say how long each failover took; one that nothing else disturbed has to be in time."""
        most, names, said = 2 * LEASE_S + 1, [node.name for node in self.nodes], []
        for failover in self.log.failovers:
            judged = is_undisturbed(failover, self.troubles, names)
            cause = cause_of(failover, self.troubles)
            said.append(f"failover {cause} {failover.seconds:.1f} s{'' if judged else ' (other troubles meanwhile)'}")
            if judged and failover.seconds > most:
                self.anomalies.append(f"{failover} took {failover.seconds:.1f} s ({cause}), at most {most} are allowed")
        return said + [f"no primary for {seconds:.1f} s" for seconds in self._pair.takeovers]


class _Noted:
    """Notes from when to when something is wrong, also what is not over yet."""

    def __init__(self, troubles: list[Trouble], kind: str, where: str) -> None:
        self._troubles = troubles
        self._trouble = Trouble(kind, where, _now_ms(), sys.maxsize)

    def __enter__(self) -> None:
        self._troubles.append(self._trouble)

    def __exit__(self, *_: object) -> None:
        self._troubles.remove(self._trouble)
        self._troubles.append(replace(self._trouble, until=_now_ms() + int(RECOVERS_S * 1000)))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def cluster(
    folder: Path, env: Mapping[str, str], session: aiohttp.ClientSession, seed: int
) -> AsyncIterator[Cluster]:
    """Keep three scanners running on a replicated database until the block ends."""
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(database_pair(DATABASE))
        together = Cluster(folder, env, session, pair, stack, seed)
        for _ in range(NODES):
            await together.add()
        watching: asyncio.Task[Any] = asyncio.create_task(watch_failovers(lambda: pair.url, CHAIN_ID, together.log))
        try:
            await together.ready()
            yield together
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await together.close()
