"""One transaction is looked at before money is taken for paid out: nothing of it is made up, left out or guessed."""

from __future__ import annotations

from typing import Any

import pytest

from chains.errors import ChainError, ChainProtocolError, ChainUnavailable, TooManyTransfers
from chains.transactions import MAX_TRANSFERS
from config.catalog import Finality
from devnet.tron.ledger import USDT, account
from scanner.inspections import inspected
from tests.chains.evm_world import BUYER, SHOP, TOKEN, event_log, hash_of, key_of, receipt_of, token_log, tx_of
from tests.chains.ton_world import OTHER, OWNER
from tests.chains.tron_world import SHOP as TRON_SHOP
from tests.scanner.fake_chain import a_chain

LIAR = "0x" + "11" * 20


async def node_with(world: Any, *logs: dict[str, Any], status: int = 1, **state: Any) -> Any:
    node = await world.node(**state)
    node.receipts[tx_of(7)] = receipt_of(*logs, status=status)
    return node


def moved(seen: Any) -> list[tuple[str, str, int]]:
    return [(transfer.token, transfer.destination, transfer.amount) for transfer in seen.transfers]


# --- what a transaction holds ----------------------------------------------------------------------


async def test_what_moves_behind_a_proxy_event_is_told_once(world):
    """The event claims what the token moved: told beside it, one payment would look like two."""
    adapter = await world.adapter(await node_with(world, token_log(), event_log()))
    (only,) = (await adapter.transaction(tx_of(7))).transfers
    assert (only.token, only.destination, only.amount, only.sender) == (TOKEN, SHOP, 1000, BUYER)


async def test_an_event_of_the_proxy_without_a_movement_is_none(world):
    adapter = await world.adapter(await node_with(world, event_log()))
    assert (await adapter.transaction(tx_of(7))).transfers == ()


async def test_equal_transfers_of_one_transaction_are_told_apart(world):
    adapter = await world.adapter(await node_with(world, token_log(index=1), token_log(index=1)))
    seen = await adapter.transaction(tx_of(7))
    assert [t.event_key for t in seen.transfers] == [key_of(token_log()), key_of(token_log(), 1)]


async def test_a_token_that_lies_speaks_for_itself_alone(world):
    """Whatever a contract logs is its own word: the payment's token moved nothing."""
    lies = [token_log(token=LIAR, value=2**256 - 1, index=1), token_log(token=LIAR, source=SHOP, index=2)]
    adapter = await world.adapter(await node_with(world, *lies))
    seen = await adapter.transaction(tx_of(7))
    assert {token for token, _, _ in moved(seen)} == {LIAR}
    assert moved(seen)[0][2] == 2**256 - 1


async def test_the_transfer_of_a_unique_token_is_no_amount(world):
    unique = token_log()
    unique["topics"] = [*unique["topics"], "0x" + "00" * 31 + "05"]
    adapter = await world.adapter(await node_with(world, unique | {"data": "0x"}))
    assert (await adapter.transaction(tx_of(7))).transfers == ()


async def test_as_many_transfers_as_are_told_are_told_whole_and_one_more_is_refused(world):
    logs = [token_log(value=number + 1, index=number) for number in range(MAX_TRANSFERS + 1)]
    node = await node_with(world, *logs[:-1])
    adapter = await world.adapter(node)
    assert [amount for _, _, amount in moved(await adapter.transaction(tx_of(7)))] == [*range(1, MAX_TRANSFERS + 1)]
    node.receipts[tx_of(7)] = receipt_of(*logs)
    with pytest.raises(TooManyTransfers, match=str(MAX_TRANSFERS)):
        await adapter.transaction(tx_of(7))


async def test_too_many_transfers_are_refused_on_tron(tron):
    tron.start()
    tx = tron.ledger.transfers([(USDT, TRON_SHOP, 1)] * (MAX_TRANSFERS + 1))
    tron.ledger.settle()
    with pytest.raises(TooManyTransfers, match=str(MAX_TRANSFERS)):
        await (await tron.adapter()).transaction(tx)


