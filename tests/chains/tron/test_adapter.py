"""The Tron adapter against a service that behaves: what it reports, and how few calls that takes."""

from __future__ import annotations

import pytest

from chains.errors import ChainMisconfigured, InvalidTxHash
from chains.tron.transfer_log import TransferLog
from chains.types import BalanceKey, Cursor, Rail, ScanPage, Targets, VerificationOutcome
from devnet.tron.ledger import CHAIN_ID, USDT, account
from tests.chains.tron_world import BUYER, SHOP, scan_all, scan_page


async def test_a_payment_is_reported_once_its_block_is_solid(tron):
    adapter = await tron.adapter()
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 1_000_000)
    tron.ledger.advance(19)
    early, after = await scan_all(adapter, after)
    tron.ledger.advance(1)
    (transfer,), after = await scan_all(adapter, after)
    time_ms = tron.ledger.time_of(paid)
    assert early == []
    assert transfer._asdict() == {
        "chain_id": CHAIN_ID,
        "tx_hash": paid,
        "event_key": TransferLog(USDT, BUYER, SHOP, 1_000_000).key,
        "log_index": 0,
        "block_number": time_ms,
        "block_hash": None,
        "block_time": time_ms // 1000,
        "token": USDT,
        "destination": SHOP,
        "amount": 1_000_000,
        "sender": BUYER,
        "reference": None,
        "fee_amount": 0,
        "fee_address": None,
    }
    assert after == Cursor(time_ms)


async def test_two_transfers_in_one_transaction_have_keys_of_their_own(tron):
    adapter = await tron.adapter()
    after = tron.start()
    other = tron.ledger.deploy("other", "OTHER")
    tron.ledger.transfers([(USDT, SHOP, 5), (USDT, account("till"), 6), (USDT, SHOP, 5), (other, SHOP, 7)])
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after, SHOP)
    assert [(t.log_index, t.token, t.amount) for t in found] == [(0, USDT, 5), (2, USDT, 5), (3, other, 7)]
    assert len({t.event_key for t in found}) == 3


async def test_zero_amounts_and_other_tokens_are_reported_for_the_scanner_to_judge(tron):
    adapter = await tron.adapter()
    after = tron.start()
    other = tron.ledger.deploy("fake", "USDT")
    tron.ledger.transfer(SHOP, 0)
    tron.ledger.transfer(SHOP, 9, token=other)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    assert sorted((t.token, t.amount) for t in found) == sorted([(USDT, 0), (other, 9)])


