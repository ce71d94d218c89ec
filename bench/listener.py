"""What our own way of accepting connections costs a request, beside the web library's, in the server's processor time."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from bench.api import CLIENT, CLIENTS, listening
from bench.table import TableRow

REQUESTS, ROUNDS = 8_000, 4

SERVER = """
import asyncio, sys
import orjson
from aiohttp import web
from kernel.web.connections import default_limits
from kernel.web.http_errors import ERROR_SHAPE, ErrorShape
from kernel.web.listener import listening

async def create(request):
    body = orjson.loads(await request.read())
    return web.Response(body=orjson.dumps({"intentId": body["intentId"]}), content_type="application/json")

async def health(request):
    return web.Response(body=b'{"status":"ok"}', content_type="application/json")

def told(url):
    print("listening on " + url, flush=True)

async def main(whose):
    app = web.Application()
    app[ERROR_SHAPE] = ErrorShape(lambda error: web.Response(status=400))
    app.router.add_post("/intents", create)
    app.router.add_get("/health", health)
    if whose == "ours":
        async with listening(app, host="127.0.0.1", port=0, limits=default_limits(trusted_hops=0)) as url:
            told(url)
            await asyncio.Event().wait()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told("http://127.0.0.1:%d" % runner.addresses[0][1])
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""

Server = tuple[str, int]  # URL, process
ASKS = {
    "GET /health": ("/health", CLIENT.replace("session.post(url, data=body)", "session.get(url)")),
    "POST /intents": ("/intents", CLIENT),
}


def processor_s(pid: int) -> float:
    """Return the processor time a process has used, in user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def cost_us(server: Server, path: str, client: str) -> float:
    """Return microseconds of the server's processor for a request."""
    url, pid = server
    before = processor_s(pid)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", client, url + path, str(REQUESTS), str(CLIENTS), stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError("the client failed")
    return (processor_s(pid) - before) / REQUESTS * 1e6


async def run() -> list[TableRow]:
    rows = []
    async with listening("-c", SERVER, "ours") as ours, listening("-c", SERVER, "the library's") as theirs:
        for name, (path, client) in ASKS.items():
            mine, peer = [], []
            for _ in range(ROUNDS):
                peer.append(await cost_us(theirs, path, client))
                mine.append(await cost_us(ours, path, client))
            ratio = min(mine) / min(peer)
            rows.append(
                TableRow(f"listener: {name}, answered at once", f"{min(mine):.0f} µs of processor",
                    f"aiohttp's AppRunner {min(peer):.0f} µs", f"{ratio:.2f} times", "≤ 1.5 times", ratio <= 1.5)
            )  # fmt: skip
    return rows
