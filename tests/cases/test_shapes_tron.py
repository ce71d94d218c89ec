"""Tron's JSON-RPC refuses blocks, destinations, rows or batches in many words; less is asked in the same poll."""

from __future__ import annotations

import pytest

from chains.errors import ChainUnavailable
from chains.rpc.endpoint_limits import RETRY_LARGER_S
from chains.tron.logs.reader import AVOIDED_S
from chains.types import Rail, Targets
from devnet.receiver import receiver
from devnet.tron.ledger import account
from tests.chains.tron_world import SHOP, scan_all, scan_page
from tests.e2e.tron_shop import fresh_address, run_tron_shop

HISTORY = "/v1/accounts/transactions/trc20"
RECEIPTS = "/walletsolidity/gettransactioninfobyblocknum"
OWN = None  # the node's own words

TOPICS = {
    "sub topics": OWN,
    "search position": (
        200,
        {"error": {"code": -32602, "message": "exceed max addresses or topics per search position"}},
    ),
    "400": (400, b"Bad Request"),
    "413": (413, b"Payload Too Large"),
    "500": (500, {"error": "Internal Server Error"}),
    "internal error": (200, {"error": {"code": -32603, "message": "Internal error"}}),
    "504": (504, b"<html>Gateway Time-out</html>"),
    "invalid params": (200, {"error": {"code": -32602, "message": "invalid argument 0"}}),
}


def enveloped(refusal):
    """Answer a single call with an error, as a node does."""
    if refusal is None or not isinstance(refusal[1], dict) or not isinstance(refusal[1]["error"], dict):
        return refusal
    return refusal[0], {"jsonrpc": "2.0", "id": 0, **refusal[1]}


async def waiting(tron, grid, *, tills=50):
    """Return an adapter with many destinations, one of which was paid."""
    adapter = await tron.adapter(grid)
    after = tron.start()
    asked = [SHOP, *[account(f"till {n}") for n in range(tills)]]
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    return adapter, after, asked, paid


@pytest.mark.parametrize("refusal", TOPICS)
async def test_fewer_destinations_are_asked_about_in_the_same_poll(tron, refusal):
    grid = await tron.grid(most_topics=20)
    if (own := enveloped(TOPICS[refusal])) is not None:
        grid.rpc_refusals["topics"] = own
    adapter, after, asked, paid = await waiting(tron, grid)
    page = await scan_page(adapter, after, *asked)
    assert [transfer.tx_hash for transfer in page.transfers] == [paid]
    assert page.cursor.position > after.position
    assert grid.calls[HISTORY] == 0  # by JSON-RPC, and no slower call but the probe
    (report,) = adapter.condition().endpoints
    assert report.limits.topics is not None
    assert 1 <= report.limits.topics <= 20


@pytest.mark.parametrize("named", [True, False])
async def test_fewer_blocks_are_asked_for_in_the_same_poll(tron, named):
    grid = await tron.grid(most_blocks=7)
    if not named:
        grid.rpc_refusals["blocks"] = enveloped(
            (200, {"error": {"code": -32602, "message": "block range is too wide"}})
        )
    adapter, after, asked, paid = await waiting(tron, grid, tills=0)
    found, _ = await scan_all(adapter, after, *asked)
    assert [transfer.tx_hash for transfer in found] == [paid]
    assert grid.calls[HISTORY] == 0


@pytest.mark.parametrize("endpoints", [1, 2])
@pytest.mark.parametrize("most_logs", [1, 5])
async def test_a_row_cap_below_one_block_is_no_dead_end(tron, most_logs, endpoints):
    """A stranger fills one block with worthless logs to the address of a shop: the payment in it is found."""
    grids = [await tron.grid(most_logs=most_logs) for _ in range(endpoints)]
    adapter = await tron.adapter(*grids)
    after = tron.start()
    tron.ledger.transfers([(tron.ledger.deploy("worthless", "W"), SHOP, 0)] * 30)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    later = tron.ledger.transfer(SHOP, 6)
    tron.ledger.settle()
    found, cursor = await scan_all(adapter, after, SHOP, account("till"))
    assert {paid, later} <= {transfer.tx_hash for transfer in found}
    assert cursor.position == tron.ledger.times[tron.ledger.solid]
    assert adapter.condition().problems == ()


