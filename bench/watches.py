"""10,000 due balance watches of one chain, beside one `balanceOf` call each."""

from __future__ import annotations

import time

import aiohttp
import orjson

from bench.scan import CHAIN_ID, chain, store
from bench.table import TableRow
from chains.evm import multicall
from chains.evm.adapter import open_adapter
from chains.types import BalanceKey
from devnet.evm.anvil import anvil
from devnet.evm.faulty_rpc import FaultyRpc
from kernel.clock import SystemClock
from kernel.store.database import Database
from scanner.balance_watcher import BATCH_SIZE, BalanceWatcher
from scanner.model import Watch, WatchStatus
from scanner.store import watches
from scanner.upkeep.metrics import ChainTelemetry, Metrics

WATCHES = 10_000


def watch(number: int, token: str, now: int) -> Watch:
    address = f"0x4{number:039x}"
    return Watch(
        watch_id=f"w-{number}",
        chain_id=CHAIN_ID,
        chain_type="evm",
        token_address=token,
        token_key=token.lower(),
        token_symbol="USDT",
        decimals=18,
        address=address,
        address_key=address,
        baseline_balance=0,
        current_balance=0,
        status=WatchStatus.WATCHING,
        callback_url="http://127.0.0.1:9/hook",
        callback_secret="secret",
        receiver="http://127.0.0.1:9",
        last_checked_at=None,
        next_check_at=now,
        last_position=None,
        change_count=0,
        last_notified_at=None,
        expires_at=now + 86_400_000,
        created_at=now,
        updated_at=now,
    )


async def fill(db: Database, token: str) -> None:
    now = SystemClock().now_ms()
    async with db.write() as tx:
        for number in range(WATCHES):
            await watches.add(tx, watch(number, token, now))


async def one_by_one(url: str, token: str) -> float:
    """What reading without batches costs."""
    started = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        for number in range(WATCHES):
            data = f"0x{multicall.balance_call(f'0x4{number:039x}').hex()}"
            call = {
                "jsonrpc": "2.0",
                "id": number,
                "method": "eth_call",
                "params": [{"to": token, "data": data}, "latest"],
            }
            async with session.post(
                url, data=orjson.dumps(call), headers={"Content-Type": "application/json"}
            ) as response:
                int(orjson.loads(await response.read())["result"], 16)
    return time.perf_counter() - started


async def requests_of(db: Database, url: str) -> int:
    """Count the requests of one check, through a proxy that counts."""
    async with FaultyRpc(url) as counting:
        await check(db, counting.url)
        return counting.requests


async def check(db: Database, url: str) -> float:
    async with db.write() as tx:
        await tx.exec_driver_sql("UPDATE balance_watches SET next_check_at = 0")
    telemetry = ChainTelemetry(Metrics(), CHAIN_ID)
    async with open_adapter(chain(url), timeout_s=30, telemetry=telemetry) as adapter:
        watcher = BalanceWatcher(chain=chain(url), adapter=adapter, db=db, clock=SystemClock(), on_events=lambda: None)
        started = time.perf_counter()
        assert await watcher.check_due() == WATCHES
        return time.perf_counter() - started


async def read(url: str, token: str) -> float:
    """Read every balance as a check does, without the store."""
    telemetry = ChainTelemetry(Metrics(), CHAIN_ID)
    holdings = [BalanceKey(f"0x4{number:039x}", token.lower()) for number in range(WATCHES)]
    async with open_adapter(chain(url), timeout_s=30, telemetry=telemetry) as adapter:
        started = time.perf_counter()
        for first in range(0, WATCHES, BATCH_SIZE):
            await adapter.balances(holdings[first : first + BATCH_SIZE], confirmed=True)
        return time.perf_counter() - started


async def run() -> list[TableRow]:
    async with anvil() as node, store() as db:
        await node.place("Multicall3", multicall.ADDRESS)
        token = await node.token()
        await node.mine(100)
        await fill(db, token)
        requests = await requests_of(db, node.url)
        whole = min([await check(db, node.url) for _ in range(3)])
        ours = min([await read(node.url, token) for _ in range(3)])
        theirs = await one_by_one(node.url, token)
    return [
        TableRow("watches: requests for 10,000 due watches", f"{requests}", f"one balanceOf each: {WATCHES:,}",
            f"1/{WATCHES // requests}", "≤ 1/50", requests * 50 <= WATCHES),
        TableRow("watches: the same, read", f"{ours:.2f} s", f"{theirs:.1f} s", f"{theirs / ours:.0f} times", "≥ 10 times",
            theirs >= 10 * ours),
        TableRow("watches: the same, compared and written down as well", f"{whole:.2f} s", f"{theirs:.1f} s, nothing written",
            f"{theirs / whole:.0f} times", "", None),
    ]  # fmt: skip
