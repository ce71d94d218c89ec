"""TonCenter refuses too many owners, accounts or rows in one question in many words; less is asked at once."""

from __future__ import annotations

import pytest

from chains.errors import ChainUnavailable
from chains.rpc.endpoint_limits import RETRY_LARGER_S
from chains.ton.toncenter.address_batches import REFUSALS_TO_SKIP
from chains.types import BalanceKey, VerificationOutcome
from devnet.receiver import receiver
from tests.chains.ton_world import owner_of, scan, seen
from tests.e2e.ton_shop import fresh_address, run_ton_shop

REFUSALS = {
    "500 of the database": (500, {"code": 500, "error": "context deadline exceeded"}),
    "500 without a word": (500, b""),
    "502 as a page": (502, b"<html><h1>502 Bad Gateway</h1></html>"),
    "504": (504, b"<html>Gateway Time-out</html>"),
    "503": (503, {"error": "upstream request timeout"}),
    "422": (422, {"code": 422, "error": "owner_address: at most 60 values are allowed"}),
    "413": (413, b"Request Entity Too Large"),
    "414": (414, b"<html>Request-URI Too Large</html>"),
    "400": (400, {"error": "Bad Request: request line too long"}),
    "402": (402, {"error": "this query needs another plan"}),
    "431": (431, b""),
    "429 that is no rate": (429, {"error": "query is too complex, reduce the number of addresses"}),
    "200 with an error inside": (
        200,
        {"ok": False, "code": 500, "error": "canceling statement due to statement timeout"},
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("most", [60, 1])
async def test_fewer_owners_are_asked_about_in_the_same_poll_down_to_one(ton, refusal, most):
    center, adapter = await ton.both()
    center.most_owners, center.refusal = most, REFUSALS[refusal]
    owners = [owner_of(number) for number in range(130)]
    paid = [ton.ledger.pay(owner).row["destination"] for owner in owners[::13]]
    page = await scan(adapter, *owners)
    assert sorted(transfer.destination for transfer in page.transfers) == sorted(paid)
    assert page.cursor.position == ton.ledger.now
    (report,) = adapter.condition().endpoints
    assert most // 2 < report.limits.owners <= most
    assert report.last_error is None


async def test_cut_connections_are_refusals_too(ton):
    center, adapter = await ton.both()
    center.most_owners, center.cuts_long = 30, True
    owners = [owner_of(number) for number in range(100)]
    ton.ledger.pay(owners[77])
    assert len(await seen(adapter, *owners)) == 1


@pytest.mark.parametrize("refusal", ["500 of the database", "422", "504"])
async def test_legs_wallets_and_coins_are_asked_for_in_smaller_questions_too(ton, refusal):
    center, adapter = await ton.both()
    owners = [owner_of(number) for number in range(40)]
    for owner in owners:
        ton.ledger.pay(owner)
    transfers = await seen(adapter, *owners)
    center.most_owners, center.refusal = 7, REFUSALS[refusal]
    looks = await adapter.verify(transfers, head=await adapter.head())
    assert {look.outcome for look in looks} == {VerificationOutcome.CREDITED}
    assert center.calls["adjacentTransactions"] == 0
    balances = await adapter.balances([BalanceKey(owner, ton.ledger.master) for owner in owners])
    assert balances.amounts == [5_000_000] * 40
    assert (await adapter.balances([BalanceKey(owner, None) for owner in owners])).amounts == [0] * 40


async def test_what_was_learnt_is_kept_and_more_is_tried_after_a_while(ton):
    center, adapter = await ton.both()
    center.most_owners = 60
    owners = [owner_of(number) for number in range(120)]
    await scan(adapter, *owners)
    center.calls.clear()
    await scan(adapter, *owners)
    assert center.calls["jetton/transfers"] == 2
    center.most_owners = None
    ton.now.seconds += RETRY_LARGER_S
    await scan(adapter, *owners)
    center.calls.clear()
    await scan(adapter, *owners)
    assert center.calls["jetton/transfers"] == 1


async def test_a_service_that_is_down_is_not_asked_for_less_and_less(ton):
    center, adapter = await ton.both()
    owners = [owner_of(number) for number in range(1000)]
    await adapter.head()
    center.calls.clear()
    center.fail(status=500, body={"error": "database is down"})
    with pytest.raises(ChainUnavailable):
        await scan(adapter, *owners)
    assert sum(center.calls.values()) <= 3


async def test_a_table_that_fails_for_one_as_for_many_teaches_nothing(ton):
    center, adapter = await ton.both()
    owners = [owner_of(number) for number in range(250)]
    fault = center.fail("jetton/transfers", status=500, body={"error": "context deadline exceeded"})
    with pytest.raises(ChainUnavailable, match="context deadline"):
        await scan(adapter, *owners)
    fault.times = 0
    ton.now.seconds += 60
    center.calls.clear()
    await scan(adapter, *owners)
    assert center.calls["jetton/transfers"] == 1


@pytest.mark.parametrize("most_rows", [1, 7, 300])
async def test_an_owner_with_more_rows_than_one_answer_may_hold_is_read_in_smaller_pages(ton, most_rows):
    center, adapter = await ton.both()
    center.most_rows, center.refusal = most_rows, REFUSALS["500 of the database"]
    owner = owner_of(1)
    paid = [ton.ledger.pay(owner, amount=number + 1, lt=ton.ledger.lt + (number % 3)) for number in range(40)]
    found = await seen(adapter, owner)
    assert sorted(transfer.amount for transfer in found) == sorted(int(payment.row["amount"]) for payment in paid)


async def test_an_address_no_question_may_name_is_passed_by_and_named_and_stops_nobody(ton):
    center, adapter = await ton.both()
    spammed, mine = owner_of(1), owner_of(2)
    center.unreadable_owners = {spammed}
    payment = ton.ledger.pay(mine)
    for _ in range(REFUSALS_TO_SKIP - 1):  # it may pass
        with pytest.raises(ChainUnavailable):
            await scan(adapter, spammed, mine)
        ton.now.seconds += 10
    page = await scan(adapter, spammed, mine)
    assert [transfer.tx_hash for transfer in page.transfers] == [payment.tx_hash]
    assert page.cursor.position == ton.ledger.now
    (problem,) = adapter.condition().problems
    assert spammed in problem
    center.unreadable_owners = set()
    late = ton.ledger.pay(spammed)
    assert late.tx_hash in {transfer.tx_hash for transfer in await seen(adapter, spammed, mine)}
    assert adapter.condition().problems == ()


async def test_seventy_waiting_buyers_are_served_by_an_endpoint_that_takes_sixty(tmp_path):
    async with receiver() as hooks, run_ton_shop(tmp_path, hooks) as shop:
        shop.center.most_owners = 60
        made = [await shop.checkout(destination=(to := fresh_address())) for _ in range(70)]
        last = made[-1]
        await shop.pay(to)
        await shop.api.status_is(last["intentId"], "confirmed")
        assert (await shop.chain())["state"] == "ready"
