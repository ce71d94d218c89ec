"""On Tron, what cannot be read or judged harms itself alone: its neighbours are confirmed, its endpoint is not punished."""

from __future__ import annotations

import orjson
import pytest

from chains.types import VerificationOutcome
from devnet.receiver import receiver
from devnet.tron.ledger import TRANSFER, USDT, account
from tests.chains.tron_world import SHOP, scan_all, scan_page
from tests.e2e.tron_shop import fresh_address, run_tron_shop

TILL = account("till")
HISTORY = "/v1/accounts/transactions/trc20"
RECEIPT = "/walletsolidity/gettransactioninfobyid"
RECEIPTS = "/walletsolidity/gettransactioninfobyblocknum"
STRANGE_RECEIPTS = {
    "null": None,
    "nothing": {},
    "a list": [],
    "text": "pending",
    "no time": {"blockTimeStamp": None},
    "logs that are null": {"log": None},
    "logs that are no list": {"log": {"0": {}}},
    "a log that is no log": {"log": [7]},
    "of another transaction": {"id": "e" * 64},
    "a hash in capitals": {"id": "E" * 64},
    "a negative block": {"blockNumber": -1},
    "a contract in another spelling": {
        "log": [{"address": "T" * 34, "topics": [TRANSFER] + ["0" * 64] * 2, "data": "0" * 64}]
    },
}


@pytest.mark.parametrize("strange", STRANGE_RECEIPTS)
async def test_a_receipt_that_is_missing_or_strange_keeps_no_other_payment_from_being_confirmed(tmp_path, strange):
    async with receiver() as hooks, run_tron_shop(tmp_path, hooks) as shop:
        odd, fine = (
            await shop.checkout(destination=(odd_till := fresh_address())),
            await shop.checkout(destination=(to := fresh_address())),
        )
        bad, good = shop.ledger.transfer(odd_till, 1000), shop.ledger.transfer(to, 1000)
        shop.grid.strange_receipts[bad] = STRANGE_RECEIPTS[strange]
        shop.ledger.settle()
        await shop.api.status_is(fine["intentId"], "confirmed")
        waiting = await shop.api.intent(odd["intentId"])
        assert (waiting["status"], waiting["txHash"]) == ("confirming", bad)
        assert (await shop.chain())["state"] == "ready"
        assert (await shop.api.intent(fine["intentId"]))["txHash"] == good
        shop.grid.strange_receipts.clear()
        await shop.api.status_is(odd["intentId"], "confirmed")


@pytest.mark.parametrize("strange", ["null", "no time", "logs that are null"])
@pytest.mark.parametrize("jsonrpc", [True, False])
@pytest.mark.parametrize("tills", [0, 50])
async def test_the_reason_is_reported_of_its_own_payment_whichever_way_it_was_found(tron, strange, jsonrpc, tills):
    grid = await tron.grid(jsonrpc=jsonrpc)
    adapter = await tron.adapter(grid)
    after = tron.start()
    bad, good = tron.ledger.transfer(SHOP, 5), tron.ledger.transfer(TILL, 5)
    tron.ledger.advance(60)
    grid.strange_receipts[bad] = STRANGE_RECEIPTS[strange]
    found, cursor = await scan_all(adapter, after, SHOP, TILL, *[account(f"till {n}") for n in range(tills)])
    head = await adapter.head()
    assert cursor.position == head.position
    reported = {look.transfer.tx_hash: look for look in await adapter.verify(found, head=head)}
    assert reported[good].outcome is VerificationOutcome.CREDITED
    if bad in reported:
        assert reported[bad].outcome is VerificationOutcome.NOT_YET
        assert "receipt" in reported[bad].why
    else:  # in the receipts of its block alone, where nothing else tells of it
        (problem,) = adapter.condition().problems
        assert bad in problem


async def test_another_endpoint_is_asked_for_a_receipt_one_has_pruned_and_keeps_its_place(tron):
    first, second = await tron.grid(), await tron.grid()
    adapter = await tron.adapter(first, second)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    first.strange_receipts[paid] = None
    head = await adapter.head()
    ((one,), (two,)) = [await adapter.verify(found, head=head) for _ in range(2)]
    assert (one.outcome, two.outcome) == (VerificationOutcome.NOT_YET, VerificationOutcome.CREDITED)
    assert adapter.endpoint.endswith("#1")


