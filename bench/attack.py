"""What a stranger's attack costs the stranger, and what it costs us: each at two sizes, so that the growth is seen."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.api import scanner_env
from bench.table import TableRow
from devnet.evm.anvil import CHAIN_ID, Anvil, anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.evm.local_node import call_data
from devnet.receiver import Receiver, receiver

USDT = "0x109F54Dab34426D5477986b0460aE5dFBA65f022"
POLL_S = 1.0
HEALTH_EVERY_S = 0.05
PATIENCE_S = 120
QUIET_S = 3 * POLL_S  # after the innocent buyer: what is still being done for the stranger counts too
ROW_CAP = 200  # stands for the 10,000 rows of real providers: the same code, less load
DESCRIPTORS = 256
EVENTS = ["payment.detected", "payment.confirming", "payment.partial", "payment.late", "payment.anomaly"]
MEBI = 1024 * 1024


@dataclass
class AttackSetup:
    """A local chain, an endpoint in front of it, and the daemon under attack."""

    chain: Anvil
    rpc: FaultyRpc
    hooks: Receiver
    session: aiohttp.ClientSession
    folder: Path
    url: str
    pid: int
    stranger: str
    latencies: list[float] = field(default_factory=list)
    silent: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)  # kept open

    async def create(self, intent_id: str, number: int, amount: int, **more: Any) -> str:
        """Register a direct intent; return its address."""
        destination = f"0x6{number:039x}"
        body = {
            "intentId": intent_id,
            "chainId": CHAIN_ID,
            "token": "USDT",
            "rail": "direct",
            "destination": destination,
            "amount": str(amount),
            "confirmations": 5,
            "callbackUrl": self.hooks.url(),
            "callbackSecret": "a shared secret",
            **more,
        }
        async with self.session.post(f"{self.url}/intents", json=body) as response:
            assert response.status == 200, await response.text()
        return destination

    async def status(self, intent_id: str) -> str:
        async with self.session.get(f"{self.url}/intents/{intent_id}") as response:
            return str((await response.json())["intent"]["status"])

    async def confirmed_after(self, intent_id: str, since: float) -> float:
        while await self.status(intent_id) != "confirmed":
            if time.monotonic() - since > PATIENCE_S:
                return float("inf")
            await asyncio.sleep(0.05)
        return time.monotonic() - since

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def size(self) -> int:
        return sum(each.stat().st_size for each in self.folder.glob("scanner.db*"))

    async def watch_health(self) -> None:
        """Ask for /health all the time, as a liveness probe does, on connections of its own."""
        while True:
            started = time.monotonic()
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self.session.get(f"{self.url}/health") as response:
                    await response.read()
            self.latencies.append(time.monotonic() - started)
            await asyncio.sleep(HEALTH_EVERY_S)


@asynccontextmanager
async def run_attack_setup(*, descriptors: int | None = None) -> AsyncIterator[AttackSetup]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        chain = await stack.enter_async_context(anvil())
        await chain.token("USDT", 18, at=USDT)
        stranger = await chain.deploy("Stranger")
        await chain.send(USDT, call_data("mint(address,uint256)", stranger, 10**30))
        await chain.fund(USDT, chain.accounts[1])
        await chain.mine(20)
        rpc = await stack.enter_async_context(FaultyRpc(chain.url))
        hooks = await stack.enter_async_context(receiver())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        env = scanner_env(str(folder), rpc.url, POLL_INTERVAL_SEC=str(POLL_S), LOG_LEVEL="info")
        url, pid = await stack.enter_async_context(_daemon(env, descriptors))
        yield AttackSetup(chain, rpc, hooks, session, folder, url, pid, stranger)


@asynccontextmanager
async def _daemon(env: dict[str, str], descriptors: int | None) -> AsyncIterator[tuple[str, int]]:
    """Run the daemon, with no more descriptors than it is given."""

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scanner",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
        preexec_fn=limit,
    )
    assert process.stdout is not None
    drain: asyncio.Task[None] | None = None
    try:
        while "listening on " not in (line := (await process.stdout.readline()).decode()):
            if not line:
                raise RuntimeError("the scanner ended")
        drain = asyncio.create_task(_drain(process.stdout))
        yield line.split("listening on ")[1].split()[0], process.pid
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        if drain is not None:
            await drain


async def _drain(output: asyncio.StreamReader) -> None:
    while await output.readline():
        pass


@dataclass(frozen=True, slots=True)
class Cost:
    """Who paid what for one attack."""

    gas: int
    cpu_s: float
    size: int
    worst_s: float
    p99_s: float
    delay_s: float  # from the innocent buyer's payment being deep enough to its confirmation
    reported: int  # webhooks


Attack = Callable[[AttackSetup, int], Awaitable[int]]  # returns the gas


async def dust(on: AttackSetup, count: int) -> int:
    """One unit of the right token, many times, to a known address."""
    victim = await on.create("victim", 1, 10**18)
    return await on.chain.dust(on.stranger, USDT, victim, count)


async def row_cap(on: AttackSetup, count: int) -> int:
    """More worthless logs in one block than the endpoint answers with."""
    victim = await on.create("victim", 1, 10**18)
    on.rpc.most_rows = ROW_CAP
    return await on.chain.worthless(on.stranger, victim, count)


async def spam(on: AttackSetup, count: int) -> int:
    """Worthless logs to an intent whose backend wants to be notified of everything."""
    victim = await on.create("victim", 1, 10**18, events=EVENTS)
    return await on.chain.worthless(on.stranger, victim, count)


async def idle_sockets(on: AttackSetup, count: int) -> int:
    """Connections that say nothing."""
    host, port = on.url.removeprefix("http://").split(":")
    for _ in range(count):
        with suppress(OSError):
            on.silent.append(await asyncio.open_connection(host, int(port)))
    return 0


async def measure(attack: Attack | None, count: int, *, descriptors: int | None = None) -> Cost:
    """Let one stranger loose, and an innocent buyer pay at the same time."""
    async with run_attack_setup(descriptors=descriptors) as on:
        shop = await on.create("innocent", 2, 1000)
        watching = asyncio.create_task(on.watch_health())
        await asyncio.sleep(2 * POLL_S)
        cpu, size, on.latencies[:] = on.cpu_s(), on.size(), []
        gas = 0 if attack is None else await attack(on, count)
        await on.chain.transfer(USDT, shop, 1000)
        await on.chain.mine(6)
        delay = await on.confirmed_after("innocent", time.monotonic())
        await asyncio.sleep(QUIET_S)
        watching.cancel()
        seen = sorted(on.latencies)
        return Cost(
            gas=gas,
            cpu_s=on.cpu_s() - cpu,
            size=on.size() - size,
            worst_s=seen[-1],
            p99_s=seen[int(len(seen) * 0.99)],
            delay_s=delay,
            reported=len(on.hooks.deliveries),
        )


ATTACKS: dict[str, tuple[Attack, tuple[int, int], int | None]] = {
    "{:,} transfers of one unit in one transaction": (dust, (2_000, 8_000), None),
    f"{{:,}} worthless logs in a block, endpoint answers {ROW_CAP} rows": (row_cap, (250, 1_000), None),
    "{:,} worthless logs to an intent with opt-in events": (spam, (1_000, 4_000), None),
    f"{{:,}} connections that say nothing, {DESCRIPTORS} descriptors": (idle_sockets, (150, 300), DESCRIPTORS),
}


async def run() -> list[TableRow]:
    usual = await measure(None, 0)
    rows = [_row("attack: none, an innocent buyer alone", usual, usual)]
    for name, (attack, sizes, descriptors) in ATTACKS.items():
        for count in sizes:
            cost = await measure(attack, count, descriptors=descriptors)
            rows.append(_row("attack: " + name.format(count), cost, usual))
    return rows


def _row(name: str, cost: Cost, usual: Cost) -> TableRow:
    ours = (
        f"{cost.cpu_s:.2f} s CPU, {cost.size / MEBI:.2f} MiB, {cost.reported} webhooks, "
        f"/health p99 {cost.p99_s * 1000:.0f} ms, worst {cost.worst_s * 1000:.0f} ms, buyer {cost.delay_s:.1f} s"
    )
    price = f"{cost.gas:,} gas" if cost.gas else "no gas"
    ratio = f"{max(0.0, cost.cpu_s - usual.cpu_s) / cost.gas * 1e9:.0f} ms CPU per million gas" if cost.gas else ""
    fine = cost.p99_s < 0.25 and cost.delay_s <= 3 * POLL_S + usual.delay_s
    return TableRow(name, ours, price, ratio, "p99 < 250 ms, buyer within 3 polls", fine)
