"""
How soon a payment is told once its block is deep enough: heads by WebSocket, a real node and a receiver on loopback.

The clock starts when the node itself tells this process of the block at the required depth, and ends when the webhook
is here. Polls alone would take up to an interval of 15 seconds.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time

import aiohttp
import orjson

from bench.api import listening, scanner_env
from bench.table import TableRow
from devnet.evm.anvil import Anvil, anvil
from devnet.receiver import Receiver, receiver
from tests.harness import MERCHANT, USDT, prepared

CONFIRMATIONS = 5
BLOCK_S = 1.0
PAYMENTS, A_MINUTE = 200, 200
WAITING = 10_000
AT_ONCE = 32
PATIENCE_S = 120
P50_S, P99_S = 0.3, 1.0


class Heads:
    """When each block was announced to this process; seconds of the clock webhooks are timed by."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}
        self.begun = asyncio.Event()

    async def follow(self, url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url.replace("http:", "ws:")) as socket:
            await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]})
            async for message in socket:
                head = json.loads(message.data).get("params")
                if head is None:
                    self.begun.set()
                else:
                    self.at[int(head["result"]["number"], 16)] = time.time()


async def register(session: aiohttp.ClientSession, url: str, tag: str, number: int, hook: str) -> str:
    """Register one intent; return its reference."""
    body = {
        "intentId": f"{tag}-{number}",
        "chainId": 97,
        "token": "USDT",
        "amount": str(1_000 + number),
        "destination": MERCHANT,
        "confirmations": CONFIRMATIONS,
        "callbackUrl": hook,
        "callbackSecret": "a shared secret",
    }
    async with session.post(f"{url}/intents", data=orjson.dumps(body)) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return str(answer["paymentReference"])


async def register_many(session: aiohttp.ClientSession, url: str, total: int, hook: str) -> None:
    numbers = iter(range(total))

    async def client() -> None:
        for number in numbers:
            await register(session, url, "waiting", number, hook)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


async def pay(node: Anvil, session: aiohttp.ClientSession, url: str, hook: str) -> None:
    """Pay at an even pace."""
    began = time.monotonic()
    for number in range(PAYMENTS):
        await asyncio.sleep(max(0.0, began + number * 60 / A_MINUTE - time.monotonic()))
        reference = await register(session, url, "paid", number, hook)
        await node.pay(USDT, MERCHANT, 1_000 + number, reference)


def latencies(hooks: Receiver, heads: Heads) -> list[float]:
    """Return how long after the block of its depth each confirmation came."""
    bodies = [(delivery.json, delivery.at) for delivery in hooks.distinct.values()]
    return sorted(at - heads.at[body["blockNumber"] + CONFIRMATIONS - 1] for body, at in bodies)


async def measure(waiting: int) -> list[float]:
    """Pay beside so many who wait; return the latencies in order."""
    with tempfile.TemporaryDirectory() as folder:
        async with anvil(block_time=BLOCK_S) as node, receiver() as hooks, aiohttp.ClientSession() as session:
            await prepared(node)
            heads = Heads()
            following = asyncio.create_task(heads.follow(node.url))
            await heads.begun.wait()
            sockets = node.url.replace("http:", "ws:")
            env = scanner_env(folder, node.url, POLL_INTERVAL_SEC="15", RPC_BSC_TESTNET_WS=sockets)
            async with listening("-m", "scanner", env=env) as (url, _):
                await register_many(session, url, waiting, hooks.url("/never"))
                await pay(node, session, url, hooks.url())
                await hooks.wait_for(PAYMENTS, PATIENCE_S)
            following.cancel()
            assert len(hooks.distinct) == PAYMENTS
            return latencies(hooks, heads)


def centile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


async def run() -> list[TableRow]:
    quiet, busy = await measure(0), await measure(WAITING)
    p50, p99 = statistics.median(quiet), centile(quiet, 0.99)
    busy50, busy99 = statistics.median(busy), centile(busy, 0.99)
    return [
        TableRow("push: block at the required depth → webhook, p50 and p99", f"{p50 * 1000:.0f} ms, {p99 * 1000:.0f} ms",
            "polls every 15 s", "", f"≤ {P50_S} s, ≤ {P99_S:.0f} s", p50 <= P50_S and p99 <= P99_S),
        TableRow(f"push: the same, {WAITING:,} waiting intents, {A_MINUTE} payments a minute", f"{busy50 * 1000:.0f} ms, {busy99 * 1000:.0f} ms",
            "without the others", f"{busy50 / p50:.1f}, {busy99 / p99:.1f} times", "≤ 2 times", busy50 <= 2 * p50 and busy99 <= 2 * p99),
    ]  # fmt: skip
