"""`POST /intents` a second, durable, beside a handler that only parses and answers."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bench.table import TableRow

CLIENTS, REQUESTS, ROUNDS = 64, 4_000, 3

BARE = """
import sys
import orjson
from aiohttp import web

ANSWER = {"paymentReference": "0x" + "0" * 16, "checkoutBlock": {"calldata": "0x" + "0" * 520, "rest": "x" * 480},
          "status": "pending", "expiresAt": "2026-01-01T00:00:00.000Z"}

async def create(request):
    body = orjson.loads(await request.read())
    return web.Response(body=orjson.dumps({"intentId": body["intentId"], **ANSWER}), content_type="application/json")

async def main():
    app = web.Application()
    app.router.add_post("/intents", create)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("listening on http://127.0.0.1:%d" % runner.addresses[0][1], flush=True)
    import asyncio
    await asyncio.Event().wait()

import asyncio
asyncio.run(main())
"""

CLIENT = """
import asyncio, os, sys, time
import aiohttp, orjson

async def main(url, total, clients):
    tag = os.urandom(4).hex()
    numbers = iter(range(total))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        async def client():
            for n in numbers:
                body = orjson.dumps({"intentId": f"{tag}-{n}", "chainId": 97, "token": "USDT", "amount": "1000000",
                    "destination": "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4",
                    "callbackUrl": "http://127.0.0.1:9/hook", "callbackSecret": "a shared secret"})
                async with session.post(url, data=body) as response:
                    text = await response.read()
                    assert response.status == 200, text
        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        print(total / (time.perf_counter() - started))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


@asynccontextmanager
async def listening(*command: str, env: dict[str, str] | None = None) -> AsyncIterator[tuple[str, int]]:
    """Run a server until the block ends; give its URL and process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})}
    )
    assert process.stdout is not None
    said: asyncio.Task[bytes] | None = None
    try:
        while "listening on " not in (line := (await process.stdout.readline()).decode()):
            if not line:
                raise RuntimeError("the server ended")
        said = asyncio.create_task(process.stdout.read())  # a full pipe would stop it at its next line of log
        yield line.split("listening on ")[1].split()[0], process.pid
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await (process.communicate() if said is None else asyncio.gather(said, process.wait()))


def scanner_env(folder: str, rpc: str = "http://127.0.0.1:9", **more: str) -> dict[str, str]:
    return {
        "DB_PATH": str(Path(folder) / "scanner.db"),
        "PORT": "0",
        "RPC_BSC_TESTNET": rpc,
        "SCANNER_ENABLED_CHAINS": "97",
        "POLL_INTERVAL_SEC": "3600",
        **more,
    }


async def load(url: str) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, f"{url}/intents", str(REQUESTS), str(CLIENTS), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return float(out)


async def run() -> list[TableRow]:
    with tempfile.TemporaryDirectory() as folder:
        async with listening("-c", BARE) as (bare, _), listening("-m", "scanner", env=scanner_env(folder)) as (url, _):
            peers, ours = [], []
            for _ in range(ROUNDS):
                peers.append(await load(bare))
                ours.append(await load(url))
    ratio = statistics.median(mine / peer for mine, peer in zip(ours, peers, strict=True))
    return [
        TableRow("api: POST /intents, durable", f"{statistics.median(ours):,.0f}/s",
            f"bare aiohttp {statistics.median(peers):,.0f}/s", f"{ratio:.0%}", "≥ 40 %", ratio >= 0.4),
    ]  # fmt: skip
