"""A Tron chain to make payments on, services that show it, and adapters that read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from chains.base import Access
from chains.rpc.token_bucket import TokenBucket
from chains.tron.adapter import TronAdapter, open_adapter
from chains.types import Cursor, Rail, ScanPage, Targets, Transfer
from config.catalog import Chain, ChainType, Finality
from devnet.tron.ledger import CHAIN_ID, USDT, TronLedger, account
from devnet.tron.trongrid import TronGrid
from tests.chains.evm_world import Calls, Now

SHOP = account("shop")
BUYER = account("buyer")
QUICK = 10_000.0  # requests a second: tests that are not about the pace must not wait


def tron_chain(*grids: TronGrid, **options: Any) -> Chain:
    """Return Tron as the registry has it, served by these."""
    return Chain(
        chain_id=CHAIN_ID,
        name="Tron",
        chain_type=ChainType.TRON,
        proxy_address=USDT,
        confirmation_threshold=200,
        rpc_urls=tuple(options.pop("urls", [grid.url for grid in grids])),
        finality=Finality.FINALIZED,
        coin="TRX",
        **options,
    )


@dataclass
class TronWorld:
    """One ledger, services over it, and adapters that talk to them; all of it is gone after the test."""

    stack: AsyncExitStack
    ledger: TronLedger = field(default_factory=TronLedger)
    now: Now = field(default_factory=Now)
    calls: Calls = field(default_factory=Calls)

    async def grid(self, **state: Any) -> TronGrid:
        grid = await self.stack.enter_async_context(TronGrid(self.ledger))
        for name, value in state.items():
            setattr(grid, name, value)
        return grid

    async def adapter(
        self,
        *grids: TronGrid,
        timeout_s: float = 5,
        key: str | None = None,
        rps: float | None = QUICK,
        bucket: Callable[[float], TokenBucket] = TokenBucket,
        second: Sequence[TronGrid] = (),
        **options: Any,
    ) -> TronAdapter:
        chain = tron_chain(*(grids or [await self.grid()]), **options)
        access = Access(api_key=key, requests_per_second=rps, second=tuple(grid.url for grid in second))
        opened = open_adapter(
            chain,
            timeout_s=timeout_s,
            telemetry=self.calls,
            access=access,
            clock=self.now,
            wall=lambda: self.ledger.times[-1] / 1000,
            bucket=bucket,
        )
        return await self.stack.enter_async_context(opened)

    def start(self, blocks: int = 60) -> Cursor:
        """Let the chain run for a while; return where a scan of what follows begins."""
        self.ledger.advance(blocks)
        return Cursor(self.ledger.times[self.ledger.solid])


async def scan_page(adapter: TronAdapter, after: Cursor, *destinations: str, reread_s: int = 0) -> ScanPage:
    """Read one page up to the head."""
    page = await adapter.scan(
        Rail.DIRECT, Targets(frozenset(destinations or [SHOP])), after, await adapter.head(), reread_s=reread_s
    )
    assert isinstance(page, ScanPage)
    return page


async def scan_all(
    adapter: TronAdapter, after: Cursor, *destinations: str, reread_s: int = 0
) -> tuple[list[Transfer], Cursor]:
    """Read page after page up to the head, as the worker does; return what was found, each once, and the cursor."""
    head = await adapter.head()
    targets = Targets(frozenset(destinations or [SHOP]))
    found: dict[tuple[str, str], Transfer] = {}
    while True:
        page = await adapter.scan(Rail.DIRECT, targets, after, head, reread_s=reread_s)
        assert isinstance(page, ScanPage)
        assert page.cursor.position > after.position or page.transfers or after.position >= head.position
        for transfer in page.transfers:
            assert found.setdefault((transfer.tx_hash, transfer.event_key), transfer) == transfer
        after, reread_s = page.cursor, 0
        if after.position >= head.position:
            return list(found.values()), after
