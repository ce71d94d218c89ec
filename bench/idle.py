"""What a quiet chain costs: upstream calls and bytes written a minute at the default poll interval."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from bench.api import listening, scanner_env
from bench.table import TableRow
from devnet.evm.anvil import anvil
from devnet.evm.faulty_rpc import FaultyRpc

INTERVAL_S, POLLS = 0.25, 40
A_MINUTE = 60 / 15  # polls at the default interval


def written(pid: int) -> int:
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("wchar"):
            return int(line.split()[1])
    raise RuntimeError("no wchar")


async def measure(*, moving: bool) -> tuple[float, float, float]:
    """Return calls, requests and bytes a poll."""
    with tempfile.TemporaryDirectory() as folder:
        async with anvil() as chain, FaultyRpc(chain.url) as rpc:
            await chain.mine(30)
            env = scanner_env(folder, rpc.url, POLL_INTERVAL_SEC=str(INTERVAL_S), LOG_LEVEL="info")
            async with listening("-m", "scanner", env=env) as (_, pid):
                await asyncio.sleep(2)
                calls, requests, before = sum(rpc.calls.values()), rpc.requests, written(pid)
                rpc.asked.clear()
                for _ in range(POLLS):
                    if moving:
                        await chain.mine(1)
                    await asyncio.sleep(INTERVAL_S)
                polls = max(1, rpc.asked.count(("eth_getBlockByNumber", ["latest", False])))
                return (
                    (sum(rpc.calls.values()) - calls) / polls,
                    (rpc.requests - requests) / polls,
                    (written(pid) - before) / polls,
                )


async def run() -> list[TableRow]:
    calls, requests, size = await measure(moving=True)
    still_calls, _, still = await measure(moving=False)
    return [
        TableRow("idle: upstream calls a minute, one quiet chain", f"{calls * A_MINUTE:.0f} calls in {requests * A_MINUTE:.0f} requests",
            "", f"{calls:.1f} a poll", "", None),
        TableRow("idle: bytes written a minute, head moving", f"{size * A_MINUTE / 1024:.0f} KB", "", f"{size / 1024:.1f} KB a poll",
            "once a poll at most", None),
        TableRow("idle: bytes written a minute, head standing still", f"{still * A_MINUTE / 1024:.1f} KB",
            "the requests themselves", f"{still_calls:.1f} calls a poll", "no write to the store", None),
    ]  # fmt: skip
