"""The TON adapter against TonCenter stand-ins that lag, lie, refuse and hang, on rows that real contracts made."""

from __future__ import annotations

import asyncio
import base64
from contextlib import AsyncExitStack

import pytest

from chains.base import Access
from chains.errors import ChainMisconfigured, ChainProtocolError, ChainUnavailable, InvalidTxHash
from chains.ton import transfers as paging
from chains.types import BalanceKey, Cursor, Head, Rail, ScanPage, Targets, TokenMeta, Transfer, VerificationOutcome
from devnet.ton.ledger import LT_A_BLOCK
from tests.chains.ton_world import CHAIN_ID, OTHER, OWNER, START, TonWorld, owner_of, scan, seen

OTHER_JETTON = "0:" + "FA" * 32


@pytest.fixture
async def ton():
    async with AsyncExitStack() as stack:
        yield TonWorld(stack)


async def verified(adapter, transfers):
    return [(seen.outcome, seen.credited) for seen in await adapter.verify(transfers, head=Head(START, None, START))]


# --- head and first start ------------------------------------------------------------------------


async def test_opening_an_adapter_asks_nobody(ton):
    center, adapter = await ton.both()
    assert center.asked == []
    assert adapter.endpoint.endswith("#1")


async def test_the_head_is_the_newest_masterchain_block_and_it_is_final(ton):
    _, adapter = await ton.both()
    assert await adapter.head() == Head(START, None, time=START, finalized=START)


async def test_the_first_start_reads_a_day_of_history(ton):
    _, adapter = await ton.both()
    ton.ledger.pay(OWNER, at=START - 86_000)
    assert adapter.first_cursor(await adapter.head()) == Cursor(START - 86_400)
    assert len(await seen(adapter, OWNER)) == 1


async def test_an_index_that_stands_still_is_read_and_said_to_be_stale(ton):
    """What it has is true: only that nothing came since is not."""
    center = await ton.center()
    adapter = await ton.adapter(center, wall=lambda: START + 601)
    assert (await adapter.head()).time == START
    condition = adapter.condition()
    assert condition.stale
    assert condition.lag_s == pytest.approx(601, abs=10)


async def test_a_block_from_the_future_moves_no_cursor(ton):
    center = await ton.center()
    adapter = await ton.adapter(center, wall=lambda: START - 601)
    with pytest.raises(ChainUnavailable, match=r"either this host's clock or the endpoint is wrong: .*601 s ahead"):
        await adapter.head()


async def test_another_network_is_named_and_never_read(ton):
    center, adapter = await ton.both()
    center.network = -3
    with pytest.raises(ChainMisconfigured, match="serves network -3, expected network -239"):
        await adapter.head()
    with pytest.raises(ChainMisconfigured):
        await (await ton.adapter(center)).token(ton.ledger.master)
    assert set(center.calls) == {"masterchainInfo"}


async def test_the_test_network_is_read_when_the_registry_says_so(ton):
    center = await ton.center()
    center.network = -3
    assert (await (await ton.adapter(center, testnet=True)).head()).position == START


# --- what a row becomes --------------------------------------------------------------------------


async def test_a_recorded_transfer_is_reported_with_every_fact(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.replay("success")
    (transfer,) = await seen(adapter, ton.ledger.shop)
    assert transfer == Transfer(
        chain_id=CHAIN_ID,
        tx_hash="67b9c6919d874a1c2518bd4b32be3656efc165af13f6193232bb2ead827d6a36",
        event_key="24000000",
        log_index=None,
        block_number=START + 60,
        block_hash=None,
        block_time=START + 60,
        token=ton.ledger.master,
        destination=ton.ledger.shop,
        amount=5_000_000,
        sender=ton.ledger.buyer,
    )
    assert transfer.tx_hash == payment.tx_hash


async def test_an_aborted_sending_half_moved_nothing_and_is_not_reported(ton):
    _, adapter = await ton.both()
    ton.ledger.replay("overdraw")
    page = await scan(adapter, ton.ledger.shop)
    assert (page.transfers, page.rows_read) == ([], 1)


async def test_a_jetton_that_is_not_ours_is_reported_with_its_own_master(ton):
    _, adapter = await ton.both()
    ton.ledger.replay("other_jetton")
    (transfer,) = await seen(adapter, ton.ledger.shop)
    assert transfer.token == ton.ledger.recorded["other_master"] != ton.ledger.master


async def test_a_jetton_of_the_same_name_is_another_jetton(ton):
    _, adapter = await ton.both()
    ton.ledger.issue(OTHER_JETTON, "USD₮", 6)
    ton.ledger.pay(OWNER, master=OTHER_JETTON)
    (transfer,) = await seen(adapter, OWNER)
    assert transfer.token == OTHER_JETTON


async def test_a_transfer_of_nothing_is_reported(ton):
    _, adapter = await ton.both()
    ton.ledger.pay(OWNER, amount=0)
    assert [transfer.amount for transfer in await seen(adapter, OWNER)] == [0]


async def test_several_payments_from_one_wallet_have_keys_of_their_own(ton):
    _, adapter = await ton.both()
    for _ in range(3):
        ton.ledger.pay(OWNER)
    transfers = await seen(adapter, OWNER)
    assert len({(transfer.tx_hash, transfer.event_key) for transfer in transfers}) == 3
    assert all(transfer.event_key for transfer in transfers)
    assert await verified(adapter, transfers) == [(VerificationOutcome.CREDITED, 5_000_000)] * 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transaction_hash", "short"),
        ("transaction_hash", None),
        ("transaction_lt", "-1"),
        ("transaction_lt", 1.5),
        ("transaction_now", None),
        ("transaction_aborted", None),
        ("amount", "0x5"),
        ("amount", "1e6"),
        ("amount", "-5"),
        ("amount", True),
        ("jetton_master", None),
        ("source", "EQ"),
        ("destination", ""),
    ],
)
async def test_a_row_that_makes_no_sense_is_named_and_harms_no_other(ton, field, value):
    center, adapter = await ton.both()
    strange, mine = ton.ledger.pay(OWNER), ton.ledger.pay(OWNER)
    center.spoilt_rows[strange.tx_hash] = {field: value}
    assert [transfer.tx_hash for transfer in await seen(adapter, OWNER)] == [mine.tx_hash]
    (problem,) = adapter.condition().problems
    assert "could not be read" in problem
    assert (strange.tx_hash in problem) == (field != "transaction_hash")


