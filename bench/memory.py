"""Memory of the real process: idle, and with 100,000 pending intents, which live in the store."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import aiohttp

from bench.api import listening, scanner_env
from bench.scan import fill
from bench.table import TableRow
from kernel.store.database import open_database
from scanner.store.migrate import migrate

INTENTS = 100_000


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    return _of_status(pid, "VmRSS")


def own_mb(pid: int) -> float:
    """Return what of it no file stands behind: programs and libraries are shared, and dropped where memory is short."""
    return _of_status(pid, "RssAnon")


def _of_status(pid: int, name: str) -> float:
    fields = Path(f"/proc/{pid}/status").read_text().split(f"{name}:")[1].split()
    return int(fields[0]) / 1024


async def settled(folder: str) -> tuple[float, float]:
    """Start, ask every reading endpoint, and read the memory: all of it, and what is the process's own."""
    async with listening("-m", "scanner", env=scanner_env(folder)) as (url, pid), aiohttp.ClientSession() as session:
        for path in ("/scanner/status", "/metrics", "/intents?limit=100", "/unmatched", "/scanner/status"):
            async with session.get(url + path) as response:
                assert response.status == 200
                await response.read()
        await asyncio.sleep(1)
        return rss_mb(pid), own_mb(pid)


async def run() -> list[TableRow]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scanner.db"
        migrate(path)  # here: what makes a store is loaded by one start of many
        idle, own = await settled(folder)
        async with open_database(path) as db:
            await fill(db, INTENTS)
        await settled(folder)  # encrypts what was filled in here in the clear, as no daemon stores it
        full, _ = await settled(folder)
    growth = full - idle
    return [
        TableRow("memory: idle", f"{idle:.0f} MB", f"of which no file stands behind {own:.0f} MB", "", "< 70 MB", idle < 70),
        TableRow("memory: 100,000 pending intents", f"{full:.0f} MB", f"idle {idle:.0f} MB", f"+{growth:.0f} MB", "< 30 MB", growth < 30),
    ]  # fmt: skip