async def test_too_many_transfers_are_refused_on_ton(ton, monkeypatch):
    monkeypatch.setattr("chains.transactions.MAX_TRANSFERS", 6)
    center, adapter = await ton.both()
    ton.ledger.advance(10)
    first = ton.ledger.pay(OWNER, 1)
    for _ in range(6):
        ton.ledger.pay(OWNER, 1, with_=first)
    ton.ledger.advance(10)
    with pytest.raises(TooManyTransfers, match="7 times"):
        await adapter.transaction(first.tx_hash)
    assert not {"transactions", "adjacentTransactions", "runGetMethod"} & center.calls.keys()  # no more work is done


# --- who knows it, who lags, who contradicts --------------------------------------------------------


async def test_a_receipt_is_believed_only_in_the_block_that_holds_it(world):
    node = await node_with(world, token_log())
    node.branch_from = {90: "b"}  # it was taken out of the chain, and the receipt is still there
    with pytest.raises(ChainUnavailable, match="not in the block it names"):
        await (await world.adapter(node)).transaction(tx_of(7))


async def test_an_endpoint_without_a_receipt_does_not_hide_what_another_one_shows(world):
    pruned, whole = await world.node(), await node_with(world, token_log())
    seen = await (await world.adapter(pruned, whole)).transaction(tx_of(7))
    assert moved(seen) == [(TOKEN, SHOP, 1000)]


async def test_an_endpoint_that_is_away_does_not_hide_what_another_one_shows(world):
    away, whole = await node_with(world), await node_with(world, token_log())
    adapter = await world.adapter(away, whole)
    away.replies["eth_getTransactionReceipt"] = LookupError(-32603, "internal error")
    assert moved(await adapter.transaction(tx_of(7))) == [(TOKEN, SHOP, 1000)]


async def test_an_endpoint_that_lags_has_not_said_that_there_is_none(world):
    ahead, behind = await world.node(head=200), await world.node(head=150)
    adapter = await world.adapter(ahead, behind)
    await adapter.head()
    assert await adapter.transaction(tx_of(7)) is None
    ahead.replies["eth_getTransactionReceipt"] = LookupError(-32603, "internal error")
    with pytest.raises(ChainUnavailable, match="does not hold block 200"):
        await adapter.transaction(tx_of(7))


async def test_what_an_endpoint_on_another_branch_shows_counts_for_nothing(world):
    """Both show the receipt; the one whose head is believed cannot read it, the other is on a fork."""
    chosen, fork = await node_with(world, token_log()), await node_with(world, token_log())
    adapter = await world.adapter(chosen, fork)
    fork.branch_from = {150: "b"}
    chosen.receipts[tx_of(7)] = receipt_of(token_log()) | {"status": None}
    with pytest.raises(ChainUnavailable, match=r"unreadable.*another block 200|another block 200.*unreadable"):
        await adapter.transaction(tx_of(7))


async def test_where_several_must_agree_one_is_not_enough(world):
    nodes = [await node_with(world, token_log()), await world.node(), await world.node()]
    adapter = await world.adapter(*nodes, rpc_quorum=2)
    with pytest.raises(ChainUnavailable, match=r"2 endpoints must agree.* shows it"):
        await adapter.transaction(tx_of(7))
    nodes[1].receipts = nodes[0].receipts
    assert moved(await adapter.transaction(tx_of(7))) == [(TOKEN, SHOP, 1000)]


async def test_endpoints_that_must_agree_and_contradict_each_other_are_named(world):
    nodes = [await node_with(world, token_log()), await node_with(world, token_log(value=999))]
    adapter = await world.adapter(*nodes, rpc_quorum=2)
    with pytest.raises(ChainProtocolError, match="contradict each other"):
        await adapter.transaction(tx_of(7))


