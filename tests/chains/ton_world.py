"""TonCenter stand-ins over one ledger, adapters that talk to them, and clocks that move when told."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from chains.base import Access
from chains.ton.adapter import TonAdapter, open_adapter
from chains.types import Cursor, Rail, ScanPage, Targets, Transfer
from config.catalog import Chain, ChainType, Finality, Proof
from config.liteservers import parse_liteservers
from devnet.ton.blocks import SignedChain
from devnet.ton.ledger import TonLedger
from devnet.ton.liteserver import Liteserver
from devnet.ton.toncenter import TonCenter
from tests.chains.evm_world import Calls, Now

CHAIN_ID = 1100
START = 1_760_000_000  # unix seconds at which the recording begins
OWNER = "0:" + "5E" * 32
OTHER = "0:" + "0D" * 32


class Ticking(Now):
    """A clock that moves when told, and a hair at every look: the rate limiter waits for it to move."""

    def __call__(self) -> float:
        self.seconds += 1e-6
        return self.seconds


def owner_of(number: int) -> str:
    """Return one of many addresses."""
    return f"0:{number + 1:064X}"


@dataclass
class TonWorld:
    """Endpoints to talk to, and adapters that talk to them. Nothing moves by itself."""

    stack: AsyncExitStack
    ledger: TonLedger = field(default_factory=lambda: TonLedger(START))
    now: Ticking = field(default_factory=Ticking)
    calls: Calls = field(default_factory=Calls)
    requests_per_second: float = 1e9
    signed: SignedChain = field(default_factory=SignedChain)

    async def center(self) -> TonCenter:
        return await self.stack.enter_async_context(TonCenter(self.ledger))

    async def liteserver(self, ledger: TonLedger | None = None) -> Liteserver:
        return await self.stack.enter_async_context(Liteserver(ledger or self.ledger, self.signed))

    async def adapter(self, *centers: TonCenter, timeout_s: float = 5, **options: Any) -> TonAdapter:
        chain = Chain(
            chain_id=CHAIN_ID,
            name="TON",
            chain_type=ChainType.TON,
            proxy_address=options.pop("proxy_address", self.ledger.master),
            confirmation_threshold=120,
            rpc_urls=options.pop("urls", tuple(center.url for center in centers)),
            finality=Finality.FINALIZED,
            testnet=options.pop("testnet", False),
            proof=options.pop("proof", Proof.NONE),
        )
        second = options.pop("second", None)
        liteservers = parse_liteservers(Liteserver.config(*second)) if second else None
        default = Access(requests_per_second=self.requests_per_second, liteservers=liteservers)
        access = options.pop("access", default)
        opened = open_adapter(
            chain,
            timeout_s=timeout_s,
            telemetry=self.calls,
            access=access,
            clock=self.now,
            wall=options.pop("wall", lambda: self.ledger.now),
            sleep=options.pop("sleep", asyncio.sleep),
        )
        return await self.stack.enter_async_context(opened)

    async def both(self) -> tuple[TonCenter, TonAdapter]:
        """Return one endpoint and an adapter that talks to it."""
        center = await self.center()
        return center, await self.adapter(center)


async def scan(adapter: TonAdapter, *owners: str, after: int | None = None, reread_s: int = 60) -> ScanPage:
    """Read one page, as the scanner does at a poll; by default from a day ago."""
    head = await adapter.head()
    cursor = adapter.first_cursor(head) if after is None else Cursor(after)
    page = await adapter.scan(Rail.DIRECT, Targets(frozenset(owners)), cursor, head, reread_s=reread_s)
    assert isinstance(page, ScanPage)
    return page


async def seen(adapter: TonAdapter, *owners: str, **how: Any) -> list[Transfer]:
    return (await scan(adapter, *owners, **how)).transfers
