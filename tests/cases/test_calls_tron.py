"""What a poll of Tron costs grows with the blocks that hold payments, and not with what is piled into them."""

from __future__ import annotations

import pytest

from chains.types import Rail, Targets, VerificationOutcome
from devnet.tron.ledger import account
from tests.chains.tron_world import SHOP, scan_all

RECEIPT = "/walletsolidity/gettransactioninfobyid"
RECEIPTS = "/walletsolidity/gettransactioninfobyblocknum"
WAITING, PAID = 1_000, 50


async def thousand_waiting(tron, *grids):
    """Return an adapter that has read the chain for a thousand destinations, these and where it stands."""
    adapter = await tron.adapter(*grids)
    waiting = [SHOP, *(account(f"till {number}") for number in range(WAITING - 1))]
    _, cursor = await scan_all(adapter, tron.start(), *waiting)
    return adapter, waiting, cursor


async def poll(adapter, after, *waiting):
    """Read and confirm, as the worker does at a poll; return what was seen."""
    head = await adapter.head()
    page = await adapter.scan(Rail.DIRECT, Targets(frozenset(waiting)), after, head, reread_s=60)
    return await adapter.verify(page.transfers, head=head)


@pytest.mark.parametrize("blocks", [1, 5, 10, 25])
async def test_fifty_paid_of_a_thousand_waiting_cost_two_questions_a_block(tron, blocks):
    """Each receipt was asked for twice by itself: when its payment was found, and again to confirm it."""
    grid = await tron.grid()
    adapter, waiting, after = await thousand_waiting(tron, grid)
    for number, to in enumerate(waiting[:PAID]):
        tron.ledger.transfer(to, 5)
        if (number + 1) % (PAID // blocks) == 0:
            tron.ledger.advance()
    tron.ledger.settle()
    before = grid.requests
    looks = await poll(adapter, after, *waiting)
    assert [look.outcome for look in looks] == [VerificationOutcome.CREDITED] * PAID
    assert grid.requests - before <= 4 + 2 * blocks


@pytest.mark.parametrize(("jsonrpc", "many"), [(True, 1_000), (False, 1_000), (False, 500)])
async def test_a_thousand_worthless_transactions_in_a_block_cost_one_question(tron, jsonrpc, many):
    """A thousand receipts took longer than a minute of the rate, and everybody else's payment waited for them."""
    grid = await tron.grid()
    adapter, _, after = await thousand_waiting(tron, grid)
    grid.jsonrpc = jsonrpc
    worthless = tron.ledger.deploy("worthless", "W")
    for number in range(many):
        tron.ledger.transfer(SHOP, 1, token=worthless, sender=f"stranger {number}")
    mine = tron.ledger.transfer(account("till 1"), 5)
    tron.ledger.advance(30)
    before = grid.requests
    looks = await poll(adapter, after, SHOP, account("till 1"))
    assert {look.transfer.tx_hash: look.outcome for look in looks}[mine] is VerificationOutcome.CREDITED
    assert len(looks) == many + 1
    assert grid.requests - before <= 40


@pytest.mark.parametrize("fault", [{"status": 404, "body": b"{}"}, {"status": 500}, {"body": b"[]"}])
async def test_where_receipts_of_a_block_are_not_served_they_are_read_one_by_one(tron, fault):
    grid = await tron.grid()
    adapter, waiting, after = await thousand_waiting(tron, grid)
    grid.fail(RECEIPTS, **fault)
    for to in waiting[:5]:
        tron.ledger.transfer(to, 5)
    tron.ledger.settle()
    looks = await poll(adapter, after, *waiting)
    assert [look.outcome for look in looks] == [VerificationOutcome.CREDITED] * 5
    assert grid.calls[RECEIPT] <= 12


@pytest.mark.parametrize("many", [1, 5])
async def test_what_one_endpoint_reported_confirms_nothing_at_another(tron, many):
    """One decision, one source: whoever confirms has told the receipt itself."""
    first, second = await tron.grid(), await tron.grid()
    adapter, waiting, after = await thousand_waiting(tron, first, second)
    for to in waiting[:many]:
        tron.ledger.transfer(to, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after, *waiting)
    first.fail(status=500)
    second.without_receipt = lambda _: True
    head = await adapter.head()
    assert adapter.endpoint.endswith("#2")
    looks = await adapter.verify(found, head=head)
    assert {look.outcome for look in looks} == {VerificationOutcome.NOT_YET}
    second.without_receipt = None
    looks = await adapter.verify(found, head=head)
    assert {look.outcome for look in looks} == {VerificationOutcome.CREDITED}


@pytest.mark.parametrize("many", [1, 5])
async def test_the_second_look_believes_nothing_that_was_reported_before(tron, many):
    grid = await tron.grid()
    adapter, waiting, after = await thousand_waiting(tron, grid)
    paid = [tron.ledger.transfer(to, 5) for to in waiting[:many]]
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after, *waiting)
    grid.strange_receipts = {paid[0]: {"result": "FAILED", "receipt": {"result": "REVERT"}}}
    looks = {look.transfer.tx_hash: look for look in await adapter.verify(found, head=await adapter.head())}
    assert looks.pop(paid[0]).outcome is VerificationOutcome.REVERTED
    assert {look.outcome for look in looks.values()} == ({VerificationOutcome.CREDITED} if many > 1 else set())


@pytest.mark.parametrize("strange", [None, {"blockTimeStamp": None}, {"log": None}])
async def test_a_receipt_a_block_does_not_show_readably_is_asked_for_by_itself(tron, strange):
    grid = await tron.grid()
    adapter, waiting, after = await thousand_waiting(tron, grid)
    paid = [tron.ledger.transfer(to, 5) for to in waiting[:5]]
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after, *waiting)
    grid.strange_receipts = {paid[2]: strange}
    looks = {look.transfer.tx_hash: look for look in await adapter.verify(found, head=await adapter.head())}
    odd = looks.pop(paid[2])
    assert (odd.outcome, "receipt" in odd.why) == (VerificationOutcome.NOT_YET, True)
    assert {look.outcome for look in looks.values()} == {VerificationOutcome.CREDITED}
    assert grid.calls[RECEIPT] == 1