async def test_receipts_that_fail_for_one_transaction_alone_are_not_the_endpoints_fault(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = []
    for n in range(20):
        paid.append(tron.ledger.transfer(SHOP, n + 1))
        tron.ledger.advance()
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    head = await adapter.head()
    fault = grid.fail(RECEIPT, status=500, times=7)
    looks = await adapter.verify(found, head=head)
    assert fault.times == 0
    assert sum(look.outcome is VerificationOutcome.CREDITED for look in looks) == len(paid) - 7
    assert all("HTTP 500" in look.why for look in looks if look.outcome is VerificationOutcome.NOT_YET)
    await adapter.head()  # nobody rests


async def test_a_receipt_that_cannot_be_read_hides_no_other_of_its_block(tron):
    grid = await tron.grid(jsonrpc=False)
    adapter = await tron.adapter(grid)
    after = tron.start()
    strangers = tron.ledger.transfer(account("somebody"), 1)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    grid.strange_receipts[strangers] = {"log": None}
    found, _ = await scan_all(adapter, after, SHOP, *[account(f"till {n}") for n in range(50)])
    assert [transfer.tx_hash for transfer in found] == [paid]
    assert adapter.condition().problems == ()  # it was nobody's we know


@pytest.mark.parametrize(
    "strange",
    [
        {"transaction_id": None},
        {"block_timestamp": "now"},
        {"token_info": None, "value": None, "from": 7},
        {"token_info": {"address": "nobody", "decimals": "x"}, "value": "1e9"},
        {"type": ["Transfer"]},
        {"meta": {"new": True}, "value": 5},
    ],
)
async def test_a_row_of_a_history_that_cannot_be_read_hides_no_other(tron, strange):
    grid = await tron.grid(jsonrpc=False)
    adapter = await tron.adapter(grid)
    after = tron.start()
    odd, paid = tron.ledger.transfer(SHOP, 4), tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(60)
    grid.spoilt_rows[odd] = strange
    found, cursor = await scan_all(adapter, after)
    assert paid in {transfer.tx_hash for transfer in found}
    assert cursor.position == tron.ledger.times[tron.ledger.solid]


@pytest.mark.parametrize(
    "field",
    [
        {"blockTimestamp": 1751284607},
        {"blockTimestamp": None, "extra": {"a": 1}},
        {"logIndex": "29"},
        {"logIndex": None, "transactionIndex": []},
        {"blockHash": "", "removed": None},
        {"data": "0x"},
    ],
)
async def test_fields_of_logs_nobody_uses_may_be_anything(tron, field):
    grid = await tron.grid()
    grid.spoilt_logs = field
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    assert [(transfer.tx_hash, transfer.amount) for transfer in found] == [(paid, 5)]
    assert grid.calls[HISTORY] == 0
    assert grid.calls["/jsonrpc"] == 1


@pytest.mark.parametrize("answer", [None, {}, "[]", 0])
async def test_no_list_of_logs_is_an_unreadable_answer_and_never_an_empty_one(tron, answer):
    grid = await tron.grid()
    grid.logs_answer = orjson.dumps(answer)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    page = await scan_page(adapter, after)
    assert [transfer.tx_hash for transfer in page.transfers] == [paid]  # another way, in the same poll
    assert grid.calls[RECEIPTS] + grid.calls[HISTORY] > 1


async def test_one_transfer_has_one_key_however_nodes_number_its_events(tron):
    """Logs say 600 of 1000, the receipts say it again: it stays 600."""
    first, second = await tron.grid(), await tron.grid()
    first.renumbers, second.renumbers = 7, 40
    first_only, second_only = await tron.adapter(first), await tron.adapter(second)
    after = tron.start()
    tron.ledger.transfers([(USDT, TILL, 1), (USDT, SHOP, 300), (USDT, SHOP, 300)])
    tron.ledger.settle()
    (from_first, _), (from_second, _) = await scan_all(first_only, after), await scan_all(second_only, after)
    second.unindexed = set(tron.ledger.by_id)  # and by its logs alone
    second.unindexed_blocks = set(range(tron.ledger.head))
    by_logs = await tron.adapter(second)
    second.unindexed_blocks -= set(range(tron.ledger.number_at(after.position) + 2))
    (from_logs, _) = await scan_all(by_logs, after)
    keys = [{(t.tx_hash, t.event_key, t.amount) for t in found} for found in (from_first, from_second, from_logs)]
    assert keys[0] == keys[1] == keys[2]
    assert len(keys[0]) == 2
    (head, everything) = await first_only.head(), [*from_first, *from_logs]
    assert {look.outcome for look in await first_only.verify(everything, head=head)} == {VerificationOutcome.CREDITED}
