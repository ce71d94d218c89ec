"""Against the real TronGrid, for a person with network: does it still behave as the stand-in does?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from chains.base import Access
from chains.tron.adapter import TronAdapter, open_adapter
from chains.types import BalanceKey, Cursor, Rail, ScanPage, Targets
from devnet.tron.ledger import USDT
from tests.chains.evm_world import Calls
from tests.chains.tron_world import tron_chain

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif("TRONGRID_API_KEY" not in os.environ, reason="needs network and TRONGRID_API_KEY"),
]
URL = os.environ.get("TRONGRID_URL", "https://api.trongrid.io")


@pytest.fixture
async def mainnet() -> AsyncIterator[TronAdapter]:
    access = Access(api_key=os.environ.get("TRONGRID_API_KEY"))
    async with open_adapter(tron_chain(urls=[URL]), timeout_s=20, telemetry=Calls(), access=access) as adapter:
        yield adapter


async def test_the_network_and_the_token_are_what_the_registry_says(mainnet):
    assert await mainnet.self_test() == []
    meta = await mainnet.token(USDT)
    assert (meta.symbol, meta.decimals) == ("USDT", 6)


async def test_all_ways_see_the_same_payments_of_one_busy_minute(mainnet):
    head = await mainnet.head()
    endpoint = mainnet._pool.preferred
    top = await mainnet._readers.blocks.at(endpoint, head.position)
    first = top.number - 20
    seen = Counter(
        event.destination
        for receipt in (await mainnet._client.receipts(endpoint, first + 5)).receipts
        for event in receipt.transfers
        if receipt.succeeded
    )
    shops = sorted(seen)[:20]
    after = await mainnet._readers.blocks.by_number(endpoint, first - 1)
    quick = await mainnet._readers.logs.read(endpoint, shops, first=first, top=top)
    blocks = await mainnet._readers.block_scanner.read(endpoint, shops, first=first, after=after, top=top)
    rows = await mainnet._readers.account_scanner.read(endpoint, shops, first_ms=after.time_ms + 1, last_ms=top.time_ms)
    resolved = await mainnet._readers.pages._receipts.resolve(endpoint, blocks.hashes)
    good = {tx_hash for tx_hash, receipt in resolved.items() if receipt.succeeded}
    assert good
    assert good == set(quick.hashes) & good == set(rows.hashes) & good


async def test_a_page_ends_at_the_head(mainnet):
    head = await mainnet.head()
    targets = Targets(frozenset([USDT]))
    page = await mainnet.scan(Rail.DIRECT, targets, Cursor(head.position - 60_000), head, reread_s=60)
    assert isinstance(page, ScanPage)
    assert page.cursor.position > head.position - 60_000


async def test_balances_can_be_read_both_ways(mainnet):
    asked = [BalanceKey(USDT, USDT), BalanceKey(USDT, None)]
    newest = await mainnet.balances(asked)
    solid = await mainnet.balances(asked, confirmed=True)
    assert None not in newest.amounts + solid.amounts
    assert newest.position > solid.position