async def test_a_number_that_a_node_chose_is_no_contradiction(world):
    nodes = [await node_with(world, token_log(index=4)), await node_with(world, token_log(index=40))]
    adapter = await world.adapter(*nodes, rpc_quorum=2)
    assert moved(await adapter.transaction(tx_of(7))) == [(TOKEN, SHOP, 1000)]


async def test_a_transfer_that_cannot_be_read_is_not_left_out(world):
    """A list without it would say that it was not paid."""
    garbled = token_log(index=1) | {"data": "0xzz"}
    node = await node_with(world, token_log(index=2), garbled)
    adapter = await world.adapter(node)
    with pytest.raises(ChainUnavailable, match="cannot be read"):
        await adapter.transaction(tx_of(7))
    assert [endpoint.last_error for endpoint in adapter.condition().endpoints] == [None]  # it harms itself alone


async def test_an_endpoint_that_cannot_tell_what_is_final_is_not_used_where_that_counts(world):
    node = await node_with(world, token_log(), finalized=150)
    adapter = await world.adapter(node, finality=Finality.FINALIZED)
    assert (await adapter.transaction(tx_of(7))).head.finalized == 150
    node.finalized = None
    with pytest.raises(ChainError, match="final"):
        await adapter.transaction(tx_of(7))


async def test_an_index_that_lags_has_not_said_that_there_is_none_on_tron(tron):
    tron.start()
    ahead, behind = await tron.grid(), await tron.grid()
    adapter = await tron.adapter(ahead, behind)
    await adapter.head()
    unknown = "ab" * 32
    assert await adapter.transaction(unknown) is None
    behind.frozen_at = tron.ledger.solid - 20
    ahead.fail("/walletsolidity/gettransactioninfobyid", status=500)
    with pytest.raises(ChainUnavailable, match="behind another endpoint"):
        await adapter.transaction(unknown)


async def test_a_receipt_that_cannot_be_read_harms_itself_alone_on_tron(tron):
    tron.start()
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tx = tron.ledger.transfer(TRON_SHOP, 5)
    tron.ledger.settle()
    grid.strange_receipts[tx] = {"log": "none of your business"}
    with pytest.raises(ChainUnavailable, match="receipt cannot be read"):
        await adapter.transaction(tx)
    assert [endpoint.last_error for endpoint in adapter.condition().endpoints] == [None]


async def test_a_receipt_without_its_events_does_not_say_that_nobody_was_paid_on_tron(tron):
    tron.start()
    bare, whole = await tron.grid(), await tron.grid()
    tx = tron.ledger.transfer(TRON_SHOP, 5)
    tron.ledger.settle()
    bare.strange_receipts[tx] = {"log": []}
    with pytest.raises(ChainUnavailable, match="no events at all"):
        await (await tron.adapter(bare)).transaction(tx)
    assert moved(await (await tron.adapter(bare, whole)).transaction(tx)) == [(USDT, TRON_SHOP, 5)]


async def test_an_index_that_lags_has_not_said_that_there_is_none_on_ton(ton):
    ahead, behind = await ton.center(), await ton.center()
    adapter = await ton.adapter(ahead, behind)
    ton.ledger.advance(10)
    assert await adapter.transaction("ab" * 32) is None
    behind.behind_s = 30
    ahead.fail("traces", status=500)
    with pytest.raises(ChainUnavailable, match="behind another endpoint"):
        await adapter.transaction("ab" * 32)


# --- how certain it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finality", "finalized", "head", "final"),
    [
        (Finality.DEPTH, None, 104, True),
        (Finality.DEPTH, None, 103, False),
        (Finality.FINALIZED, 100, 100, True),
        (Finality.FINALIZED, 99, 200, False),
        (Finality.BOTH, 100, 103, False),
        (Finality.BOTH, 100, 104, True),
    ],
)
async def test_a_transaction_is_final_by_the_chain_s_own_policy(world, finality, finalized, head, final):
    node = await node_with(world, token_log(), head=head, finalized=finalized)
    found = await (await world.adapter(node, finality=finality)).transaction(tx_of(7))
    seen = inspected(a_chain(confirmationThreshold=5, finality=finality), found, counts_blocks=True)
    assert (seen.final, seen.depth) == (final, head - 99)
    assert (seen.block_number, seen.block_hash) == (100, hash_of(100))


