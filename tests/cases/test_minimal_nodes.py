"""Services that serve less than the usual ones, and chains on which nobody else pays: payments and expiries go on."""

from __future__ import annotations

import pytest

from chains.errors import ChainMisconfigured
from chains.tron.refusals import asked_to_wait
from chains.types import Outcome
from devnet.tron_ledger import CHAIN_ID, account
from devnet.trongrid import TronGrid
from tests.chains.ton_world import OTHER, OWNER, scan
from tests.chains.tron_world import SHOP, scan_all

NODE = "/walletsolidity"
FULL = "/wallet"


def without(grid, *routes):
    for route in routes:
        grid.fail(route, status=404, body=b'{"error":"not found"}')


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize(
    "missing",
    [
        [f"{FULL}/getblock"],
        [f"{NODE}/getblock", f"{FULL}/getblock"],
        [f"{FULL}/{name}" for name in ("getblock", "getnowblock")],
        ["/jsonrpc", *(f"{FULL}/{name}" for name in ("getblock", "getnowblock"))],
        [f"{NODE}/gettransactioninfobyblocknum", f"{NODE}/getblockbynum"],
    ],
    ids=["full getblock", "getblock", "full node", "full node and JSON-RPC", "blocks of receipts"],
)
async def test_a_tron_service_without_a_route_is_read_by_another(tron, missing, busy):
    tron.ledger.busy = busy
    grid = await tron.grid()
    without(grid, *missing)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, cursor = await scan_all(adapter, after)
    assert [transfer.tx_hash for transfer in found] == [paid]
    assert cursor.position == tron.ledger.times[tron.ledger.solid]
    (seen,) = await adapter.verify(found, head=await adapter.head())
    assert seen.outcome is Outcome.CREDITED
    assert not adapter.condition().stale


@pytest.mark.parametrize("claims", [None, CHAIN_ID + 1])
async def test_a_node_without_the_first_blocks_says_which_chain_it_serves(tron, claims, monkeypatch):
    whole = TronGrid._block
    monkeypatch.setattr(TronGrid, "_block", lambda grid, number: whole(grid, number) if number else {})
    grid = await tron.grid(claims_chain=claims)
    adapter = await tron.adapter(grid)
    tron.start()
    if claims is None:
        assert (await adapter.head()).position == tron.ledger.times[tron.ledger.solid]
    else:
        with pytest.raises(ChainMisconfigured, match="expected chain"):
            await adapter.head()


@pytest.mark.parametrize("missing", [[], ["/jsonrpc"], ["/v1/accounts/transactions/trc20", "/v1/contracts/events"]])
async def test_addresses_of_a_quiet_tron_chain_are_read_again(tron, missing):
    """Nobody else pays anybody, so nothing proves an index: that once kept unpaid intents from expiring."""
    tron.ledger.busy = False
    grid = await tron.grid()
    without(grid, *missing)
    adapter = await tron.adapter(grid)
    tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(60)
    head = await adapter.head()
    again = await adapter.look_again([SHOP, account("till")], since=head.time - 300, until=head.time - 3)
    assert again.unread == {}
    assert [transfer.tx_hash for transfer in again.transfers] == [paid]


async def test_histories_of_a_quiet_tron_chain_tell_what_its_logs_never_show(tron):
    tron.ledger.busy = False
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    grid.unlogged.add(paid)
    tron.ledger.advance(60)
    head = await adapter.head()
    again = await adapter.look_again([SHOP], since=head.time - 300, until=head.time - 3)
    assert [transfer.tx_hash for transfer in again.transfers] == [paid]


@pytest.mark.parametrize("missing", ["blocks", "runGetMethod", "adjacentTransactions", "transactions"])
async def test_a_toncenter_without_a_route_is_read_by_another(ton, missing):
    center, adapter = await ton.both()
    center.fail(missing, status=404, body={"error": "Cannot find the route"})
    paid = ton.ledger.pay(OWNER)
    ton.ledger.advance()
    page = await scan(adapter, OWNER)
    assert [transfer.tx_hash for transfer in page.transfers] == [paid.tx_hash]
    (seen,) = await adapter.verify(page.transfers, head=await adapter.head())
    assert seen.outcome is Outcome.CREDITED


async def test_of_two_listed_wallets_none_is_believed_where_no_contract_can_be_asked(ton):
    center, adapter = await ton.both()
    center.fail("runGetMethod", status=404, body={"error": "Cannot find the route"})
    ton.ledger.pay(OWNER)
    ton.ledger.advance()
    center.strangers.append({"address": OTHER, "owner": OWNER, "jetton": ton.ledger.master, "balance": "7"})
    page = await scan(adapter, OWNER)
    (seen,) = await adapter.verify(page.transfers, head=await adapter.head())
    assert seen.outcome is Outcome.NOT_YET


def test_a_refusal_that_names_no_time_is_obeyed_for_ten_seconds():
    assert asked_to_wait("", status=429) == 10
    assert asked_to_wait("too many requests") == 10
    assert asked_to_wait("the query server is suspended for 27s", status=403) == 27