async def test_an_index_whose_every_row_makes_no_sense_is_not_believed(ton, small_pages):
    center, adapter = await ton.both()
    for _ in range(3):
        ton.ledger.pay(OWNER)
    center.spoilt = {"amount": None}
    with pytest.raises(ChainProtocolError, match="cannot be read"):
        await scan(adapter, OWNER)


# --- what is asked -------------------------------------------------------------------------------


async def test_a_poll_is_the_head_and_one_page(ton):
    center, adapter = await ton.both()
    for _ in range(20):
        ton.ledger.advance(15)
    cursor = ton.ledger.now
    for _ in range(200):
        ton.ledger.advance(15)
        cursor = (await scan(adapter, OWNER, after=cursor)).cursor.position
    assert cursor == ton.ledger.now
    # The first poll has to ask where to begin; afterwards the blocks of earlier polls tell.
    assert dict(center.calls) == {"masterchainInfo": 200, "jetton/transfers": 200, "blocks": 1}


async def test_the_question_leaves_nothing_to_the_services_defaults(ton):
    center, adapter = await ton.both()
    await scan(adapter, OWNER, OTHER)
    (question,) = center.questions("jetton/transfers")
    assert question["owner_address"] == sorted([OWNER, OTHER])
    assert (question["direction"], question["sort"], question["limit"]) == (["in"], ["asc"], ["1000"])
    assert set(question) == {"owner_address", "direction", "sort", "limit", "start_lt"}


async def test_nobody_waiting_is_no_question_but_the_head(ton):
    center, adapter = await ton.both()
    ton.ledger.advance(30)
    page = await scan(adapter, after=START)
    assert page == ScanPage([], Cursor(START + 30), time=START + 30, rows_read=0)
    assert dict(center.calls) == {"masterchainInfo": 1}


async def test_a_head_below_the_cursor_moves_nothing_back(ton):
    center, adapter = await ton.both()
    head = await adapter.head()
    page = await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER})), Cursor(START + 5), head, reread_s=60)
    assert page == ScanPage([], Cursor(START + 5), time=START + 5, rows_read=0)
    assert center.calls["jetton/transfers"] == 0


async def test_a_thousand_waiting_addresses_are_one_page(ton):
    center, adapter = await ton.both()
    owners = [owner_of(number) for number in range(1000)]
    ton.ledger.pay(owners[777])
    for _ in range(3):  # the accepted length is learnt
        await scan(adapter, *owners)
    center.calls.clear()
    assert len(await seen(adapter, *owners)) == 1
    assert center.calls["jetton/transfers"] == 1
    assert len(center.questions("jetton/transfers")[-1]["owner_address"]) == 1000
    assert center.longest_url > 80_000


async def test_more_waiting_addresses_than_the_service_takes_are_asked_about_in_parts(ton):
    center, adapter = await ton.both()
    owners = [owner_of(number) for number in range(1200)]
    for owner in owners[::600]:
        ton.ledger.pay(owner)
    for _ in range(4):  # the accepted length is learnt
        assert {t.destination for t in await seen(adapter, *owners)} == set(owners[::600])
    asked = [len(question["owner_address"]) for question in center.questions("jetton/transfers")]
    assert asked[-2:] == [1000, 200]


