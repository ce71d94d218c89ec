"""1,000 waiting intents on Tron and on TON: upstream calls a poll, beside one call an intent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.scan import draft, store
from bench.table import TableRow
from chains.base import Access, ChainAdapter, open_adapter
from chains.ton.address import show_address
from chains.tron.rpc.http_service import RATE_WITH_KEY as TRON_RATE
from chains.types import Rail
from config.catalog import Chain, ChainType, Finality
from devnet.ton.ledger import TonLedger
from devnet.ton.toncenter import TonCenter
from devnet.tron.ledger import USDT, TronLedger, account
from devnet.tron.trongrid import TronGrid
from kernel.clock import SystemClock
from kernel.store.database import Database
from scanner.registration.intents import Registrations
from scanner.registration.tokens import ResolvedToken
from scanner.store import intents
from scanner.upkeep.metrics import ChainTelemetry, Metrics
from scanner.worker import ChainWorker

INTENTS, PAID, POLLS = 1_000, 50, 5
LEARNING = 3  # polls until the size of a question has been learnt
TON_RATE = 10.0  # requests a second with a free key (chains/ton/README.md)
QUICK = 1e6  # the stand-in has no limit; what the limit would cost is worked out


@dataclass(frozen=True, slots=True)
class FamilySetup:
    """One family's chain and service, with addresses of ours on it."""

    chain: Chain
    token: str  # canonical
    destinations: list[str]  # canonical
    requests: Callable[[], int]
    idle: Callable[[], None]  # a poll's worth of blocks goes by
    pay: Callable[[str], Any]
    ask_for: Callable[[str], tuple[str, dict[str, str]]]  # how one intent alone would be looked for
    rate: float


def chain(chain_id: int, family: ChainType, url: str, proxy: str) -> Chain:
    return Chain(
        chain_id=chain_id, name=family, chain_type=family, proxy_address=proxy, confirmation_threshold=1,
        rpc_urls=(url,), finality=Finality.FINALIZED,
    )  # fmt: skip


@asynccontextmanager
async def tron() -> AsyncIterator[FamilySetup]:
    ledger = TronLedger.until(int(time.time() * 1000))
    async with TronGrid(ledger) as grid:
        yield FamilySetup(
            chain=chain(ledger.chain_id, ChainType.TRON, grid.url, USDT),
            token=USDT,
            destinations=[account(f"stall {number}") for number in range(INTENTS)],
            requests=lambda: grid.requests,
            idle=lambda: ledger.advance(5),
            pay=lambda to: ledger.transfer(to, 1_000),
            ask_for=lambda to: (f"{grid.url}/v1/accounts/{to}/transactions/trc20",
                                {"only_confirmed": "true", "only_to": "true", "limit": "200"}),
            rate=TRON_RATE,
        )  # fmt: skip


@asynccontextmanager
async def ton() -> AsyncIterator[FamilySetup]:
    ledger = TonLedger()
    async with TonCenter(ledger) as center:
        yield FamilySetup(
            chain=chain(1100, ChainType.TON, center.url, show_address(ledger.master, testnet=False)),
            token=ledger.master,
            destinations=[f"0:{number + 1:064X}" for number in range(INTENTS)],
            requests=lambda: sum(center.calls.values()),
            idle=lambda: ledger.advance(15),
            pay=lambda to: ledger.pay(to, 1_000, master=ledger.master),
            ask_for=lambda to: (f"{center.url}/api/v3/jetton/transfers", {"owner_address": to, "direction": "in"}),
            rate=TON_RATE,
        )  # fmt: skip


async def fill(db: Database, setup: FamilySetup) -> None:
    registrations = Registrations(db, SystemClock(), ttl_hours=0)
    task = asyncio.create_task(registrations.run())
    meant: dict[str, Any] = {
        "chain_type": setup.chain.chain_type, "rail": Rail.DIRECT,
        "token": ResolvedToken(setup.token, setup.token, "USDT", 18), "confirmations_required": 1,
    }  # fmt: skip
    drafts = [
        draft(n, meant | {"destination_key": to}, chainId=setup.chain.chain_id, destination=to, amount="1000")
        for n, to in enumerate(setup.destinations)
    ]
    await asyncio.gather(*(registrations.register(each) for each in drafts))
    task.cancel()
    await asyncio.wait([task])


def worker_on(setup: FamilySetup, adapter: ChainAdapter, db: Database, metrics: Metrics) -> ChainWorker:
    return ChainWorker(
        chain=setup.chain, adapter=adapter, tokens=(), db=db, clock=SystemClock(), metrics=metrics,
        late_watch_ms=0, on_events=lambda: None,
    )  # fmt: skip


async def polls(setup: FamilySetup) -> tuple[int, int, float]:
    """Return the requests of the most expensive quiet poll, of one that finds `PAID` payments, and its seconds."""
    metrics = Metrics()
    opened = open_adapter(
        setup.chain, timeout_s=30, telemetry=ChainTelemetry(metrics, setup.chain.chain_id), balance_batch=50,
        access=Access(requests_per_second=QUICK),
    )  # fmt: skip
    async with store() as db, opened as adapter:
        await fill(db, setup)
        worker = worker_on(setup, adapter, db, metrics)
        for _ in range(LEARNING):
            setup.idle()
            await worker.poll()
        quiet = max([await requests_of(setup, worker.poll) for _ in range(POLLS)])
        for to in setup.destinations[:: INTENTS // PAID]:
            setup.pay(to)
        for _ in range(3):
            setup.idle()
        started = time.perf_counter()
        busy = await requests_of(setup, worker.poll)
        seconds = time.perf_counter() - started
        await worker.poll()
        async with db.read() as tx:
            counted = await intents.count_by_status(tx)
    assert sum(times for (_, status), times in counted.items() if status == "confirmed") == PAID, counted
    return quiet, busy, seconds


async def requests_of(setup: FamilySetup, work: Callable[[], Awaitable[Any]]) -> int:
    setup.idle()
    before = setup.requests()
    await work()
    return setup.requests() - before


async def one_by_one(setup: FamilySetup) -> int:
    """Ask for every intent alone, as is usually done; return how many requests that took."""
    before = setup.requests()
    async with aiohttp.ClientSession() as session:
        for destination in setup.destinations:
            url, params = setup.ask_for(destination)
            async with session.get(url, params=params) as response:
                assert response.status == 200
                await response.read()
    return setup.requests() - before


async def measure(name: str, opened: Any) -> list[TableRow]:
    async with opened as setup:
        quiet, busy, seconds = await polls(setup)
        theirs = await one_by_one(setup)
        rate = setup.rate
    return [
        TableRow(f"{name}: requests of a poll with 1,000 waiting intents", f"{quiet} ({quiet / rate:.1f} s at {rate:g} a second)",
            f"one an intent: {theirs:,} ({theirs / rate:.0f} s)", f"1/{theirs // quiet}", "at most 2 + pages", quiet <= 3),
        TableRow(f"{name}: the same, {PAID} of them paid in one block, and confirmed", f"{busy} ({seconds:.2f} s without a limit)",
            f"{theirs:,}, not looked at again", f"1/{theirs // busy}", "at most one a payment, and 5", busy <= PAID + 5),
    ]  # fmt: skip


async def run() -> list[TableRow]:
    return [*await measure("Tron", tron()), *await measure("TON", ton())]
