"""Scripted EVM nodes with the registry's tokens, and the daemon that reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devnet.evm.anvil import CHAIN_ID
from devnet.evm.scripted_node import ScriptedNode, serve
from devnet.receiver import Receiver, receiver
from tests.harness import ROOT, USDC, USDT, Running, environment, running

TOKENS = ((USDT, "USDT", 18), (USDC, "USDC", 18))


def shop(number: int) -> str:
    """Return an address that is used for one intent alone."""
    return f"0x5{number:039x}"


@dataclass
class ScannedNodes:
    """Nodes, the daemon that asks them, and who is notified."""

    nodes: list[ScriptedNode]
    scanner: Running
    hooks: Receiver

    @property
    def api(self) -> Any:
        return self.scanner.api

    async def direct(self, number: int, **fields: Any) -> dict[str, Any]:
        return await self.api.create(
            rail="direct", destination=shop(number), confirmations=5, callbackUrl=self.hooks.url(), **fields
        )

    def grow(self, blocks: int) -> None:
        """Let every node see more blocks."""
        for node in self.nodes:
            node.head += blocks

    async def polled(self, times: int = 2) -> None:
        """Wait until the chain was looked at so many times more, whatever came of it."""
        for _ in range(times):
            await self.scanner.worker.poll()

    async def failing(self) -> dict[str, Any]:
        """Return the chain's status once it says that it fails: a poll of the daemon's own says so, not one of ours."""
        async with asyncio.timeout(20):
            while (found := await self.api.chain())["state"] != "failing":  # noqa: ASYNC110 - seen over HTTP
                await asyncio.sleep(0.02)
        return dict(found)


@asynccontextmanager
async def run_scanned_nodes(
    folder: Path, nodes: int = 1, *, chain: dict[str, Any] | None = None, behind: int = 0, **settings: str
) -> AsyncIterator[ScannedNodes]:
    """
    Run the daemon over so many scripted nodes; `chain` changes its entry of the registry.

    The first node is so many blocks `behind` from the start: the daemon polls at once.
    """
    async with AsyncExitStack() as stack:
        served = [ScriptedNode(TOKENS) for _ in range(nodes)]
        served[0].head -= behind
        urls = [await stack.enter_async_context(serve(node)) for node in served]
        if chain:
            settings["CHAINS_JSON_PATH"] = registry(folder, chain)
        hooks = await stack.enter_async_context(receiver())
        scanner = await stack.enter_async_context(running(environment(folder, ",".join(urls), **settings)))
        yield ScannedNodes(served, scanner, hooks)


def registry(folder: Path, changes: dict[str, Any]) -> str:
    """Write the registry with another entry of the local chain, and return where."""
    chains = json.loads((ROOT / "supported-chains.json").read_text())
    entry = next(chain for chain in chains if chain["chainId"] == CHAIN_ID)
    entry |= changes
    path = folder / "chains.json"
    path.write_text(json.dumps(chains))
    return str(path)