@pytest.mark.parametrize("status", [400, 413, 414, 431])
async def test_a_question_that_is_too_long_is_asked_in_parts_and_the_length_remembered(ton, status):
    center, adapter = await ton.both()
    center.max_url, center.too_long_status = 8_000, status
    owners = [owner_of(number) for number in range(300)]
    for number in (0, 150, 299):
        ton.ledger.pay(owners[number])
    assert {t.destination for t in await seen(adapter, *owners)} == {owners[0], owners[150], owners[299]}
    center.calls.clear()
    assert len(await seen(adapter, *owners)) == 3
    assert [len(question["owner_address"]) for question in center.questions("jetton/transfers")[-4:]] == [75] * 4
    assert center.calls["jetton/transfers"] == 4


async def test_an_endpoint_that_refuses_a_single_address_is_unavailable(ton):
    center, adapter = await ton.both()
    head = await adapter.head()
    center.max_url = 50
    with pytest.raises(ChainUnavailable, match="HTTP 414"):
        await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER, OTHER})), Cursor(START - 60), head)


# --- pages ---------------------------------------------------------------------------------------


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(paging, "PAGE", 3)


@pytest.mark.parametrize("count", range(12))
async def test_every_page_boundary_is_crossed_without_loss(ton, small_pages, count):
    _, adapter = await ton.both()
    paid = [ton.ledger.pay(OWNER, amount=number + 1) for number in range(count)]
    transfers = await seen(adapter, OWNER)
    assert [t.amount for t in transfers] == [int(p.row["amount"]) for p in paid]


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("together", range(1, 9))
async def test_a_page_boundary_inside_one_logical_time_loses_nothing(ton, small_pages, before, together):
    _, adapter = await ton.both()
    lts = [*range(before), *([before] * together), *range(before + 1, before + 4)]
    first = ton.ledger.lt + LT_A_BLOCK
    for place, lt in enumerate(lts):
        ton.ledger.pay(OWNER, amount=place + 1, lt=first + lt * 10)
    transfers = await asyncio.wait_for(seen(adapter, OWNER), 10)
    assert sorted(t.amount for t in transfers) == list(range(1, len(lts) + 1))


async def test_rows_that_arrive_between_two_pages_are_read(ton, small_pages):
    center, adapter = await ton.both()
    for _ in range(4):
        ton.ledger.pay(OWNER)

    def arrive(route: str) -> None:
        if route == "jetton/transfers" and len(ton.ledger.payments) < 9:
            ton.ledger.pay(OWNER)

    center.before = arrive
    await scan(adapter, OWNER)
    center.before = None
    assert len(await seen(adapter, OWNER)) == len(ton.ledger.payments)


async def test_rows_that_are_answered_twice_are_reported_once(ton):
    center, adapter = await ton.both()
    center.repeats = True
    for _ in range(5):
        ton.ledger.pay(OWNER)
    assert len(await seen(adapter, OWNER)) == 5


async def test_a_full_page_out_of_order_is_not_believed(ton, small_pages):
    center, adapter = await ton.both()
    center.wrong_order = True
    for _ in range(4):
        ton.ledger.pay(OWNER)
    with pytest.raises(ChainProtocolError, match="not in order"):
        await scan(adapter, OWNER)


async def test_a_short_page_out_of_order_holds_everything(ton):
    center, adapter = await ton.both()
    center.wrong_order = True
    paid = [ton.ledger.pay(OWNER, amount=number + 1) for number in range(4)]
    assert [t.amount for t in await seen(adapter, OWNER)] == [int(p.row["amount"]) for p in paid]


async def test_a_filter_that_is_ignored_is_noticed(ton):
    center, adapter = await ton.both()
    center.ignored = {"owner_address"}
    ton.ledger.pay(OTHER)
    with pytest.raises(ChainProtocolError, match="filter was ignored"):
        await scan(adapter, OWNER)


async def test_a_start_that_is_ignored_is_noticed(ton):
    center, adapter = await ton.both()
    ton.ledger.pay(OWNER, at=START - 100_000, lt=1)
    center.ignored = {"start_lt"}
    with pytest.raises(ChainProtocolError, match="start_lt"):
        await scan(adapter, OWNER)


async def test_blocks_that_are_not_the_ones_asked_for_are_noticed(ton):
    center, adapter = await ton.both()
    center.ignored = {"end_utime"}
    with pytest.raises(ChainProtocolError, match="end_utime"):
        await scan(adapter, OWNER)


async def test_a_page_that_fails_moves_no_cursor(ton, small_pages):
    center, adapter = await ton.both()
    for _ in range(7):
        ton.ledger.pay(OWNER)
    head = await adapter.head()

    def fail_later(route: str) -> None:
        if center.calls["jetton/transfers"] == 2:
            center.fail("jetton/transfers", status=500, body={"error": "query timeout", "code": 500})

    center.before = fail_later
    with pytest.raises(ChainUnavailable, match="HTTP 500: query timeout"):
        await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER})), Cursor(START - 60), head)