async def test_a_failed_transaction_is_told_with_what_is_known_of_it(world):
    adapter = await world.adapter(await node_with(world, token_log(), status=0))
    seen = await adapter.transaction(tx_of(7))
    assert (seen.succeeded, seen.transfers, seen.block_number) == (False, (), 100)


async def test_what_may_still_be_taken_back_is_found_and_not_final_on_tron(tron):
    tron.start()
    adapter = await tron.adapter()
    tx = tron.ledger.transfer(TRON_SHOP, 5)
    tron.ledger.advance(2)
    early = await adapter.transaction(tx)
    tron.ledger.settle()
    late = await adapter.transaction(tx)
    assert moved(early) == moved(late) == [(USDT, TRON_SHOP, 5)]
    chain = a_chain(finality=Finality.FINALIZED)
    assert [inspected(chain, seen, counts_blocks=False).final for seen in (early, late)] == [False, True]
    assert inspected(chain, late, counts_blocks=False).depth is None


async def test_what_the_irreversible_side_does_not_show_yet_is_not_final_on_tron(tron):
    """However old its block is said to be: an index of that side comes after its blocks."""
    tron.start()
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tx = tron.ledger.transfer(TRON_SHOP, 5)
    tron.ledger.settle()
    grid.fail("/walletsolidity/gettransactioninfobyid", body=b"{}")
    seen = await adapter.transaction(tx)
    assert moved(seen) == [(USDT, TRON_SHOP, 5)]
    assert not inspected(a_chain(finality=Finality.FINALIZED), seen, counts_blocks=False).final


async def test_a_payment_of_coin_does_not_say_how_it_went_on_tron(tron):
    tron.start()
    grid = await tron.grid()
    tx = tron.ledger.transfer(TRON_SHOP, 5)
    tron.ledger.settle()
    grid.strange_receipts[tx] = {"log": [], "receipt": {"net_usage": 268}}
    seen = await (await tron.adapter(grid)).transaction(tx)
    assert (seen.succeeded, seen.transfers) == (None, ())


async def test_a_failed_transaction_moved_nothing_on_tron_whatever_it_logged(tron):
    tron.start()
    tx = tron.ledger.fail(TRON_SHOP, 5, keeps_logs=True)
    tron.ledger.settle()
    seen = await (await tron.adapter()).transaction(tx)
    assert (seen.succeeded, seen.transfers) == (False, ())
    assert account("shop") == TRON_SHOP


async def test_every_hash_of_a_trace_names_one_transaction_on_ton(ton):
    """Known by each of its hashes, one transfer would end as many payouts as its trace has transactions."""
    _, adapter = await ton.both()
    ton.ledger.advance(10)
    first = ton.ledger.pay(OWNER, 3)
    second = ton.ledger.pay(OTHER, 4, with_=first)
    ton.ledger.advance(10)
    hashes = [tx["hash"] for payment in (first, second) for tx in payment.transactions]
    seen = [await adapter.transaction(tx_hash) for tx_hash in hashes]
    assert len(hashes) > 5
    assert {found.tx_hash for found in seen} == {seen[0].tx_hash}
    assert {found.facts for found in seen} == {seen[0].facts}
    assert sorted((t.destination, t.amount) for t in seen[0].transfers) == [(OTHER, 4), (OWNER, 3)]
    assert len({t.event_key for t in seen[0].transfers}) == 2


