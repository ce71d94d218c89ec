"""Two marketplaces on one replicated database, behind a balancer, and the faults of all of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from kernel.store.leases import CLOCK
from marketplace.store.migrate import SCHEMA
from tests.chaos.cluster import LOOK_S, STARTS_S, NodeProcess
from tests.chaos.database_pair import DatabasePair, database_pair
from tests.chaos.market_audit import Row
from tests.chaos.supervisor import Supervisor
from tests.chaos.tcp_proxy import TcpProxy
from tests.harness import Api

NODES = 2
DATABASE = "marketplace"
ANSWERS_S = 60.0  # until a database that is promoted answers again
ASK_AGAIN_S = 0.2
SECRET_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class MarketCluster:
    """What the laboratory does with several marketplaces as it does with one. Open with `market_cluster`."""

    def __init__(self, pair: DatabasePair, seed: int) -> None:
        self.anomalies: list[str] = []
        self.unexpected_exits: list[str] = []
        self.output: list[str] = []
        self.nodes: list[NodeProcess] = []
        self._pair = pair
        self._rng = random.Random(f"marketplaces of {seed}")
        self._passed_s = 0

    @property
    def api(self) -> Api | None:
        """One that runs, as a balancer picks it."""
        ready = [node.api for node in self.nodes if node.api is not None and not node.stopped]
        return self._rng.choice(ready) if ready else None

    def where(self) -> int:
        """
        Return the port of one that runs.

        Raises:
            ConnectionRefusedError: none does.
        """
        api = self.api
        if api is None:
            raise ConnectionRefusedError
        return int(api.url.rpartition(":")[2])

    async def ready(self) -> None:
        """Wait until every process answers."""
        async with asyncio.timeout(STARTS_S):
            while any(node.api is None for node in self.nodes):  # noqa: ASYNC110 - nor has a balancer an event
                await asyncio.sleep(LOOK_S)

    async def select(self, statement: str) -> list[Row]:
        """Ask the primary, as soon as there is one."""
        return [tuple(row) for row in await self._asked(lambda link: link.fetch(statement))]

    async def _asked(self, question: Callable[[Any], Any]) -> Any:
        async with asyncio.timeout(ANSWERS_S):
            while True:
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    link = await asyncpg.connect(self._pair.url, server_settings={"search_path": SCHEMA})
                    try:
                        return await question(link)
                    finally:
                        await link.close()
                await asyncio.sleep(ASK_AGAIN_S)

    async def advance_clocks(self, seconds: int) -> None:
        """Let so much time pass at once, by the clocks of every process and of the database."""
        self._passed_s += seconds
        for node in self.nodes:
            await node.advance_clocks(seconds)
        await self._asked(lambda link: link.execute(_clock(self._passed_s * 1000)))

    def terminate(self) -> None:
        for node in self.nodes:
            node.terminate()

    async def stop(self) -> None:
        """End all of them for good; each has to be clean."""
        await self.ready()  # others answer for one that was killed last and is still being started
        for node in self.nodes:
            await node.stop()

    async def inject(self, kind: str, seconds: float, size: int = 0) -> None:
        """Inject a fault of a process, of its way to the database, or of the database."""
        if kind == "promote":
            await self._pair.promote()
        else:
            await self.nodes[size % len(self.nodes)].disturb(kind, seconds)


def _clock(ahead_ms: int) -> str:
    """Return the statement that sets the clock of the database, by which every process goes."""
    made = CLOCK.replace("CREATE", "CREATE OR REPLACE", 1)
    return made.replace("::bigint $$", f"::bigint + {ahead_ms} $$")


@asynccontextmanager
async def market_cluster(
    folder: Path, env: Mapping[str, str], session: aiohttp.ClientSession, seed: int, bugs: tuple[str, ...]
) -> AsyncIterator[tuple[MarketCluster, str]]:
    """Keep two marketplaces running on a replicated database until the block ends, and yield where people reach them."""
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(database_pair(DATABASE))
        together = MarketCluster(pair, seed)
        balancer = await stack.enter_async_context(TcpProxy(together.where))
        for number in range(NODES):
            proxy = await stack.enter_async_context(TcpProxy(lambda: pair.socket))
            name = f"marketplace-{number}"
            own = {
                **{key: value for key, value in env.items() if key != "MARKETPLACE_DB_PATH"},
                "MARKETPLACE_DATABASE_URL": f"postgresql://us@127.0.0.1:{proxy.port}/{DATABASE}",
                "MARKETPLACE_SECRET_KEY": SECRET_KEY,
            }
            node = NodeProcess(name, folder / name, own, session, proxy, module="marketplace", bugs=bugs)
            node.anomalies, node.unexpected_exits, node.output = (
                together.anomalies,
                together.unexpected_exits,
                together.output,
            )
            together.nodes.append(node)
            await stack.enter_async_context(_kept(node))
        await together.ready()
        yield together, f"http://127.0.0.1:{balancer.port}"


@asynccontextmanager
async def _kept(node: Supervisor) -> AsyncIterator[None]:
    keeping = asyncio.create_task(node.keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
