"""Registrations, pages and deliveries on SQLite and on PostgreSQL, beside each other in one run."""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from bench.api import listening, load, scanner_env
from bench.scan import CHAIN_ID, draft, fill
from bench.scan import store as sqlite_store
from bench.stores import DURABLE, SKIPPED, postgresql_store, settings
from bench.table import TableRow
from bench.webhooks import RECEIVER
from chains.types import Transfer
from devnet.evm.generated_chain import TOKEN
from kernel.clock import SystemClock
from kernel.store.database import Database
from kernel.store.leases import LeasedDatabase, Leases
from kernel.store.postgresql import PostgresDatabase, open_postgresql
from scanner import events, ingest
from scanner.cluster import chain_lock
from scanner.model import EventType, Intent
from scanner.registration.intents import Registrations
from scanner.store import intents, outbox
from scanner.store.migrate import migrate_postgresql
from scanner.upkeep.metrics import Metrics
from tests import postgres
from webhooks.dispatcher import WebhookDispatcher
from webhooks.http_sender import open_sender
from webhooks.schedule import RetrySchedule
from webhooks.ssrf_guard import SsrfGuard

PAGE, PAGES = 1_000, 7
RECEIVERS, DELIVERIES, ROUNDS = 8, 4_000, 3
LATE_MS = 10**12
LOOK_S = 0.02
KEY = "A" * 43 + "="

HOSTS = [f"127.0.0.{1 + number}" for number in range(RECEIVERS)]


# --- POST /intents --------------------------------------------------------------------------------


def shared_env(folder: str, url: str, number: int) -> dict[str, str]:
    env = scanner_env(folder, DATABASE_URL=url, SCANNER_SECRET_KEY=KEY, SCANNER_NODE_ID=f"node-{number}")
    del env["DB_PATH"]
    return env


async def registrations(*envs: dict[str, str]) -> float:
    """Return how many a second are stored by daemons with these environments, all asked at once."""
    async with AsyncExitStack() as stack:
        urls = [(await stack.enter_async_context(listening("-m", "scanner", env=env)))[0] for env in envs]
        rates = [await asyncio.gather(*map(load, urls)) for _ in range(ROUNDS)]
    return max(map(sum, rates))


# --- a page ---------------------------------------------------------------------------------------


def payment(intent: Intent, number: int) -> Transfer:
    block = number // 200
    return Transfer(
        chain_id=CHAIN_ID,
        tx_hash=f"0x{number:064x}",
        event_key="0",
        log_index=0,
        block_number=block,
        block_hash=f"0x{block:064x}",
        block_time=None,
        token=TOKEN.lower(),
        destination=intent.destination_key,
        amount=intent.amount,
        reference=intent.topic_ref,
        fee_amount=0,
        fee_address=intent.fee_address,
    )


async def pages(db: Database, leader: Database) -> float:
    """Return the best time, in ms, in which 1,000 payments of as many intents are judged and stored."""
    await fill(db, PAGE * PAGES)
    async with db.read() as tx:
        waiting = await intents.get_many(tx, {f"order-{number}" for number in range(PAGE * PAGES)})
    paid = [payment(intent, number) for number, intent in enumerate(waiting.values())]
    times = []
    for start in range(0, len(paid), PAGE):
        gc.collect()
        began = time.perf_counter()
        async with leader.write() as tx:
            page = paid[start : start + PAGE]
            await ingest.record_page(tx, CHAIN_ID, page, now=2**41, late_ms=LATE_MS)
        times.append(time.perf_counter() - began)
    return min(times) * 1000


@asynccontextmanager
async def leading(db: PostgresDatabase) -> AsyncIterator[Database]:
    """Lead the chain: each page looks at its lease."""
    lease = chain_lock(CHAIN_ID)
    leases = Leases(db, SystemClock(), node_id="bench", version="1", lease_s=20, names=[lease])
    await leases.join()
    if not await leases.take(lease):
        raise RuntimeError("somebody else leads the chain of a fresh store")
    yield LeasedDatabase(db, leases, lease)


# --- deliveries -----------------------------------------------------------------------------------


async def queue(db: Database, port: str) -> None:
    """Queue events for several receivers, as settling would."""
    registering = Registrations(db, SystemClock(), ttl_hours=0)
    task = asyncio.create_task(registering.run())
    for start in range(0, DELIVERIES, 1000):
        drafts = []
        for number in range(start, start + 1000):
            receiver = f"http://{HOSTS[number % RECEIVERS]}:{port}"
            drafts.append(draft(number, {"receiver": receiver}, callbackUrl=f"{receiver}/hook"))
        made = await asyncio.gather(*(registering.register(each) for each in drafts))
        rows = [events.expired(intent, 0) | {"event_type": EventType.EXPIRED} for intent in made]
        async with db.write() as tx:
            await outbox.add(tx, rows)
    task.cancel()
    await asyncio.wait([task])


