"""What each poll, scrape and status page asks of the store, at 10^3, 10^5 and 10^6 waiting intents, on both engines."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from sqlalchemy import insert, text

from bench.scan import CHAIN_ID
from bench.stores import SKIPPED, OpenStore, engines
from bench.table import TableRow
from chains.types import Rail
from kernel.store.database import Database, Tx
from kernel.store.postgresql import PostgresDatabase
from scanner.model import Intent, IntentStatus
from scanner.reading.target_index import TargetIndex
from scanner.store import intent_search, intents, tables, transfers
from scanner.store.intent_search import IntentFilter
from scanner.store.migrate import SCHEMA

SIZES = (1_000, 100_000, 1_000_000)
CONFIRMING = 500  # of each size: what waits for depth at a time does not grow with what waits for money
OTHER_CHAIN = 56
ROUNDS = 7
FLAT = 2.0  # times as much at 10^6 as at 10^3
NOISE_MS = 0.3  # what is below that is the crossing to the engine's thread and back
NOW = 1_790_000_000_000
HEAD = 50_000_000

Question = Callable[[Tx], Awaitable[Any]]

NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {}) SELECT n FROM n) AS numbers",
    "postgresql": "generate_series(1, {}) AS numbers(n)",
}
HEX = {"sqlite": "printf('%0{}x', n)", "postgresql": "lpad(to_hex(n), {}, '0')"}
TOKEN = "0x" + "aa" * 20


def spread(dialect: str, count: str) -> str:
    """Spell so many intents: half on one chain; of those three in four direct. None is due."""
    long, short = HEX[dialect].format(39), HEX[dialect].format(16)
    return f"""
    INSERT INTO intents (
        intent_id, chain_id, chain_type, rail, token_address, token_key, destination, destination_key, amount,
        fee_amount, fee_address, payment_reference, topic_ref, salt, status, callback_url, callback_secret, receiver,
        events, request, confirmations_required, expires_at, created_at, chain_created_at, updated_at, looked_back,
        swept_to
    )
    SELECT 'waiting-' || n, CASE WHEN n % 2 = 1 THEN {CHAIN_ID} ELSE {OTHER_CHAIN} END, 'evm',
        CASE WHEN n % 8 < 6 THEN 'direct' ELSE 'proxy' END, '{TOKEN}', '{TOKEN}',
        '0x5' || {long}, '0x5' || {long}, '1000', '0', '0x0', '0x' || {short},
        '0x' || {HEX[dialect].format(64)}, 'salt', 'pending', 'http://127.0.0.1:9/hook', 'secret',
        'http://127.0.0.1:9', '[]', '{{}}', 12, {NOW} + 3600000 + n, {NOW} - n, {NOW} - n, {NOW}, TRUE,
        {NOW // 1000} - 60
    FROM {NUMBERS[dialect].format(count)}
    """  # noqa: S608 - numbers of ours


def confirming(number: int) -> dict[str, Any]:
    """Return a row of an intent that waits for depth alone."""
    reference = f"0x{0xC000_0000_0000_0000 + number:016x}"
    key = f"0x7{number:039x}"
    intent = Intent(
        f"confirming-{number}", CHAIN_ID, "evm", Rail.DIRECT, TOKEN, TOKEN, "USDT", 18, key, key, 1000, 0, "0x0",
        reference, f"0xc{number:063x}", "salt", "http://127.0.0.1:9/hook", "secret", "http://127.0.0.1:9", (), "{}",
        12, None, NOW, NOW, None, NOW, IntentStatus.CONFIRMING, 1000, f"0xd{number:063x}", 0, HEAD - number % 6,
    )  # fmt: skip
    return intent._asdict() | {"events": "[]", "looked_back": True}


async def fill(db: Database, count: int) -> None:
    """Have `count` intents wait, and some for depth alone."""
    if isinstance(db, PostgresDatabase):
        await _fill_postgresql(db.settings.url, count)
    else:
        async with db.write() as tx:
            await tx.execute(text(spread("sqlite", str(count))))
    async with db.write() as tx:
        await tx.execute(insert(tables.intents), [confirming(number) for number in range(CONFIRMING)])


async def _fill_postgresql(url: str, count: int) -> None:
    """Write them past the limits of a store, and count them once: nobody registers a million at a time."""
    link = await asyncpg.connect(url)
    try:
        await link.execute(f"SET search_path = {SCHEMA}; SET session_replication_role = replica")
        await link.execute(spread("postgresql", str(count)))
        await link.execute("INSERT INTO intent_counts SELECT chain_id, status, count(*) FROM intents GROUP BY 1, 2")
        await link.execute("VACUUM ANALYZE")  # as the server does in its own time
    finally:
        await link.close()


QUESTIONS: dict[str, Question] = {
    "poll: what is due to expire": lambda tx: intents.due_to_expire(tx, CHAIN_ID, Rail.DIRECT, NOW, grace_ms=60_000),
    "poll: the same through the proxy": lambda tx: intents.due_to_expire(tx, CHAIN_ID, Rail.PROXY, NOW, grace_ms=0),
    "poll: who is to be read a second time": lambda tx: intents.to_read_again(
        tx, CHAIN_ID, NOW, grace_ms=60_000, limit=1
    ),
    "poll: who is new": lambda tx: intents.not_looked_back(tx, CHAIN_ID),
    "poll: who is deep enough": lambda tx: intents.deep(tx, CHAIN_ID, tip=HEAD, final=HEAD),
    "poll: transfers nobody has looked at": lambda tx: transfers.unseen(tx, CHAIN_ID, tip=HEAD, final=HEAD),
    "poll: confirmed and gone": lambda tx: transfers.lost(tx, CHAIN_ID, 20),
    "poll: expired unread": lambda tx: intents.unread(tx, CHAIN_ID, NOW, 20),
    "scrape: how many in each status": intents.count_by_status,
    "page: whose a reference is": lambda tx: intents.by_references(tx, CHAIN_ID, [f"0x{n:064x}" for n in range(200)]),
    "list: a page of a status": lambda tx: intent_search.page(
        tx, IntentFilter(status=IntentStatus.CONFIRMING, chain_id=CHAIN_ID), after=None, limit=100
    ),
}  # fmt: skip


async def questions(db: Database) -> dict[str, Question]:
    """Return what is asked, of a process that has been running: it knows whom it waits for."""
    index = TargetIndex(CHAIN_ID, (), late_ms=0)

    def refresh(tx: Tx) -> Awaitable[Any]:
        return index.refresh(tx, moment=NOW, now=0.0)

    async with db.read() as tx:
        await refresh(tx)
    return QUESTIONS | {"poll: whom the chain is watched for": refresh}


async def ask(db: Database) -> dict[str, float]:
    """Return the best time of each question in ms."""
    found = {}
    for name, question in (await questions(db)).items():
        times = []
        for _ in range(ROUNDS):
            async with db.read() as tx:
                await tx.execute(text("SELECT 1"))
                started = time.perf_counter()
                await question(tx)
                times.append(time.perf_counter() - started)
        found[name] = min(times) * 1000
    return found


async def measure(opened: OpenStore) -> list[dict[str, float]]:
    found = []
    for size in SIZES:
        async with opened() as db:
            await fill(db, size)
            found.append(await ask(db))
    return found


async def run() -> list[TableRow]:
    rows = []
    async with engines() as stores:
        for engine, opened in stores.items():
            by_size = await measure(opened)
            for name in by_size[0]:
                small, middle, large = (times[name] for times in by_size)
                growth = max(large, NOISE_MS) / max(small, NOISE_MS)
                rows.append(
                    TableRow(f"scale: {engine}, {name}", f"{large:.2f} ms at 10^6",
                        f"{small:.2f} ms at 10^3, {middle:.2f} ms at 10^5", f"{growth:.1f} times", "≤ 2 times",
                        growth <= FLAT)
                )  # fmt: skip
        if len(stores) == 1:
            rows.append(TableRow("scale: PostgreSQL", SKIPPED, "", "", "", None))
    return rows
