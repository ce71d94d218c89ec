"""A Tron or TON endpoint that stands still, or makes heads up, is passed over; the only one is shown as stale."""

from __future__ import annotations

from contextlib import AsyncExitStack

import orjson
import pytest

from chains.types import BalanceKey, EndpointState
from devnet.receiver import receiver
from devnet.ton.toncenter import TonCenter
from devnet.tron.ledger import USDT
from devnet.tron.trongrid import TronGrid
from tests.chains.ton_world import OWNER, scan, seen
from tests.chains.tron_world import SHOP
from tests.e2e import ton_shop, tron_shop
from tests.harness import running

LARGE = {"X-Policy": "p" * 9_000}


class Tron:
    """Two endpoints over one chain, of which the first stands still when told to."""

    chain_id = tron_shop.CHAIN_ID
    amount = "1000"

    def __init__(self) -> None:
        self.ledger = tron_shop.chain_of_today()
        self.services = (TronGrid(self.ledger), TronGrid(self.ledger))
        self.environment = tron_shop.environment

    def stand_still(self) -> None:
        self.services[0].frozen_at = self.ledger.head

    def pay(self, to):
        self.ledger.transfer(to, 1000)
        self.ledger.settle()

    def fresh_address(self):
        return tron_shop.fresh_address()


class Ton(Tron):
    chain_id = ton_shop.CHAIN_ID

    def __init__(self) -> None:
        self.ledger = ton_shop.chain_of_today()
        self.services = (TonCenter(self.ledger), TonCenter(self.ledger))
        self.environment = ton_shop.environment

    def stand_still(self) -> None:
        self.services[0].frozen_at = self.ledger.now

    def pay(self, to):
        self.ledger.advance(1)
        self.ledger.pay(to, 1000, master=ton_shop.MASTER)
        self.ledger.advance(90)

    def fresh_address(self):
        return ton_shop.fresh_address()


@pytest.fixture(params=[Tron, Ton])
async def land(request):
    async with AsyncExitStack() as stack:
        made = request.param()
        for service in made.services:
            await stack.enter_async_context(service)
        yield made


async def test_a_payment_is_found_through_the_endpoint_that_goes_on(land, tmp_path, monkeypatch):
    monkeypatch.setattr("chains.heads.head_track.SLOW_HEAD_S", 0.5)
    monkeypatch.setattr("chains.heads.head_track.SLOW_HEAD_INTERVALS", 0)  # three seconds each, else
    monkeypatch.setattr("chains.heads.reader.COMPARE_INTERVAL_S", 0.5)
    async with receiver() as hooks, running(land.environment(tmp_path, *land.services)) as scanner:
        await scanner.worker.poll()
        land.stand_still()
        made = await scanner.api.create(
            chainId=land.chain_id, destination=(to := land.fresh_address()), amount="1000", callbackUrl=hooks.url()
        )
        land.pay(to)
        await scanner.api.status_is(made["intentId"], "confirmed", timeout_s=20)


@pytest.mark.parametrize("service", ["first", "both"])
async def test_large_headers_and_unknown_fields_are_read_past(land, tmp_path, service):
    for each in land.services[: 1 if service == "first" else 2]:
        each.headers, each.unknown = LARGE, {"new_in_this_version": {"a": [None, 1e300]}, "warnings": []}
    async with receiver() as hooks, running(land.environment(tmp_path, *land.services)) as scanner:
        await scanner.worker.poll()  # heads have been compared: a block made amid that is one that the first one lacks
        made = await scanner.api.create(
            chainId=land.chain_id, destination=(to := land.fresh_address()), amount="1000", callbackUrl=hooks.url()
        )
        land.pay(to)
        await scanner.api.status_is(made["intentId"], "confirmed")
        assert scanner.worker.adapter.endpoint.endswith("#1")


@pytest.mark.parametrize("hours", [1, 3, 30])
async def test_an_only_ton_index_that_is_old_is_stale_and_no_failure(ton, hours):
    center = await ton.center()
    adapter = await ton.adapter(center, wall=lambda: ton.ledger.now + 3600 * hours)
    head = await adapter.head()
    assert head.position == ton.ledger.now
    condition = adapter.condition()
    assert condition.stale
    assert condition.lag_s == pytest.approx(3600 * hours, abs=10)
    assert condition.endpoints[0].state is EndpointState.STALE


async def test_an_only_tron_node_that_stands_still_is_stale(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    await adapter.head()
    grid.frozen_at = tron.ledger.head
    for _ in range(30):
        tron.ledger.advance(5)
        tron.now.seconds += 15
        await adapter.head()
    assert adapter.condition().stale
    assert adapter.condition().endpoints[0].state is EndpointState.STALE


async def test_solid_blocks_that_lag_are_no_stale_head(tron):
    """What is read may be minutes old: lag is reported by the newest block, solid or not."""
    grid = await tron.grid()
    grid.solid_behind = 100
    adapter = await tron.adapter(grid)
    tron.ledger.advance(400)
    for _ in range(10):
        tron.ledger.advance(5)
        tron.now.seconds += 15
        await adapter.head()
    condition = adapter.condition()
    assert (condition.stale, condition.lag_s) == (False, 0)


async def test_a_made_up_logical_time_of_one_index_hides_nothing_in_another(ton):
    first, second = await ton.center(), await ton.center()
    adapter = await ton.adapter(first, second)
    await scan(adapter, OWNER)
    ton.ledger.advance(30)
    first.lt_ahead = 10**15
    await scan(adapter, OWNER, after=ton.ledger.now - 30)
    ton.ledger.advance(200)
    payment = ton.ledger.pay(OWNER)
    ton.ledger.advance(200)
    first.fail(status=500)
    found = await seen(adapter, OWNER, after=ton.ledger.now - 250)
    assert [transfer.tx_hash for transfer in found] == [payment.tx_hash]


async def test_a_made_up_block_of_one_node_stops_nobody_for_ever(tron):
    first, second = await tron.grid(), await tron.grid()
    adapter = await tron.adapter(first, second)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    made_up = {"number": 10**9, "timestamp": tron.ledger.times[-1] + 60_000}
    body = {"blockID": "ab" * 32, "block_header": {"raw_data": made_up}}
    first.fail("/walletsolidity/getblock", skip=1, times=1, body=orjson.dumps(body))
    await adapter.head()
    soon = tron.ledger.times[-1] + 30_000  # below the block that was made up, above all real ones
    moved = await adapter.token_receipts([BalanceKey(SHOP, USDT)], first=after.position, last=soon)
    assert [movement.tx_hash for movement in moved] == [paid]