async def test_two_hundred_rows_in_one_millisecond_are_no_dead_end_without_a_next_page(tron):
    grid = await tron.grid(jsonrpc=False, drops_fingerprint=True, most_rows=1000)
    adapter = await tron.adapter(grid)
    after = tron.start()
    worthless = tron.ledger.deploy("worthless", "W")
    for _ in range(40):
        tron.ledger.transfers([(worthless, SHOP, 0)] * 10)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(80)
    found, cursor = await scan_all(adapter, after)
    assert paid in {transfer.tx_hash for transfer in found}
    assert cursor.position == tron.ledger.times[tron.ledger.solid]


@pytest.mark.parametrize(
    "refusal", [OWN, (413, b""), (500, b""), (200, {"error": {"code": -32600, "message": "batch too large"}})]
)
@pytest.mark.parametrize("most_calls", [3, 1])
async def test_batches_become_smaller_down_to_single_calls(tron, most_calls, refusal):
    grid = await tron.grid(most_calls=most_calls)
    if (own := enveloped(refusal)) is not None:
        grid.rpc_refusals["calls"] = own
    adapter, after, asked, paid = await waiting(tron, grid)
    page = await scan_page(adapter, after, *asked)
    assert [transfer.tx_hash for transfer in page.transfers] == [paid]
    assert grid.calls[HISTORY] == 0
    assert 1 <= adapter.condition().endpoints[0].limits.batch <= most_calls


async def test_more_is_tried_after_a_while(tron):
    grid = await tron.grid(most_topics=20)
    adapter, after, asked, _ = await waiting(tron, grid)
    after = (await scan_page(adapter, after, *asked)).cursor
    grid.heal()
    for _ in range(3):
        tron.now.seconds += RETRY_LARGER_S
        tron.ledger.settle()
        after = (await scan_page(adapter, after, *asked)).cursor
    grid.calls.clear()
    tron.ledger.settle()
    await scan_page(adapter, after, *asked)
    assert grid.calls["eth_getLogs"] == 2  # the question and its probe


async def test_json_rpc_that_is_well_again_is_asked_where_nothing_else_is_served(tron):
    """What was left alone for a while must not make the chain blind for as long."""
    grid = await tron.grid()
    adapter, after, asked, paid = await waiting(tron, grid)
    fault = grid.fail("/jsonrpc", status=500)
    for _ in range(3):
        after = (await scan_page(adapter, after, *asked)).cursor
        tron.ledger.advance()
    fault.times = 0
    for route in (RECEIPTS, HISTORY, "/v1/contracts/events"):
        grid.fail(route, skip=5 if route == RECEIPTS else 0, status=500)  # a probe can still be taken
    paid = tron.ledger.transfer(SHOP, 7)
    tron.ledger.settle()
    assert adapter._readers.logs.usable(adapter._pool.endpoints[0]) is False
    assert AVOIDED_S > 45
    page = await scan_page(adapter, after, *asked)
    assert [transfer.tx_hash for transfer in page.transfers] == [paid]


async def test_an_endpoint_that_is_down_is_not_asked_for_less_and_less(tron):
    grid = await tron.grid()
    adapter, after, asked, _ = await waiting(tron, grid)
    head = await adapter.head()
    grid.calls.clear()
    before = grid.requests
    grid.fail(status=500)
    with pytest.raises(ChainUnavailable):
        await adapter.scan(Rail.DIRECT, Targets(frozenset(asked)), after, head)
    assert grid.requests - before <= 10


async def test_sixty_waiting_buyers_are_served_by_a_node_that_takes_twenty(tmp_path):
    async with receiver() as hooks, run_tron_shop(tmp_path, hooks) as shop:
        shop.grid.most_topics = 20
        made = [await shop.checkout(destination=(to := fresh_address())) for _ in range(60)]
        shop.ledger.transfer(to, 1000)
        shop.ledger.settle()
        await shop.api.status_is(made[-1]["intentId"], "confirmed")
        assert (await shop.chain())["state"] == "ready"
