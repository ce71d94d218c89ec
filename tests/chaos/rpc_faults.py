"""What goes wrong with a JSON-RPC endpoint, begun and ended one by one so that faults can overlap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from devnet.evm.anvil import PROXY, Anvil
from devnet.evm.faulty_rpc import FaultyRpc

REQUESTS: dict[str, dict[str, Any]] = {
    "timeout": {"hang": True},
    "slow": {"delay_s": 0.4},
    "cut": {"close": True},
    "5xx": {"status": 503},
    "429": {"status": 429, "headers": {"Retry-After": "1"}},
    "html": {"body": b"<html>be right back</html>"},
    "wrong_json": {"body": b'{"jsonrpc":"2.0","id":1,"result":{"oops":[]}}'},
    "nulls": {"result": None},
    "nonsense": {"result": "0x"},
    "refused": {"error": (-32000, "header not found")},
    "truncated": {"truncate": True},
}
DEFECTS: dict[str, tuple[str, Any, Any]] = {  # attribute, while it lasts, afterwards
    "repeats": ("repeats_logs", True, False),
    "reorders": ("reorders_logs", True, False),
    "no_batches": ("batches", False, True),
    "short_ranges": ("max_range", 2, None),
    "no_ranges": ("max_range", 0, None),
    "wrong_chain": ("chain_id", 1, None),
    "needs_address": ("needs_address", True, False),
    "few_topics": ("most_topics", 2, None),
    "few_rows": ("most_rows", 1, None),
    "renumbers": ("renumbers", 7, 0),
    "no_finalized": ("knows_finalized", False, True),
    "no_block_receipts": ("unserved", frozenset({"eth_getBlockReceipts"}), frozenset()),
    "big_headers": ("big_headers", True, False),
    "odd_fields": ("odd_fields", True, False),
    "lies_ahead": ("lies_ahead", 900, 0),
}
BATCHES = {f"batch_{how}": how for how in ("object", "first_id", "each", "413", "429", "cut")}
MOST_CALLS = 2  # of a batch, where an endpoint limits them


def _of_the_proxy(log: dict[str, Any]) -> bool:
    return str(log["address"]).lower() == PROXY.lower()


def _every_other(tx_hash: str) -> bool:
    return int(tx_hash, 16) % 2 == 0


DEFECTS["withholds"] = ("loses", _of_the_proxy, None)
DEFECTS["null_receipts"] = ("without_receipt", _every_other, None)
METHODS = ("*", "eth_getLogs", "eth_getBlockByNumber", "eth_getTransactionReceipt", "*", "eth_chainId")
BEHIND = 3  # blocks of a node that lags


class Endpoint(FaultyRpc):
    """One endpoint in front of the chain; a request that is under way is answered as it was when it began."""

    async def holds(self, newest: int | None) -> None:
        """Be behind from now on; None: hold everything."""
        self.stale_at = newest


@asynccontextmanager
async def inject_fault(endpoint: Endpoint, kind: str, chain: Anvil, method: str) -> AsyncIterator[None]:
    """Let an endpoint misbehave until the block ends."""
    if kind in REQUESTS:
        how = REQUESTS[kind]
        fault = endpoint.fail(method if "result" in how or "error" in how else "*", **how)
        try:
            yield
        finally:
            fault.times = 0
            endpoint.release()
    elif kind in BATCHES:
        endpoint.most_calls, endpoint.batch_refusal = MOST_CALLS, BATCHES[kind]
        try:
            yield
        finally:
            endpoint.most_calls = None
    elif kind in DEFECTS:
        name, during, after = DEFECTS[kind]
        setattr(endpoint, name, during)
        try:
            yield
        finally:
            setattr(endpoint, name, after)
    else:
        async with _behind(endpoint, chain, moves=kind == "lagging"):
            yield


@asynccontextmanager
async def _behind(endpoint: Endpoint, chain: Anvil, *, moves: bool) -> AsyncIterator[None]:
    """A stale node has stopped; a lagging one follows at a distance."""
    await endpoint.holds(max(0, await chain.height() - (BEHIND if moves else 0)))

    async def follow() -> None:
        while True:
            await asyncio.sleep(0.3)
            await endpoint.holds(max(0, await chain.height() - BEHIND))

    following = asyncio.create_task(follow()) if moves else None
    try:
        yield
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
        await endpoint.holds(None)