@asynccontextmanager
async def delivering(db: Database, lanes: Leases | None) -> AsyncIterator[None]:
    async with open_sender(SsrfGuard(frozenset(), production=False), timeout_s=15) as client:
        dispatcher = WebhookDispatcher(
            db=db, client=client, schedule=RetrySchedule((5,)), clock=SystemClock(), metrics=Metrics(), lanes=lanes
        )
        task = asyncio.create_task(dispatcher.run())
        try:
            yield
        finally:
            dispatcher.stop()
            await task


async def until_delivered(db: Database) -> None:
    while True:
        async with db.read() as tx:
            if not await outbox.backlog(tx):
                return
        await asyncio.sleep(LOOK_S)


async def deliver_alone(db: Database) -> float:
    began = time.perf_counter()
    async with delivering(db, None):
        await until_delivered(db)
    return time.perf_counter() - began


async def deliver_shared(db: PostgresDatabase, processes: int) -> float:
    """Return how long so many processes of their own take together, from the moment they may begin."""
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(_deliverer(db.settings.url, n)) for n in range(processes)]
        began = time.perf_counter()
        for process in started:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        await until_delivered(db)
        return time.perf_counter() - began


@asynccontextmanager
async def _deliverer(url: str, number: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.store", url, f"node-{number}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    if not await process.stdout.readline():
        raise RuntimeError("a deliverer ended")
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()  # for that it waits
        await process.wait()


async def be_deliverer(url: str, name: str) -> None:
    """Deliver from a line of standard input to its end, as one of several processes."""
    async with open_postgresql(settings(url)) as db:
        leases = Leases(db, SystemClock(), node_id=name, version="1", lease_s=6, names=[])
        await leases.join()
        task = asyncio.create_task(leases.run())
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async with delivering(db, leases):
            await asyncio.to_thread(sys.stdin.readline)
        task.cancel()
        await asyncio.wait([task])
        await leases.leave()


# --- all of it ------------------------------------------------------------------------------------


async def measure_sqlite(port: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        found = {"POST /intents, durable": await registrations(scanner_env(folder))}
    async with sqlite_store() as db:
        found["a page of 1,000 transfers"] = await pages(db, db)
    took = []
    for _ in range(ROUNDS):
        async with sqlite_store() as db:
            await queue(db, port)
            took.append(await deliver_alone(db))
    return found | {"deliveries": DELIVERIES / min(took)}


async def measure_postgresql(server: postgres.Server, port: str) -> dict[str, float]:
    found = {}
    for processes in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            async with server.database() as url:
                await migrate_postgresql(settings(url))
                rate = await registrations(*(shared_env(folder, url, number) for number in range(processes)))
        found[f"POST /intents, durable, {processes}"] = rate
    opened = postgresql_store(server)
    async with opened() as db, leading(_shared(db)) as leader:
        found["a page of 1,000 transfers"] = await pages(db, leader)
    for processes in (1, 2):
        took = []
        for _ in range(ROUNDS):
            async with opened() as db:
                await queue(db, port)
                took.append(await deliver_shared(_shared(db), processes))
        found[f"deliveries, {processes}"] = DELIVERIES / min(took)
    return found


def _shared(db: Any) -> PostgresDatabase:
    assert isinstance(db, PostgresDatabase)
    return db


async def run() -> list[TableRow]:
    async with AsyncExitStack() as stack:
        url, _ = await stack.enter_async_context(listening("-c", RECEIVER, *HOSTS))
        port = url.rpartition(":")[2]
        lite = await measure_sqlite(port)
        if postgres.BINARIES is None:
            return [TableRow("store: PostgreSQL", SKIPPED, "", "", "", None)]
        server = postgres.Server.start(DURABLE)
        stack.callback(server.stop)
        shared = await measure_postgresql(server, port)
    return table(lite, shared)


def table(lite: dict[str, float], shared: dict[str, float]) -> list[TableRow]:
    rows = []
    for name in ("POST /intents, durable", "deliveries"):
        one, two = shared[f"{name}, 1"], shared[f"{name}, 2"]
        rows += [
            TableRow(f"store: {name}, one process", f"{one:,.0f}/s", f"SQLite {lite[name]:,.0f}/s",
                f"{one / lite[name]:.0%} of SQLite", "", None),
            TableRow(f"store: {name}, two processes", f"{two:,.0f}/s", f"one process {one:,.0f}/s",
                f"{two / one:.0%} of one process", "", None),
        ]  # fmt: skip
    name = "a page of 1,000 transfers"
    ratio = shared[name] / lite[name]
    rows.append(
        TableRow(
            f"store: {name}", f"{shared[name]:.0f} ms", f"SQLite {lite[name]:.0f} ms", f"{ratio:.1f} times", "", None
        )
    )
    return rows


if __name__ == "__main__":
    asyncio.run(be_deliverer(*sys.argv[1:]))
