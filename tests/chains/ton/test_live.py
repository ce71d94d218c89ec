"""What could only be assumed of the real TonCenter. Runs when TONCENTER_URL is set; reads, and sends nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from chains.base import Access
from chains.ton.adapter import TonAdapter, open_adapter
from chains.types import BalanceKey, Cursor, Rail, ScanPage, Targets, TokenMeta, VerificationOutcome
from config.catalog import Chain
from tests.chains.evm_world import Calls
from tests.chains.ton_world import owner_of

URL = os.environ.get("TONCENTER_URL", "")
REGISTRY = Path(__file__).parents[3] / "supported-chains.json"

pytestmark = [pytest.mark.live, pytest.mark.skipif(not URL, reason="set TONCENTER_URL, and TONCENTER_API_KEY")]


@pytest.fixture
async def live() -> AsyncIterator[TonAdapter]:
    entry = next(entry for entry in orjson.loads(REGISTRY.read_bytes()) if entry["chainType"] == "ton")
    chain = Chain.model_validate(entry | {"rpcUrls": [URL]})
    access = Access(api_key=os.environ.get("TONCENTER_API_KEY"))
    async with open_adapter(chain, timeout_s=20, telemetry=Calls(), access=access) as adapter:
        yield adapter


async def test_the_network_and_the_master_are_the_registrys(live):
    assert (await live.head()).finalized is not None
    assert await live.self_test() == []


async def test_usdt_is_what_the_registry_says(live):
    usdt = live.parse_address("EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs")
    assert await live.token(usdt) == TokenMeta("USD₮", 6)


async def test_wallets_of_usdt_are_computed_as_its_master_computes_them(live):
    usdt = live.parse_address("EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs")
    book, endpoint = live._credits._wallets, live._pool.endpoints[0]
    await book.asked(endpoint, master=usdt, owner=owner_of(1))
    computed = book.computed(master=usdt, owner=owner_of(2))
    assert computed == await book.asked(endpoint, master=usdt, owner=owner_of(2))


async def test_a_thousand_addresses_are_accepted_in_some_number_of_questions(live):
    targets = Targets(frozenset(owner_of(number) for number in range(1000)))
    head = await live.head()
    page = await live.scan(Rail.DIRECT, targets, Cursor(head.position - 60), head)
    assert isinstance(page, ScanPage)
    assert page.cursor.position == head.position
    print("addresses in a question:", live._pool.endpoints[0].limits.owners.size)  # noqa: T201 - for who runs it


@pytest.mark.skipif("BUSY_TON_WALLET" not in os.environ, reason="set BUSY_TON_WALLET to one that is paid all the time")
async def test_transfers_to_a_busy_wallet_are_read_and_both_halves_found(live):
    busy = live.parse_address(os.environ["BUSY_TON_WALLET"])
    head = await live.head()
    page = await live.scan(Rail.DIRECT, Targets(frozenset({busy})), Cursor(head.position - 3600), head)
    assert isinstance(page, ScanPage)
    assert page.transfers, "nobody paid it within the hour: give a busier one"
    seen = await live.verify(page.transfers[:20], head=await live.head())
    assert {look.outcome for look in seen} <= {
        VerificationOutcome.CREDITED,
        VerificationOutcome.REVERTED,
        VerificationOutcome.NOT_YET,
    }
    assert VerificationOutcome.CREDITED in {look.outcome for look in seen}


async def test_balances_are_numbers(live):
    usdt = live.parse_address("EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs")
    found = await live.balances([BalanceKey(usdt, None), BalanceKey(owner_of(1), usdt), BalanceKey(owner_of(1), None)])
    assert found.amounts[0] is not None
    assert found.amounts[1:] == [0, 0]