async def test_a_transfer_whose_receiving_half_is_not_there_is_not_told_and_nothing_is_final_on_ton(ton):
    _, adapter = await ton.both()
    ton.ledger.advance(10)
    payment = ton.ledger.pay(OWNER, 3, pending=True)
    ton.ledger.advance(10)
    seen = await adapter.transaction(payment.tx_hash)
    assert (seen.transfers, seen.is_complete) == ((), False)
    assert not inspected(a_chain(finality=Finality.FINALIZED), seen, counts_blocks=False).final


async def test_a_receiving_half_that_cannot_be_read_leaves_nothing_final_on_ton(ton):
    _, adapter = await ton.both()
    ton.ledger.advance(10)
    payment = ton.ledger.pay(OWNER, 3)
    ton.ledger.advance(10)
    (received,) = [tx for tx in payment.transactions if tx["account"] == payment.wallet]
    received["in_msg"]["message_content"] = {"body": "bm90aGluZw=="}
    seen = await adapter.transaction(payment.tx_hash)
    assert (seen.transfers, seen.is_complete) == ((), False)


async def test_a_transfer_that_came_back_was_none_on_ton(ton):
    _, adapter = await ton.both()
    ton.ledger.advance(10)
    payment = ton.ledger.pay(OWNER, 3, name="bounce")
    ton.ledger.advance(10)
    seen = await adapter.transaction(payment.tx_hash)
    assert (seen.transfers, seen.is_complete) == ((), True)


async def test_a_row_that_the_index_lists_late_is_missed_and_nothing_is_final_on_ton(ton):
    """An index may show transactions before it lists the transfer: without a row it looked as if nobody was paid."""
    center, adapter = await ton.both()
    ton.ledger.advance(10)
    payment = ton.ledger.pay(OWNER, 3)
    ton.ledger.advance(10)
    center.late_rows.add(payment.tx_hash)
    early = await adapter.transaction(payment.tx_hash)
    center.late_rows.clear()
    late = await adapter.transaction(payment.tx_hash)
    assert (early.transfers, early.is_complete) == ((), False)
    assert ([t.amount for t in late.transfers], late.is_complete) == ([3], True)


async def test_what_is_not_in_the_masterchain_yet_is_not_final_on_ton(ton):
    _, adapter = await ton.both()
    ton.ledger.advance(10)
    payment = ton.ledger.pay(OWNER, 3)
    ton.ledger.advance(10)
    payment.transactions[0]["finality"] = "pending"  # its other transactions are final
    assert not (await adapter.transaction(payment.tx_hash)).is_complete


async def test_a_row_that_cannot_be_read_is_not_left_out_on_ton(ton):
    center, adapter = await ton.both()
    ton.ledger.advance(10)
    payment = ton.ledger.pay(OWNER, 3)
    ton.ledger.advance(10)
    center.spoilt_rows[payment.tx_hash] = {"amount": "much"}
    with pytest.raises(ChainUnavailable, match="a transfer cannot be read"):
        await adapter.transaction(payment.tx_hash)


async def test_a_row_that_a_stranger_made_unreadable_hides_nothing_and_stops_nothing_on_ton(ton):
    center, adapter = await ton.both()
    ton.ledger.advance(10)
    payment = ton.ledger.pay(OWNER, 3)
    stranger = ton.ledger.pay(OTHER, 9, with_=payment)
    ton.ledger.advance(10)
    center.spoilt_rows[stranger.tx_hash] = {"jetton_master": "mine"}
    seen = await adapter.transaction(payment.tx_hash)
    assert ([t.amount for t in seen.transfers], seen.is_complete) == ([3], True)


async def test_the_spelling_of_an_explorer_names_the_same_transaction_on_ton(ton):
    _, adapter = await ton.both()
    ton.ledger.advance(10)
    payment = ton.ledger.pay(OWNER, 3)
    ton.ledger.advance(10)
    in_base64 = next(tx["hash"] for tx in payment.transactions)
    url_safe = in_base64.replace("+", "-").replace("/", "_")
    plain = await adapter.transaction(payment.tx_hash)
    assert await adapter.transaction(in_base64) == await adapter.transaction(url_safe) == plain