async def test_very_many_rows_end_the_page_below_the_head_and_the_next_goes_on(ton, small_pages, monkeypatch):
    _, adapter = await ton.both()
    monkeypatch.setattr(paging, "MAX_PAGES", 2)
    for _ in range(30):
        ton.ledger.advance(100)
        ton.ledger.pay(OWNER)
    head, cursor = await adapter.head(), Cursor(START - 10)
    found, pages = set(), 0
    while cursor.position < head.position:
        page = await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER})), cursor, head)
        found |= {(t.tx_hash, t.event_key) for t in page.transfers}
        assert cursor.position < page.cursor.position <= head.position
        cursor, pages = page.cursor, pages + 1
    assert (len(found), pages > 3) == (30, True)


async def test_very_many_rows_in_one_moment_are_read_to_the_end(ton, small_pages, monkeypatch):
    _, adapter = await ton.both()
    monkeypatch.setattr(paging, "MAX_PAGES", 2)
    for _ in range(30):
        ton.ledger.pay(OWNER)
    assert len(await seen(adapter, OWNER, after=START - 1, reread_s=0)) == 30


async def test_a_restart_reads_what_was_read_before_or_more(ton):
    center = await ton.center()
    first = await ton.adapter(center)
    ton.ledger.pay(OWNER)
    before = await seen(first, OWNER, after=START - 10)
    again = await seen(await ton.adapter(center), OWNER, after=START - 10)
    assert before == again


# --- time ----------------------------------------------------------------------------------------


async def test_a_row_that_was_indexed_late_is_found_by_reading_the_last_minute_again(ton):
    center, adapter = await ton.both()
    ton.ledger.advance(100)
    ton.ledger.pay(OWNER)
    center.stale_s = 30
    ton.ledger.advance(20)
    page = await scan(adapter, OWNER, after=START + 90)
    assert (page.transfers, page.cursor.position) == ([], START + 120)
    ton.ledger.advance(20)
    assert len(await seen(adapter, OWNER, after=page.cursor.position)) == 1


@pytest.mark.parametrize(("reread_s", "rows"), [(60, 1), (0, 0)])
async def test_as_much_before_the_cursor_is_read_again_as_was_asked_for(ton, reread_s, rows):
    _, adapter = await ton.both()
    for _ in range(40):
        ton.ledger.advance(10)
    time, lt = next(block for block in ton.ledger.blocks if block[0] == START + 300)
    ton.ledger.pay(OWNER, at=time, lt=lt + 10)
    assert len(await seen(adapter, OWNER, after=time + 100, reread_s=reread_s)) == rows


async def test_a_shard_whose_logical_clock_is_behind_is_read_all_the_same(ton):
    _, adapter = await ton.both()
    ton.ledger.advance(100)
    late = ton.ledger.lt - 1  # below the block that has the time of the cursor
    for _ in range(10):
        ton.ledger.advance(10)
    cursor = ton.ledger.now - 60
    ton.ledger.pay(OWNER, at=cursor + 1, lt=late + 3 * LT_A_BLOCK)
    assert len(await seen(adapter, OWNER, after=cursor, reread_s=0)) == 1


async def test_remembered_blocks_and_asked_ones_begin_at_the_same_place_or_below(ton):
    center, adapter = await ton.both()
    for _ in range(40):
        ton.ledger.advance(15)
        ton.ledger.pay(OWNER)
        await adapter.head()
    cursor = ton.ledger.now - 30
    center.calls.clear()
    remembered = await seen(adapter, OWNER, after=cursor)
    assert center.calls["blocks"] == 0
    asked = await seen(await ton.adapter(center), OWNER, after=cursor)
    newest = {t for t in remembered if t.block_number >= cursor - 60}
    assert newest == {t for t in asked if t.block_number >= cursor - 60}
    assert len(newest) == 7


async def test_an_endpoint_that_is_behind_the_head_is_passed_over(ton):
    fresh, slow = await ton.center(), await ton.center()
    adapter = await ton.adapter(fresh, slow)
    ton.ledger.advance(100)
    ton.ledger.pay(OWNER)
    slow.behind_s = 50
    head = await adapter.head()
    fresh.fail("jetton/transfers", status=500)
    with pytest.raises(ChainUnavailable, match="s behind another endpoint"):
        await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER})), Cursor(START), head)


async def test_another_endpoint_takes_over_when_it_has_caught_up(ton):
    first, second = await ton.center(), await ton.center()
    adapter = await ton.adapter(first, second)
    ton.ledger.pay(OWNER)
    first.fail(status=503)
    assert len(await seen(adapter, OWNER)) == 1
    assert adapter.endpoint.endswith("#2")


async def test_there_are_no_forks(ton):
    _, adapter = await ton.both()
    known_blocks = [Cursor(START), Cursor(START - 5)]
    assert await adapter.latest_canonical(known_blocks) == Cursor(START)
    assert await adapter.latest_canonical([]) is None


