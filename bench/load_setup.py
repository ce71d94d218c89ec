"""Where the load measurement takes place: two chains whose time passes fast, a scanner of its own, a receiver."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from bench.load_figures import Moment, Timed
from bench.memory import rss_mb
from devnet.evm.anvil import CHAIN_ID, Anvil, anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.processes import ESCROW, USDT, scanner_service, started
from devnet.receiver import Delivery, Receiver, receiver

POLL_S = 15  # the scanner's default
BLOCK_S = 3
OTHER_CHAIN = 56
OTHER_USDT = "0x55d398326f99059fF775485246999027B3197955"
PATIENCE_S = 120
TICKS = os.sysconf("SC_CLK_TCK")


class LoadError(Exception):
    """The scanner did not do what was asked: there is nothing to measure."""


@dataclass(slots=True)
class Measurements:
    """What was seen; times are of the monotonic clock."""

    calls: dict[str, list[Timed]] = field(default_factory=dict)
    mined: dict[int, float] = field(default_factory=dict)  # when each block of the paying chain was there
    reported: dict[str, Timed] = field(default_factory=dict)  # by event id
    doubled: int = 0
    moments: list[Moment] = field(default_factory=list)
    intents: int = 0  # registered
    paid: int = 0

    def take(self, delivery: Delivery) -> None:
        """Note a webhook as it comes in."""
        if delivery.event_id in self.reported:
            self.doubled += 1
            return
        mined = self.mined[delivery.json["blockNumber"]]
        self.reported[delivery.event_id] = Timed(mined, time.monotonic() - mined)


@dataclass(frozen=True, slots=True)
class LoadSetup:
    """Everything that runs."""

    chain: Anvil  # where buyers pay
    other: FaultyRpc  # the other chain's node
    scanner: str
    pid: int
    hooks: Receiver
    session: aiohttp.ClientSession
    measurements: Measurements
    paying: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def call(self, name: str, method: str, path: str, body: Any = None) -> Any:
        """Ask the scanner and note how long it took; anything but success is the end."""
        data = None if body is None else orjson.dumps(body)
        started_at = time.monotonic()
        async with self.session.request(method, self.scanner + path, data=data) as response:
            raw = await response.read()
        self.measurements.calls.setdefault(name, []).append(Timed(started_at, time.monotonic() - started_at))
        if response.status != 200:
            raise LoadError(f"{method} {path}: {response.status} {raw.decode()}")
        return orjson.loads(raw) if response.content_type == "application/json" else None

    async def pay(self, reference: str, amount: int) -> None:
        """Pay the shop; the node numbers one sender's transactions rightly only when they come one by one."""
        async with self.paying:
            await self.chain.pay(USDT, ESCROW, amount, reference)
        self.measurements.paid += 1

    async def mine(self, pause_s: float) -> None:
        """Mine a block of three seconds every so often, for ever."""
        while True:
            await asyncio.gather(self._mine(), asyncio.sleep(pause_s))

    async def _mine(self) -> None:
        await self.chain.rpc("evm_mine")
        self.measurements.mined[await self.chain.height()] = time.monotonic()

    def look(self) -> None:
        """Note how the scanner's process is."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / TICKS
        self.measurements.moments.append(Moment(time.monotonic(), rss_mb(self.pid), cpu_s, self.measurements.intents))


@asynccontextmanager
async def run_load_setup(pace: float) -> AsyncIterator[LoadSetup]:
    """Build everything, with time passing `pace` times as fast on the chains and between polls."""
    key = secrets.token_urlsafe(32)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        chain = await stack.enter_async_context(anvil())
        second = await stack.enter_async_context(anvil(chain_id=OTHER_CHAIN))
        await _furnish(chain, USDT)
        await _furnish(second, OTHER_USDT)
        other = await stack.enter_async_context(FaultyRpc(second.url))
        more = {
            "SCANNER_ENABLED_CHAINS": f"{CHAIN_ID},{OTHER_CHAIN}",
            "RPC_BSC": other.url,
            "POLL_INTERVAL_SEC": str(POLL_S / pace),
        }
        service = await stack.enter_async_context(started(scanner_service(folder, chain.url, key, **more)))
        assert service._process is not None
        hooks = await stack.enter_async_context(receiver())
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers={"Authorization": f"Bearer {key}"})
        )
        built = LoadSetup(chain, other, service.url, service._process.pid, hooks, session, Measurements())
        hooks.on_delivery = built.measurements.take
        await _ready(built)
        async with mining(built, second, BLOCK_S / pace):
            yield built


async def _furnish(chain: Anvil, token: str) -> None:
    await chain.token("USDT", 18, at=token)
    await chain.fund(token, chain.accounts[1])
    await chain.mine(20)
    await chain.rpc("anvil_setBlockTimestampInterval", [BLOCK_S])
    await chain.automine(on=False)


async def _ready(built: LoadSetup) -> None:
    """Wait until every chain has been polled."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with built.session.get(built.scanner + "/ready") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def mining(built: LoadSetup, second: Anvil, pause_s: float) -> AsyncIterator[None]:
    """Let both chains grow until the block ends."""

    async def mine_second() -> None:
        while True:
            await asyncio.gather(second.mine(), asyncio.sleep(pause_s))

    miners = [asyncio.create_task(built.mine(pause_s)), asyncio.create_task(mine_second())]
    try:
        yield
    finally:
        for miner in miners:
            miner.cancel()
        for ended in await asyncio.gather(*miners, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
