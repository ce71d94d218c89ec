"""5,000 deliveries to a loopback receiver, beside a bare client loop to the same receiver."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from bench.api import listening
from bench.scan import draft, store
from bench.table import TableRow
from kernel.clock import SystemClock
from kernel.store.database import Database
from scanner import events
from scanner.model import EventType
from scanner.registration.intents import Registrations
from scanner.store import outbox
from scanner.upkeep.metrics import Metrics
from webhooks.dispatcher import MAX_IN_FLIGHT, WebhookDispatcher
from webhooks.http_sender import open_sender
from webhooks.schedule import RetrySchedule
from webhooks.ssrf_guard import SsrfGuard

DELIVERIES, ROUNDS = 5_000, 5

# Takes everything at /hook, at each loopback address it is given and one port of all of them.
RECEIVER = """
import asyncio, sys
from aiohttp import web

async def take(request):
    await request.read()
    return web.Response()

async def main():
    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    first, *others = sys.argv[1:]
    await web.TCPSite(runner, first, 0).start()
    port = runner.addresses[0][1]
    for host in others:
        await web.TCPSite(runner, host, port).start()
    print("listening on http://%s:%d" % (first, port), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def queue(db: Database, url: str) -> list[bytes]:
    """Queue events for the receiver, as settling would."""
    registrations = Registrations(db, SystemClock(), ttl_hours=0)
    task = asyncio.create_task(registrations.run())
    bodies = []
    for start in range(0, DELIVERIES, 1000):
        drafts = [draft(i, {"receiver": url}, callbackUrl=f"{url}/hook") for i in range(start, start + 1000)]
        made = await asyncio.gather(*(registrations.register(each) for each in drafts))
        rows = [events.expired(intent, 0) | {"event_type": EventType.EXPIRED} for intent in made]
        bodies += [row["body"].encode() for row in rows]
        async with db.write() as tx:
            await outbox.add(tx, rows)
    task.cancel()
    await asyncio.wait([task])
    return bodies


async def deliver(db: Database) -> float:
    metrics = Metrics()
    done = metrics.attempts.labels("delivered")
    async with open_sender(SsrfGuard(frozenset(), production=False), timeout_s=15) as client:
        dispatcher = WebhookDispatcher(
            db=db, client=client, schedule=RetrySchedule((5,)), clock=SystemClock(), metrics=metrics
        )
        started = time.perf_counter()
        task = asyncio.create_task(dispatcher.run())
        while done._value.get() < DELIVERIES:
            await asyncio.sleep(0.01)
        dispatcher.stop()
        await task  # ends when the last outcome is written
        return time.perf_counter() - started


async def bare(url: str, bodies: list[bytes]) -> float:
    rest = iter(bodies)
    async with aiohttp.ClientSession() as session:

        async def queue() -> None:
            for body in rest:
                async with session.post(f"{url}/hook", data=body) as response:
                    await response.read()

        started = time.perf_counter()
        await asyncio.gather(*(queue() for _ in range(MAX_IN_FLIGHT)))
        return time.perf_counter() - started


async def run() -> list[TableRow]:
    ours, peers = [], []
    async with listening("-c", RECEIVER, "127.0.0.1") as (url, _):
        for _ in range(ROUNDS):
            async with store() as db:
                bodies = await queue(db, url)
                peers.append(await bare(url, bodies))
                ours.append(await deliver(db))
                async with db.read() as tx:
                    assert not await outbox.backlog(tx)
    mine, peer = min(ours), min(peers)  # the best of each: what the machine did beside it only slows
    ratio = peer / mine
    return [
        TableRow("webhooks: 5,000 signed, recorded deliveries", f"{DELIVERIES / mine:,.0f}/s",
            f"bare aiohttp loop {DELIVERIES / peer:,.0f}/s", f"{ratio:.0%}", "≥ 70 %", ratio >= 0.7),
    ]  # fmt: skip