# --- both halves ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "outcome", "credited"),
    [
        ("success", VerificationOutcome.CREDITED, 5_000_000),
        ("comment", VerificationOutcome.CREDITED, 5_000_000),
        ("nanoton_forward", VerificationOutcome.CREDITED, 5_000_000),  # the notification is aborted: no_gas
        ("zero_forward", VerificationOutcome.CREDITED, 5_000_000),  # there is no notification
        ("owner_not_deployed", VerificationOutcome.CREDITED, 5_000_000),  # the notification is aborted: no_state
        ("bounce", VerificationOutcome.REVERTED, 0),
    ],
)
async def test_what_real_contracts_did_decides(ton, case, outcome, credited):
    _, adapter = await ton.both()
    payment = ton.ledger.replay(case)
    transfers = await seen(adapter, payment.row["destination"])
    assert await verified(adapter, transfers) == [(outcome, credited)]


async def test_a_receiving_half_that_is_pending_is_seen_but_not_yet_believed(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.replay("success", pending=True)
    transfers = await seen(adapter, ton.ledger.shop)
    assert await verified(adapter, transfers) == [(VerificationOutcome.NOT_YET, 0)]
    payment.pending = False
    assert await verified(adapter, transfers) == [(VerificationOutcome.CREDITED, 5_000_000)]


async def test_a_sending_half_the_service_does_not_find_is_not_yet_believed(ton):
    _, adapter = await ton.both()
    ton.ledger.replay("success")
    transfers = await seen(adapter, ton.ledger.shop)
    ton.ledger.payments.clear()
    assert await verified(adapter, transfers) == [(VerificationOutcome.NOT_YET, 0)]


async def test_a_receiving_half_that_is_not_final_is_not_yet_believed(ton):
    center, adapter = await ton.both()
    ton.ledger.replay("success")
    transfers = await seen(adapter, ton.ledger.shop)
    center.non_final = True
    assert await verified(adapter, transfers) == [(VerificationOutcome.NOT_YET, 0)]


async def test_an_emulated_receiving_half_is_not_yet_believed(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER)
    for transaction in payment.transactions:
        transaction["emulated"] = True
    assert await verified(adapter, await seen(adapter, OWNER)) == [(VerificationOutcome.NOT_YET, 0)]


async def test_a_credit_to_a_wallet_that_is_not_the_destinations_is_none(ton):
    center, adapter = await ton.both()
    ton.ledger.replay("success")
    center.wrong_wallets[ton.ledger.shop] = ton.ledger.wallet(OTHER_JETTON, ton.ledger.shop)
    transfers = await seen(adapter, ton.ledger.shop)
    assert await verified(adapter, transfers) == [(VerificationOutcome.NO_TRANSFER_LOG, 0)]


async def test_a_row_that_claims_our_master_for_another_jetton_is_no_credit(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER, master=OTHER_JETTON)
    payment.row["jetton_master"] = ton.ledger.master
    (transfer,) = await seen(adapter, OWNER)
    assert transfer.token == ton.ledger.master
    assert await verified(adapter, [transfer]) == [(VerificationOutcome.NO_TRANSFER_LOG, 0)]


async def test_a_master_that_does_not_answer_for_a_wallet_confirms_nothing(ton):
    _, adapter = await ton.both()
    ton.ledger.pay(OWNER, master=OTHER_JETTON)  # nobody deployed that master
    assert await verified(adapter, await seen(adapter, OWNER)) == [(VerificationOutcome.NOT_YET, 0)]


async def test_less_in_the_message_than_in_the_row_is_short(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER, amount=900)
    payment.row["amount"] = "1000"
    assert await verified(adapter, await seen(adapter, OWNER)) == [(VerificationOutcome.SHORT, 900)]


async def test_more_in_the_message_than_in_the_row_counts_as_the_row_says(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER, amount=1100)
    payment.row["amount"] = "1000"
    assert await verified(adapter, await seen(adapter, OWNER)) == [(VerificationOutcome.CREDITED, 1000)]


@pytest.mark.parametrize(
    "defect",
    [
        {"aborted": True},
        {"compute_ph": {"skipped": False, "success": False, "exit_code": 9}},
        {"compute_ph": {"skipped": True, "reason": "no_gas"}},
        {"action": {"success": False}},
    ],
)
async def test_a_receiving_half_that_failed_in_any_phase_is_no_credit(ton, defect):
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER)
    for transaction in payment.transactions:
        if transaction["account"] == payment.wallet:
            transaction["description"] = {**transaction["description"], **defect}
    assert await verified(adapter, await seen(adapter, OWNER)) == [(VerificationOutcome.REVERTED, 0)]


async def test_a_transfer_whose_message_was_not_the_first_is_found_by_its_sending_transaction(ton):
    center, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER)
    for transaction in payment.transactions:
        if transaction["account"] == payment.wallet:
            transaction["in_msg"]["created_lt"] = str(int(transaction["in_msg"]["created_lt"]) + 1)
    assert await verified(adapter, await seen(adapter, OWNER)) == [(VerificationOutcome.CREDITED, 5_000_000)]
    assert center.calls["adjacentTransactions"] == 1


