"""5,000 waiting direct intents and 50,000 unrelated transfers: one poll, beside one `eth_getLogs` an intent."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import orjson

from bench.scan import CHAIN_ID, chain, draft, store
from bench.table import TableRow
from chains.evm.adapter import open_adapter
from chains.evm.events import TRANSFER_TOPIC
from chains.types import Cursor, Rail
from devnet.evm.anvil import Anvil, anvil
from devnet.evm.faulty_rpc import FaultyRpc
from kernel.clock import SystemClock
from kernel.store.database import Database
from scanner.registration.intents import Registrations
from scanner.registration.tokens import ResolvedToken
from scanner.store import checkpoints, intents
from scanner.upkeep.metrics import ChainTelemetry, Metrics
from scanner.worker import ChainWorker

INTENTS, UNRELATED, A_TRANSACTION, PAID = 5_000, 50_000, 1_000, 100


def destination(number: int) -> str:
    return f"0x5{number:039x}"


async def fill(db: Database, token: str) -> None:
    registrations = Registrations(db, SystemClock(), ttl_hours=0)
    task = asyncio.create_task(registrations.run())
    ours: dict[str, Any] = {"rail": Rail.DIRECT, "token": ResolvedToken(token, token.lower(), "USDT", 18)}
    drafts = [
        draft(n, ours | {"destination_key": destination(n)}, destination=destination(n), amount="1000")
        for n in range(INTENTS)
    ]
    await asyncio.gather(*(registrations.register(each) for each in drafts))
    task.cancel()
    await asyncio.wait([task])


async def trade(node: Anvil, token: str) -> tuple[int, int]:
    """Let the chain be busy; return the first and last block."""
    printer = await node.deploy("LogPrinter")
    await node.fund(token, node.accounts[1])
    first = await node.height()
    for start in range(0, UNRELATED, A_TRANSACTION):
        await node.print_transfers(printer, f"0x6{start:039x}", A_TRANSACTION)
    for number in range(0, INTENTS, INTENTS // PAID):
        await node.transfer(token, destination(number), 1_000)
    return first, await node.height()


async def poll(db: Database, url: str, first: int) -> float:
    """Read from the first block on, with everything back as it was."""
    metrics = Metrics()
    async with open_adapter(chain(url), timeout_s=30, telemetry=ChainTelemetry(metrics, CHAIN_ID)) as adapter:
        async with db.write() as tx:
            for rail in Rail:
                await checkpoints.put(tx, CHAIN_ID, rail, Cursor(first), time=None, now=0, keep_from=-1)
        worker = ChainWorker(
            chain=chain(url), adapter=adapter, tokens=(), db=db, clock=SystemClock(), metrics=metrics,
            late_watch_ms=0, on_events=lambda: None,
        )  # fmt: skip
        started = time.perf_counter()
        await worker.poll()
        return time.perf_counter() - started


async def one_by_one(url: str, first: int, last: int) -> float:
    """What asking for each intent costs."""
    started = time.perf_counter()
    found = 0
    async with aiohttp.ClientSession() as session:
        for number in range(INTENTS):
            topics = [TRANSFER_TOPIC, None, f"0x{destination(number)[2:]:0>64}"]
            query = {"fromBlock": hex(first), "toBlock": hex(last), "topics": topics}
            call = {"jsonrpc": "2.0", "id": number, "method": "eth_getLogs", "params": [query]}
            async with session.post(
                url, data=orjson.dumps(call), headers={"Content-Type": "application/json"}
            ) as response:
                found += len(orjson.loads(await response.read())["result"])
    assert found == PAID, found
    return time.perf_counter() - started


async def run() -> list[TableRow]:
    async with anvil() as node:
        token = await node.token()
        first, last = await trade(node, token)
        async with store() as db, FaultyRpc(node.url) as counting:
            await fill(db, token)
            await poll(db, counting.url, first)
            requests, logs = counting.requests, counting.calls["eth_getLogs"]
        async with store() as db:
            await fill(db, token)
            ours = await poll(db, node.url, first)
            async with db.read() as tx:
                assert len(await intents.deep(tx, CHAIN_ID, tip=2**40, final=2**40)) == PAID
        theirs = await one_by_one(node.url, first, last)
    return [
        TableRow("direct: one poll, 5,000 intents among 50,000 foreign transfers", f"{ours:.2f} s in {requests} requests ({logs} eth_getLogs)",
            f"one eth_getLogs an intent: {theirs:.1f} s in {INTENTS:,}", f"{theirs / ours:.0f} times", "", None),
    ]  # fmt: skip