async def test_a_thousand_destinations_cost_one_query_and_2500_cost_three_in_one_request(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tills = [account(f"till {number}") for number in range(2500)]
    paid = {tron.ledger.transfer(tills[place], 1) for place in (0, 999, 1000, 2499)}
    tron.ledger.settle()
    for count, queries in ((1000, 1), (2500, 3)):
        grid.calls.clear()
        found, _ = await scan_all(adapter, after, *tills[:count])
        assert grid.calls["/jsonrpc"] == 1
        assert grid.calls["eth_getLogs"] == queries + 1  # and the probe
        assert grid.calls["/walletsolidity/getblock"] <= 4
    assert {transfer.tx_hash for transfer in found} == paid


async def test_a_quiet_cycle_of_a_thousand_intents_costs_two_requests(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tills = [account(f"till {number}") for number in range(1000)]
    after = tron.start()
    tron.ledger.advance(5)
    _, after = await scan_all(adapter, after, *tills, reread_s=60)
    for _ in range(3):
        tron.ledger.advance(5)
        before = grid.requests
        _, after = await scan_all(adapter, after, *tills, reread_s=60)
        assert grid.requests - before == 2


async def test_a_gap_of_5001_blocks_is_read_in_two_ranges(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    first = tron.ledger.transfer(SHOP, 1)
    tron.ledger.advance(5000)
    last = tron.ledger.transfer(SHOP, 2)
    tron.ledger.advance(1)
    tron.ledger.advance(19)
    found, cursor = await scan_all(adapter, after)
    ranges = [asked for route, asked in grid.asked if route == "/jsonrpc"]
    assert [t.tx_hash for t in found] == [first, last]
    assert len(ranges) == 2
    assert cursor == Cursor(tron.ledger.time_of(last))


async def test_without_destinations_the_cursor_advances_and_nothing_is_asked(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.settle()
    head = await adapter.head()
    before = grid.requests
    page = await adapter.scan(Rail.DIRECT, Targets(), after, head, reread_s=60)
    assert page == ScanPage([], Cursor(head.position), head.time, 0)
    assert grid.requests == before


async def test_the_head_is_the_newest_solid_block(tron):
    adapter = await tron.adapter()
    tron.start()
    head = await adapter.head()
    assert head.position == head.finalized == tron.ledger.times[tron.ledger.solid]
    assert head.time == head.position // 1000


async def test_a_first_start_reads_a_day_of_history(tron):
    tron.ledger.busy = False
    adapter = await tron.adapter()
    long_ago = tron.ledger.transfer(SHOP, 1)
    tron.ledger.advance(100)
    yesterday = tron.ledger.transfer(SHOP, 2)
    tron.ledger.advance(28_790)
    tron.ledger.advance(19)
    head = await adapter.head()
    after = adapter.first_cursor(head)
    found, _ = await scan_all(adapter, after)
    assert head.position - after.position == 86_400_000
    assert [t.tx_hash for t in found] == [yesterday]
    assert long_ago not in {t.tx_hash for t in found}


async def test_a_restart_goes_on_where_the_stored_cursor_stands(tron):
    grid = await tron.grid()
    after = tron.start()
    paid = [tron.ledger.transfer(SHOP, 1)]
    tron.ledger.settle()
    found, after = await scan_all(await tron.adapter(grid), after)
    paid.append(tron.ledger.transfer(SHOP, 2))
    tron.ledger.settle()
    more, _ = await scan_all(await tron.adapter(grid), Cursor(after.position))
    assert [t.tx_hash for t in [*found, *more]] == paid


async def test_missed_slots_do_not_shift_what_is_read(tron):
    adapter = await tron.adapter()
    tron.ledger.advance(100)
    paid = []
    for _ in range(30):
        tron.ledger.advance(7, missed=3)
        paid.append(tron.ledger.transfer(SHOP, len(paid) + 1))
        tron.ledger.advance()
    tron.ledger.settle()
    for place in (0, 7, 29):
        after = Cursor(tron.ledger.time_of(paid[place]) - 1)
        found, _ = await scan_all(adapter, after)
        assert [t.tx_hash for t in found] == paid[place:]


async def test_the_last_minute_is_read_again_without_resolving_anything_again(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.transfer(SHOP, 1)
    tron.ledger.settle()
    found, after = await scan_all(adapter, after)
    tron.ledger.advance(5)
    again = await scan_page(adapter, after, reread_s=60)
    assert again.transfers == found
    assert grid.calls["/walletsolidity/gettransactioninfobyid"] == 1


async def test_a_payment_is_verified_by_a_fresh_look_at_its_receipt(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.transfers([(USDT, SHOP, 5), (USDT, SHOP, 6)])
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    seen = await adapter.verify(found, head=await adapter.head())
    assert [(v.outcome, v.credited, v.transfer) for v in seen] == [
        (VerificationOutcome.CREDITED, 5, found[0]),
        (VerificationOutcome.CREDITED, 6, found[1]),
    ]
    assert grid.calls["/walletsolidity/gettransactioninfobyid"] == 2


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"amount": 6}, VerificationOutcome.NO_TRANSFER_LOG),
        ({"token": account("other")}, VerificationOutcome.NO_TRANSFER_LOG),
        ({"destination": account("other")}, VerificationOutcome.NO_TRANSFER_LOG),
        ({"event_key": TransferLog(USDT, BUYER, SHOP, 5, ordinal=1).key}, VerificationOutcome.NO_TRANSFER_LOG),
        ({"log_index": 1}, VerificationOutcome.CREDITED),  # a label some node chose
        ({"block_number": 1_790_000_001_000}, VerificationOutcome.GONE),
        ({"tx_hash": "0" * 64}, VerificationOutcome.NOT_YET),
    ],
)
async def test_what_the_receipt_does_not_say_is_not_verified(tron, change, outcome):
    adapter = await tron.adapter()
    after = tron.start()
    tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    (transfer,), _ = await scan_all(adapter, after)
    (seen,) = await adapter.verify([transfer._replace(**change)], head=await adapter.head())
    assert (seen.outcome, seen.credited) == (outcome, 5 if outcome is VerificationOutcome.CREDITED else 0)


async def test_a_transaction_that_failed_is_verified_as_reverted(tron):
    adapter = await tron.adapter()
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    (transfer,), _ = await scan_all(adapter, after)
    tron.ledger.by_id[paid].result = "OUT_OF_ENERGY"
    (seen,) = await adapter.verify([transfer], head=await adapter.head())
    assert seen.outcome is VerificationOutcome.REVERTED


async def test_one_transaction_is_inspected_for_ours(tron):
    adapter = await tron.adapter()
    tron.start()
    paid = tron.ledger.transfers([(USDT, BUYER, 1), (USDT, SHOP, 5)])
    failed = tron.ledger.fail(SHOP, 5, keeps_logs=True)
    tron.ledger.settle()
    fresh = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance()
    ours = Targets(frozenset([SHOP]))
    (seen,) = await adapter.inspect(paid.upper(), ours)
    assert (seen.tx_hash, seen.log_index, seen.amount) == (paid, 1, 5)
    assert await adapter.inspect(failed, ours) == []
    assert await adapter.inspect(fresh, ours) == []  # not solid
    assert await adapter.inspect("f" * 64, ours) == []


@pytest.mark.parametrize("text", ["0x" + "a" * 64, "a" * 63, "g" * 64, "", "a" * 64 + "\n"])
async def test_a_malformed_transaction_hash_is_refused_with_a_sentence(tron, text):
    adapter = await tron.adapter()
    with pytest.raises(InvalidTxHash, match="64 hex digits, without 0x"):
        await adapter.inspect(text, Targets())


async def test_a_token_says_what_it_is_and_is_asked_once(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    long_name = tron.ledger.deploy("long", "A token whose symbol is longer than one word", 18)
    assert (await adapter.token(USDT)).symbol == "USDT"
    assert (await adapter.token(USDT)).decimals == 6
    assert grid.calls["/walletsolidity/triggerconstantcontract"] == 2
    assert (await adapter.token(long_name)).symbol == "A token whose symbol is longer than one word"
    assert await adapter.token(SHOP) is None


async def test_movements_are_what_holders_received_between_two_times(tron):
    adapter = await tron.adapter()
    tron.start()
    other = tron.ledger.deploy("other", "OTHER")
    paid = []
    for amount in range(4):
        paid.append(tron.ledger.transfer(SHOP, amount + 1))
        tron.ledger.transfer(SHOP, 77, token=other)
        tron.ledger.transfer(BUYER, 88, sender="shop")
        tron.ledger.advance(2)
    tron.ledger.settle()
    wanted = [BalanceKey(SHOP, USDT), BalanceKey(BUYER, other), BalanceKey(SHOP, None)]
    first, last = (tron.ledger.time_of(paid[place]) for place in (1, 2))
    seen = await adapter.token_receipts(wanted, first=first, last=last)
    assert [(m.tx_hash, m.amount, m.sender, m.block_number) for m in seen] == [
        (paid[1], 2, BUYER, first),
        (paid[2], 3, BUYER, last),
    ]
    assert await adapter.token_receipts([BalanceKey(SHOP, None)], first=first, last=last) == []
    beyond = tron.ledger.times[-1] + 60_000
    assert len(await adapter.token_receipts(wanted, first=first, last=beyond)) == 3


async def test_a_checkout_is_a_uri_of_the_convention_wallets_know(tron):
    adapter = await tron.adapter()
    order = {"token": USDT, "destination": SHOP, "amount": 1_000_000, "reference": "0x" + "a" * 16}
    checkout = adapter.checkout(Rail.DIRECT, **order, fee_amount=0, fee_address="")
    assert checkout.payment_uri == f"tron:{SHOP}?amount=1000000&token={USDT}"
    assert checkout.calldata is None
    with pytest.raises(ValueError, match="rail proxy"):
        adapter.checkout(Rail.PROXY, **order, fee_amount=0, fee_address="")


async def test_a_sound_service_passes_the_self_test(tron):
    adapter = await tron.adapter()
    tron.start()
    assert await adapter.self_test() == []


async def test_the_self_test_tells_of_a_missing_token_contract_and_a_wrong_json_rpc(tron):
    grid = await tron.grid(claims_chain=1)
    adapter = await tron.adapter(grid)
    tron.start()
    tron.ledger.tokens.clear()
    wrong, missing = await adapter.self_test()
    assert "serves chain 1, expected chain 728126428" in wrong
    assert f"no token contract at proxyAddress {USDT}" in missing


async def test_the_self_test_tells_that_json_rpc_is_refused(tron):
    grid = await tron.grid(jsonrpc=False)
    adapter = await tron.adapter(grid)
    tron.start()
    (problem,) = await adapter.self_test()
    assert "serves no JSON-RPC: payments are looked for by slower calls" in problem


async def test_a_service_of_another_network_is_never_believed(tron):
    tron.ledger.chain_id = 3448148188  # a test network
    adapter = await tron.adapter()
    tron.start()
    with pytest.raises(ChainMisconfigured, match="serves chain 3448148188, expected chain 728126428"):
        await adapter.head()


async def test_there_are_no_forks_to_go_back_to(tron):
    adapter = await tron.adapter()
    assert await adapter.latest_canonical([Cursor(9), Cursor(5)]) == Cursor(9)
    assert await adapter.latest_canonical([]) is None
    assert not adapter.counts_blocks


@pytest.mark.parametrize("ending", ["", "/", "/jsonrpc", "/jsonrpc/"])
async def test_the_url_may_end_in_jsonrpc(tron, ending):
    grid = await tron.grid()
    adapter = await tron.adapter(urls=[grid.url + ending])
    after = tron.start()
    tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    assert len(found) == 1
    assert grid.calls["/jsonrpc"] == 1