@pytest.mark.parametrize("opcode", ["0x178d4519", "0x00000000"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_jetton_that_sends_a_fee_elsewhere_credits_the_destination_all_the_same(ton, first, opcode):
    _, adapter = await ton.both()
    payment, fee = ton.ledger.pay(OWNER), ton.ledger.pay(OTHER, amount=1)
    (credit,) = [tx for tx in payment.transactions if tx["account"] == payment.wallet]
    (other,) = [tx for tx in fee.transactions if tx["account"] == fee.wallet]
    ton.ledger.payments.remove(fee)
    other["in_msg"]["opcode"] = opcode
    payment.transactions.insert(0 if first else len(payment.transactions), other)
    (sending,) = [tx for tx in payment.transactions if tx["hash"] == payment.row["transaction_hash"]]
    sending["out_msgs"].append({"hash": other["in_msg"]["hash"]})
    credit["in_msg"]["created_lt"] = str(int(credit["in_msg"]["created_lt"]) + 1)
    assert await verified(adapter, await seen(adapter, OWNER)) == [(VerificationOutcome.CREDITED, 5_000_000)]


async def test_a_message_that_is_no_transfer_credits_nothing(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER)
    (credit,) = [tx for tx in payment.transactions if tx["account"] == payment.wallet]
    credit["in_msg"]["opcode"] = "0x00000000"
    assert await verified(adapter, await seen(adapter, OWNER)) == [(VerificationOutcome.NOT_YET, 0)]


async def test_a_credit_of_the_same_moment_from_somebody_else_is_not_taken_for_ours(ton):
    _, adapter = await ton.both()
    stranger = ton.ledger.pay(OWNER, sender=OTHER)
    mine = ton.ledger.pay(OWNER, lt=int(stranger.row["transaction_lt"]), pending=True)
    transfers = await seen(adapter, OWNER)
    outcomes = {
        t.sender: seen.outcome
        for t, seen in zip(transfers, await adapter.verify(transfers, head=await adapter.head()), strict=True)
    }
    assert outcomes == {OTHER: VerificationOutcome.CREDITED, mine.row["source"]: VerificationOutcome.NOT_YET}


async def test_a_credit_of_the_same_moment_to_somebody_else_is_not_taken_for_ours(ton):
    _, adapter = await ton.both()
    theirs = ton.ledger.pay(OTHER)
    ton.ledger.pay(OWNER, lt=int(theirs.row["transaction_lt"]), pending=True)
    transfers = await seen(adapter, OWNER, OTHER)
    outcomes = {
        t.destination: seen.outcome
        for t, seen in zip(transfers, await adapter.verify(transfers, head=await adapter.head()), strict=True)
    }
    assert outcomes == {OTHER: VerificationOutcome.CREDITED, OWNER: VerificationOutcome.NOT_YET}


async def test_a_credit_whose_message_cannot_be_read_is_told_of_that_payment(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER)
    for transaction in payment.transactions:
        transaction["in_msg"]["message_content"]["body"] = "te6cckEBAQEAAgAAAEysuc0="
    (told,) = await adapter.verify(await seen(adapter, OWNER), head=await adapter.head())
    assert (told.outcome, told.credited) == (VerificationOutcome.NOT_YET, 0)
    assert "cannot be read" in told.why


async def test_two_hundred_payments_are_looked_at_in_a_handful_of_calls(ton):
    center, adapter = await ton.both()
    owners = [owner_of(number) for number in range(200)]
    for owner in owners:
        ton.ledger.pay(owner)
    transfers = await seen(adapter, *owners)
    center.calls.clear()
    assert await verified(adapter, transfers) == [(VerificationOutcome.CREDITED, 5_000_000)] * 200
    # One wallet is asked of the master and compared with its code; the others are computed.
    assert dict(center.calls) == {"runGetMethod": 2, "transactions": 2}


async def test_a_master_with_its_own_way_is_asked_for_every_wallet_once(ton):
    center, adapter = await ton.both()
    ton.ledger.own_way.add(ton.ledger.master)
    for owner in (OWNER, OTHER):
        ton.ledger.pay(owner)
    transfers = await seen(adapter, OWNER, OTHER)
    for _ in range(2):
        assert await verified(adapter, transfers) == [(VerificationOutcome.CREDITED, 5_000_000)] * 2
    assert center.calls["runGetMethod"] == 3  # two wallets, and the code that did not give them


async def test_answers_come_in_the_order_asked(ton):
    _, adapter = await ton.both()
    ton.ledger.pay(OWNER, pending=True)
    ton.ledger.pay(OTHER)
    ton.ledger.replay("bounce")
    owners = [OWNER, OTHER, ton.ledger.case("bounce")["owner"]]
    transfers = sorted(await seen(adapter, *owners), key=lambda t: owners.index(t.destination))
    expected = [VerificationOutcome.NOT_YET, VerificationOutcome.CREDITED, VerificationOutcome.REVERTED]
    assert [seen.outcome for seen in await adapter.verify(transfers, head=await adapter.head())] == expected
    assert [seen.outcome for seen in await adapter.verify(transfers[::-1], head=await adapter.head())] == expected[::-1]


async def test_nothing_to_verify_asks_nobody(ton):
    center, adapter = await ton.both()
    assert await adapter.verify([], head=Head(START, None, START)) == []
    assert center.asked == []


# --- one transaction -----------------------------------------------------------------------------


async def test_a_payment_is_found_by_any_transaction_of_its_trace(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.replay("success")
    ton.ledger.pay(ton.ledger.shop, lt=int(payment.row["transaction_lt"]) + 1)  # of the same moment
    targets = Targets(frozenset({ton.ledger.shop}))
    for transaction in payment.transactions:
        text = base64.b64decode(transaction["hash"]).hex()
        for spelling in (text, text.upper()):
            (transfer,) = await adapter.inspect(spelling, targets)
            assert transfer.tx_hash == payment.tx_hash


async def test_a_transaction_that_is_not_on_chain_holds_nothing(ton):
    _, adapter = await ton.both()
    assert await adapter.inspect("ab" * 32, Targets(frozenset({OWNER}))) == []


async def test_a_transaction_that_pays_somebody_else_holds_nothing_of_ours(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OTHER)
    assert await adapter.inspect(payment.tx_hash, Targets(frozenset({OWNER}))) == []
    assert await adapter.inspect(payment.tx_hash, Targets()) == []


async def test_an_overdraw_holds_nothing(ton):
    _, adapter = await ton.both()
    payment = ton.ledger.replay("overdraw")
    assert await adapter.inspect(payment.tx_hash, Targets(frozenset({ton.ledger.shop}))) == []


@pytest.mark.parametrize(
    "text", ["", "0x" + "ab" * 32, "ab" * 31, "zz" * 32, "Z7nGkZ2HShwlGL1LMr42Vu/BZa8T9hkyMrsurYJ9ajY="]
)
async def test_what_is_no_hash_is_refused_with_a_sentence(ton, text):
    _, adapter = await ton.both()
    with pytest.raises(InvalidTxHash, match="64 hex digits"):
        await adapter.inspect(text, Targets())


# --- tokens and checkout -------------------------------------------------------------------------


async def test_a_token_says_what_it_is_on_chain_and_in_its_metadata(ton):
    center, adapter = await ton.both()
    assert await adapter.token(ton.ledger.master) == TokenMeta("USD₮", 6)
    assert await adapter.token(ton.ledger.master) == TokenMeta("USD₮", 6)
    assert center.calls["jetton/masters"] == 1


async def test_an_address_without_a_master_is_no_token(ton):
    _, adapter = await ton.both()
    assert await adapter.token(OTHER_JETTON) is None


async def test_the_self_test_finds_the_master_the_registry_names(ton):
    center, adapter = await ton.both()
    assert await adapter.self_test() == []
    (problem,) = await (await ton.adapter(center, proxy_address=OTHER_JETTON)).self_test()
    assert "no jetton master" in problem


async def test_a_wallet_gets_a_link_with_the_jetton_and_the_amount(ton):
    _, adapter = await ton.both()
    usdt = adapter.parse_address("EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs")
    checkout = adapter.checkout(
        Rail.DIRECT, token=usdt, destination=usdt, amount=5, reference="0x", fee_amount=0, fee_address=""
    )
    assert checkout.calldata is None
    assert checkout.payment_uri == (
        "ton://transfer/UQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_p0p"
        "?jetton=EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs&amount=5"
    )
    with pytest.raises(ValueError, match="not served"):
        adapter.checkout(Rail.PROXY, token=usdt, destination=usdt, amount=5, reference="", fee_amount=0, fee_address="")


async def test_addresses_are_shown_as_people_write_them(ton):
    _, adapter = await ton.both()
    shown = adapter.show_address(OWNER)
    assert shown.startswith("EQ")
    assert adapter.parse_address(shown) == OWNER


# --- balances and movements ----------------------------------------------------------------------


async def test_balances_of_jettons_and_coins_come_in_the_order_asked(ton):
    center, adapter = await ton.both()
    ton.ledger.pay(OWNER, amount=10**30)
    ton.ledger.coins[OTHER] = 7
    holdings = [
        BalanceKey(OTHER, None),
        BalanceKey(OWNER, ton.ledger.master),
        BalanceKey(OWNER, None),
        BalanceKey(OTHER, OTHER_JETTON),
    ]
    balances = await adapter.balances(holdings)
    assert (balances.position, balances.amounts) == (START, [7, 10**30, 0, 0])
    assert sum(center.calls.values()) == 5  # the head before and after


async def test_a_thousand_balances_are_one_question_once_its_length_is_known(ton):
    center, adapter = await ton.both()
    holdings = [BalanceKey(owner_of(number), ton.ledger.master) for number in range(1000)]
    ton.ledger.pay(owner_of(999), amount=3)
    for _ in range(3):
        await adapter.balances(holdings)
    center.calls.clear()
    assert sum((await adapter.balances(holdings)).amounts) == 3
    assert dict(center.calls) == {"masterchainInfo": 2, "jetton/wallets": 1}


@pytest.mark.parametrize("how", [{"status": 500}, {"status": 200, "body": {"error": "x", "code": 500}}, {"body": {}}])
async def test_an_error_is_never_a_balance_of_zero(ton, how):
    center, adapter = await ton.both()
    center.fail("jetton/wallets", **how)
    with pytest.raises((ChainUnavailable, ChainProtocolError)):
        await adapter.balances([BalanceKey(OWNER, ton.ledger.master)])


async def test_an_index_that_is_behind_tells_no_balances(ton):
    center, adapter = await ton.both()
    ton.ledger.advance(200)
    await adapter.balances([BalanceKey(OWNER, None)])
    center.behind_s = 90
    with pytest.raises(ChainUnavailable, match="behind: balances would be old"):
        await adapter.balances([BalanceKey(OWNER, None)])


async def test_a_wallet_a_stranger_deployed_in_our_name_is_not_ours(ton):
    center, adapter = await ton.both()
    ton.ledger.pay(OWNER, amount=5)
    await verified(adapter, await seen(adapter, OWNER))  # from here on the wallets of this master can be computed
    center.strangers.append({"address": OTHER, "owner": OWNER, "jetton": ton.ledger.master, "balance": "1000000"})
    assert (await adapter.balances([BalanceKey(OWNER, ton.ledger.master)])).amounts == [5]


async def test_a_balance_of_a_master_with_its_own_way_is_not_measured_by_the_usual_one(ton):
    _, adapter = await ton.both()
    ton.ledger.own_way.add(ton.ledger.master)
    for owner in (OWNER, OTHER):
        ton.ledger.pay(owner, amount=5)
    await verified(adapter, await seen(adapter, OWNER))  # the master has been asked where a wallet is
    assert (await adapter.balances([BalanceKey(OTHER, ton.ledger.master)])).amounts == [5]


async def test_a_balance_of_another_jetton_is_not_taken_for_ours(ton):
    center, adapter = await ton.both()
    ton.ledger.pay(OWNER, amount=5, master=ton.ledger.recorded["other_master"])
    center.ignored = {"jetton_address"}
    assert (await adapter.balances([BalanceKey(OWNER, ton.ledger.master)])).amounts == [0]


async def test_two_wallets_of_one_owner_are_no_balance_at_all(ton):
    center, adapter = await ton.both()
    ton.ledger.own_way.add(ton.ledger.master)
    ton.ledger.pay(OWNER, amount=5)
    center.strangers.append({"address": OTHER, "owner": OWNER, "jetton": ton.ledger.master, "balance": "1000000"})
    assert (await adapter.balances([BalanceKey(OWNER, ton.ledger.master)])).amounts == [None]


async def test_movements_are_what_was_really_credited_when_it_was_credited(ton):
    _, adapter = await ton.both()
    ton.ledger.advance(100)
    credited = ton.ledger.pay(OWNER, amount=5)
    ton.ledger.pay(OWNER, amount=7, pending=True)
    ton.ledger.pay(OWNER, amount=9, name="bounce")
    ton.ledger.pay(OTHER, amount=11)
    ton.ledger.pay(OWNER, amount=13, master=ton.ledger.recorded["other_master"])
    for transaction in credited.transactions:
        if transaction["account"] == credited.wallet:
            transaction["now"] += 250  # the receiving half took its time
    for _ in range(3):
        ton.ledger.advance(100)
    holdings = [BalanceKey(OWNER, ton.ledger.master), BalanceKey(OTHER, None)]
    (movement,) = await adapter.token_receipts(holdings, first=START + 345, last=ton.ledger.now)
    assert (movement.amount, movement.block_number, movement.sender) == (5, START + 350, ton.ledger.buyer)
    assert movement.tx_hash == credited.tx_hash
    assert await adapter.token_receipts(holdings, first=START, last=START + 349) == []
    assert await adapter.token_receipts([BalanceKey(OWNER, None)], first=START, last=START + 400) == []


# --- keys ----------------------------------------------------------------------------------------


async def test_the_key_travels_in_its_header_and_nowhere_else(ton):
    center = await ton.center()
    adapter = await ton.adapter(center, access=Access(api_key="secret-of-ours", requests_per_second=1e9))
    ton.ledger.replay("success")
    await verified(adapter, await seen(adapter, ton.ledger.shop))
    assert set(center.keys) == {"secret-of-ours"}
    assert "secret-of-ours" not in str(center.asked)
    center.fail(status=403, body={"error": "no such key: secret-of-ours", "code": 403})
    with pytest.raises(ChainMisconfigured, match="HTTP 403") as refused:
        await adapter.head()
    assert "secret-of-ours" not in str(refused.value)


async def test_without_a_key_none_is_sent(ton):
    center, adapter = await ton.both()
    await adapter.head()
    assert center.keys == [None]
