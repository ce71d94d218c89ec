"""What `chains.base.ChainAdapter` promises, kept by every family: the bar a new one has to pass."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from chains.base import ChainAdapter
from chains.errors import ChainError, ChainUnavailable, InvalidAddress, InvalidTxHash
from chains.types import BalanceKey, Cursor, Head, Rail, ScanPage, Targets, VerificationOutcome
from tests.chains.contract_worlds import FAMILIES, Paid, land_of

pytestmark = pytest.mark.anvil


@pytest.fixture(params=FAMILIES)
async def land(request):
    async with land_of(request.param) as opened:
        yield opened


@pytest.fixture
async def adapter(land):
    return await land.adapter()


def targets(*destinations):
    return Targets(frozenset(destinations))


async def read(adapter, after, *destinations, reread_s=0):
    """Read every page up to the head, as the worker does; direct transfers and the last cursor."""
    head = await adapter.head()
    found = []
    while True:
        page = await adapter.scan(Rail.DIRECT, targets(*destinations), after, head, reread_s=reread_s)
        assert isinstance(page, ScanPage)
        assert after.position <= page.cursor.position <= max(after.position, head.position)
        found += [transfer for transfer in page.transfers if transfer.reference is None]
        assert page.cursor != after or after.position >= head.position
        after = page.cursor
        if after.position >= head.position:
            return found, after


def facts(transfers):
    return [Paid(t.tx_hash, t.destination, t.amount, t.token) for t in transfers]


def keys(transfers):
    return [(t.tx_hash, t.event_key) for t in transfers]


# --- opening and closing -------------------------------------------------------------------------


async def test_opening_asks_nobody(land):
    before = land.calls()
    adapter = await land.adapter()
    assert land.calls() == before
    assert "://" not in adapter.endpoint


async def test_an_adapter_is_what_the_protocol_says(adapter):
    kept: ChainAdapter = adapter
    assert kept.rails
    assert kept.lag_warning > 0
    assert kept.coin_decimals in {6, 9, 18}


def is_of_a_server(task):
    """Say whether a task is the stand-in's, which lives in the same loop."""
    return task.get_coro().cr_code.co_filename.endswith("web_protocol.py")


async def test_closing_in_the_middle_of_a_page_leaves_no_task_behind(land):
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        adapter = await land.adapter(stack)
        after = await land.here()
        await land.pay()
        head = await adapter.head()
        asked = land.upstream.calls[land.scan_question]
        land.upstream.fail(land.scan_question, hang=True)
        reading = asyncio.create_task(adapter.scan(Rail.DIRECT, targets(land.shop), after, head))
        await land.upstream.called(land.scan_question, asked + 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert [task for task in asyncio.all_tasks() - before if not is_of_a_server(task)] == []


# --- heads and cursors ---------------------------------------------------------------------------


async def test_the_head_goes_up_with_the_chain_and_its_time_is_in_seconds(land, adapter):
    before = await adapter.head()
    await land.pay()
    after = await adapter.head()
    assert after.position > before.position
    assert 1_500_000_000 < before.time <= after.time < 4_000_000_000


async def test_a_first_start_begins_below_the_head_and_never_below_nothing(adapter):
    head = await adapter.head()
    assert 0 <= adapter.first_cursor(head).position < head.position
    assert adapter.first_cursor(Head(1, None, 1)).position >= 0


async def test_a_first_start_reads_what_was_paid_just_before(land, adapter):
    paid = await land.pay()
    found, _ = await read(adapter, adapter.first_cursor(await adapter.head()), land.shop)
    assert facts(found) == [paid]


async def test_from_before_a_moment_on_everything_paid_since_is_read(land, adapter):
    paid = await land.pay()
    head = await adapter.head()
    cursor = await adapter.cursor_before(head.time - 3600, head)
    assert 0 <= cursor.position <= head.position
    found, _ = await read(adapter, cursor, land.shop)
    assert paid in facts(found)


async def test_a_moment_to_come_lies_at_the_head(adapter):
    head = await adapter.head()
    assert (await adapter.cursor_before(head.time + 3600, head)).position == head.position


async def test_the_newest_of_canonical_anchors_is_the_newest(land, adapter):
    old = await land.here()
    await land.pay()
    new = await land.here()
    assert await adapter.latest_canonical([new, old]) == new
    assert await adapter.latest_canonical([]) is None


# --- scanning ------------------------------------------------------------------------------------


async def test_a_payment_is_found_once_with_its_facts(land, adapter):
    after = await land.here()
    paid = await land.pay(amount=1234)
    (found,) = (await read(adapter, after, land.shop, land.other))[0]
    assert facts([found]) == [paid]
    assert found.event_key
    assert found.token == adapter.parse_address(adapter.show_address(land.token)) == land.token
    assert after.position < found.block_number <= (await adapter.head()).position
    assert (found.reference, found.fee_amount) == (None, 0)


async def test_an_amount_beyond_64_bits_is_exact(land, adapter):
    after = await land.here()
    await land.pay(amount=2**70 + 1)
    assert [t.amount for t in (await read(adapter, after, land.shop))[0]] == [2**70 + 1]


async def test_a_transfer_of_nothing_is_reported_as_nothing(land, adapter):
    after = await land.here()
    await land.pay(amount=0)
    assert [t.amount for t in (await read(adapter, after, land.shop))[0]] == [0]


async def test_an_imitation_of_a_token_is_another_token(land, adapter):
    after = await land.here()
    fake = await land.another_token()
    await land.pay(token=fake)
    (found,) = (await read(adapter, after, land.shop))[0]
    assert found.token == fake != land.token
    assert await adapter.token(fake) == land.meta


async def test_a_payment_to_somebody_else_is_not_found(land, adapter):
    after = await land.here()
    await land.pay(land.other)
    assert (await read(adapter, after, land.shop))[0] == []


async def test_two_payments_made_together_have_keys_of_their_own(land, adapter):
    after = await land.here()
    paid = await land.pay_together()
    found, _ = await read(adapter, after, *(each.destination for each in paid))
    assert sorted(facts(found)) == sorted(paid)
    assert len(set(keys(found))) == 2


async def test_looking_again_between_two_moments_finds_what_lies_between_them(land, adapter):
    after = await land.here()
    paid = await land.pay()
    (found,) = (await read(adapter, after, land.shop))[0]
    now = (await adapter.head()).time
    again = await adapter.rescan([land.shop, land.other], since=now - 600, until=now)
    assert facts(again.transfers) == [paid]
    assert keys(again.transfers) == keys([found])
    assert again.unread == {}


async def test_what_cannot_be_looked_at_again_is_named_and_no_error(land, adapter):
    now = (await adapter.head()).time
    land.upstream.fail(status=500, body=b"oops")
    again = await adapter.rescan([land.shop], since=now - 600, until=now)
    assert again.transfers == []
    assert set(again.unread) == {land.shop}
    assert again.unread[land.shop]


async def test_the_condition_is_told_without_asking_anybody(land, adapter):
    await adapter.head()
    before = land.calls()
    condition = adapter.condition()
    assert land.calls() == before
    assert [endpoint.label for endpoint in condition.endpoints] == [adapter.endpoint]
    assert all("://" not in endpoint.label for endpoint in condition.endpoints)


async def test_reading_again_gives_the_same_transfers_and_keys(land, adapter):
    after = await land.here()
    for amount in (1, 2, 3):
        await land.pay(amount=amount)
    first, _ = await read(adapter, after, land.shop)
    again, _ = await read(adapter, after, land.shop)
    restarted, _ = await read(await land.adapter(), after, land.shop)
    assert first == again == restarted
    assert len(first) == 3


async def test_what_was_read_before_is_read_again_when_asked(land, adapter):
    after = await land.here()
    paid = await land.pay()
    _, cursor = await read(adapter, after, land.shop)
    await land.pay(amount=6)
    assert paid in facts((await read(adapter, cursor, land.shop, reread_s=60))[0])


async def test_pages_follow_one_another_without_a_gap(land, monkeypatch):
    land.small_pages(monkeypatch)
    adapter = await land.adapter()
    after = await land.here()
    paid = [await land.pay(amount=amount) for amount in range(1, 15)]
    found, cursor = await read(adapter, after, land.shop)
    assert list(dict.fromkeys(facts(found))) == paid
    assert cursor.position == (await adapter.head()).position


async def test_a_page_that_breaks_off_moves_no_cursor_past_what_was_not_read(land, monkeypatch):
    land.small_pages(monkeypatch)
    adapter = await land.adapter()
    cursor = await land.here()
    paid = [await land.pay(amount=amount) for amount in range(1, 9)]
    found = set()
    while cursor.position < (head := await head_of(land, adapter)).position:
        land.upstream.fail(status=503, times=1)
        try:
            page = await adapter.scan(Rail.DIRECT, targets(land.shop), cursor, head)
        except ChainError:  # some families read past one failure
            land.upstream.heal()
            land.later(700)
            land.small_pages(monkeypatch)
            page = await adapter.scan(Rail.DIRECT, targets(land.shop), cursor, head)
        found |= set(facts(t for t in page.transfers if t.reference is None))
        cursor = page.cursor
    assert found == set(paid)


async def head_of(land, adapter):
    land.upstream.heal()
    land.later(700)
    return await adapter.head()


async def test_an_upstream_that_falls_behind_costs_no_payment(land, adapter):
    cursor = await land.here()
    paid = [await land.pay(amount=amount) for amount in (1, 2, 3)]
    head = await adapter.head()
    land.fall_behind()
    found = []
    try:
        page = await adapter.scan(Rail.DIRECT, targets(land.shop), cursor, head)
    except ChainUnavailable:
        pass
    else:
        found, cursor = facts(page.transfers), page.cursor
    land.upstream.heal()
    land.later(700)
    found += facts((await read(adapter, cursor, land.shop))[0])
    assert sorted(set(found)) == sorted(paid)


async def test_a_cursor_at_the_head_stays_where_it_is(land, adapter):
    head = await adapter.head()
    page = await adapter.scan(Rail.DIRECT, targets(land.shop), Cursor(head.position, head.block_hash), head)
    assert (page.transfers, page.cursor) == ([], Cursor(head.position, head.block_hash))


async def test_a_cursor_above_the_head_never_goes_back(land, adapter):
    head = await adapter.head()
    page = await adapter.scan(Rail.DIRECT, targets(), Cursor(head.position + 1), head)
    assert (page.transfers, page.cursor.position) == ([], head.position + 1)


async def test_without_a_destination_nobody_is_asked_for_transfers(land, adapter):
    after = await land.here()
    await land.pay()
    found, cursor = await read(adapter, after)
    assert (found, cursor.position) == ([], (await adapter.head()).position)
    assert land.transfer_questions() == 0
    await read(adapter, after, land.shop)
    assert land.transfer_questions() > 0


async def test_nothing_to_look_at_asks_nobody(land, adapter):
    head = await adapter.head()
    before = land.calls()
    assert await adapter.verify([], head=head) == []
    assert await adapter.token_receipts([], first=0, last=10) == []
    assert land.calls() == before


# --- looking again -------------------------------------------------------------------------------


async def one(land, adapter, **how):
    after = await land.here()
    await land.pay(**how)
    (found,) = (await read(adapter, after, land.shop))[0]
    return found


async def test_a_payment_that_stands_is_credited_with_its_sender_and_time(land, adapter):
    found = await one(land, adapter, amount=77)
    (seen,) = await adapter.verify([found], head=await adapter.head())
    assert (seen.outcome, seen.credited) == (VerificationOutcome.CREDITED, 77)
    assert seen.transfer.sender == land.buyer
    assert seen.transfer.block_time is not None
    assert keys([seen.transfer]) == keys([found])


async def test_a_payment_that_left_the_chain_is_not_credited(land, adapter):
    found = await one(land, adapter)
    await land.vanish(found)
    (seen,) = await adapter.verify([found], head=await adapter.head())
    assert seen.outcome in {VerificationOutcome.GONE, VerificationOutcome.NOT_YET}
    assert seen.credited == 0


async def test_a_payment_that_failed_is_reverted(land, adapter):
    found = await one(land, adapter)
    await land.fail(found)
    (seen,) = await adapter.verify([found], head=await adapter.head())
    assert (seen.outcome, seen.credited) == (VerificationOutcome.REVERTED, 0)


@pytest.mark.parametrize("lie", ["more", "elsewhere", "token"])
async def test_a_claim_the_chain_does_not_bear_out_is_not_credited(land, adapter, lie):
    found = await one(land, adapter, amount=50)
    claims = {
        "more": found._replace(amount=51),
        "elsewhere": found._replace(destination=land.other),
        "token": found._replace(token=await land.another_token()),
    }
    (seen,) = await adapter.verify([claims[lie]], head=await adapter.head())
    assert seen.outcome is not VerificationOutcome.CREDITED
    assert seen.credited <= 50


async def test_answers_come_in_the_order_asked(land, adapter):
    after = await land.here()
    for amount in (1, 2, 3):
        await land.pay(amount=amount)
    found, _ = await read(adapter, after, land.shop)
    for asked in (found, found[::-1], [found[1], found[1]]):
        assert keys(seen.transfer for seen in await adapter.verify(asked, head=await adapter.head())) == keys(asked)


# --- one transaction -----------------------------------------------------------------------------


async def test_a_transaction_shows_what_the_scan_showed(land, adapter):
    found = await one(land, adapter)
    inspected = await adapter.inspect(found.tx_hash, targets(land.shop))
    assert keys(inspected) == keys([found])
    assert facts(inspected) == facts([found])
    assert await adapter.inspect(found.tx_hash, targets(land.other)) == []


async def test_a_transaction_that_pays_two_of_ours_shows_both(land, adapter):
    paid = await land.pay_together()
    ours = targets(*(each.destination for each in paid))
    assert sorted(facts(await adapter.inspect(paid[0].tx_hash, ours))) == sorted(paid)


async def test_an_unknown_transaction_shows_nothing(land, adapter):
    assert await adapter.inspect(land.unknown_tx, targets(land.shop)) == []


@pytest.mark.parametrize("text", ["", "hello", "0x", "ab" * 31, "0x" + "zz" * 32, "own"])
async def test_what_is_no_transaction_hash_is_refused_with_a_sentence_and_asks_nobody(land, adapter, text):
    before = land.calls()
    with pytest.raises(InvalidTxHash, match=r"\w+ \w+ \w+"):
        await adapter.inspect(land.malformed_tx if text == "own" else text, targets(land.shop))
    assert land.calls() == before


async def test_a_transaction_is_told_whole_and_as_the_scan_showed_it(land, adapter):
    found = await one(land, adapter)
    seen = await adapter.transaction(found.tx_hash)
    (moved,) = seen.transfers
    assert facts([moved]) == facts([found])
    assert (moved.sender, seen.succeeded, seen.is_complete) == (land.buyer, True, True)
    assert seen.head.position >= seen.block_number
    assert seen.block_hash == found.block_hash
    assert 0 <= moved.block_time - seen.block_time < 600  # a trace begins before its transfer is credited


async def test_a_transaction_is_told_with_what_concerns_nobody_here(land, adapter):
    paid = await land.pay_together()
    seen = await adapter.transaction(paid[0].tx_hash)
    assert sorted((t.destination, t.amount, t.token) for t in seen.transfers) == sorted(each[1:] for each in paid)
    assert len({t.event_key for t in seen.transfers}) == len(paid)


async def test_a_hash_in_capitals_names_the_same_transaction(land, adapter):
    paid = await land.pay()
    loud = paid.tx_hash[:2] + paid.tx_hash[2:].upper() if paid.tx_hash.startswith("0x") else paid.tx_hash.upper()
    assert await adapter.transaction(loud) == await adapter.transaction(paid.tx_hash)


async def test_a_transaction_that_failed_moved_nothing(land, adapter):
    found = await one(land, adapter)
    await land.fail(found)
    seen = await adapter.transaction(found.tx_hash)
    assert seen.transfers == ()
    assert seen.succeeded is (land.scan_question == "jetton/transfers")  # there the first of several succeeded


async def test_an_unknown_transaction_is_none(land, adapter):
    assert await adapter.transaction(land.unknown_tx) is None


async def test_while_nobody_answers_it_is_not_known_whether_there_is_a_transaction(land, adapter):
    paid = await land.pay()
    land.upstream.fail(status=500)
    with pytest.raises(ChainError):
        await adapter.transaction(paid.tx_hash)


@pytest.mark.parametrize("text", ["", "hello", "0x", "ab" * 31, "0x" + "zz" * 32, "ab" * 32 + "\n", "ab" * 33])
async def test_what_names_no_transaction_is_refused_and_asks_nobody(land, adapter, text):
    before = land.calls()
    with pytest.raises(InvalidTxHash, match=r"\w+ \w+ \w+"):
        await adapter.transaction(text)
    assert land.calls() == before


# --- addresses and checkout ----------------------------------------------------------------------


async def test_every_spelling_of_an_address_is_one_address(land, adapter):
    for text, canonical in land.spellings.items():
        parsed = adapter.parse_address(text)
        assert parsed == canonical
        assert adapter.parse_address(adapter.show_address(parsed)) == parsed
        assert adapter.parse_address(parsed) == parsed
        assert adapter.show_address(adapter.parse_address(adapter.show_address(parsed))) == adapter.show_address(parsed)


@pytest.mark.parametrize("kind", ["mistyped", "foreign", "", "hello", "cut", "spaced"])
async def test_what_is_no_address_is_refused_with_a_sentence(land, adapter, kind):
    good = next(iter(land.spellings))
    text = {"mistyped": land.mistyped, "foreign": land.foreign, "cut": good[:-1], "spaced": f" {good}"}.get(kind, kind)
    with pytest.raises(InvalidAddress, match=r"\w+ \w+ \w+"):
        adapter.parse_address(text)


async def test_a_wrong_checksum_is_called_by_its_name(land, adapter):
    with pytest.raises(InvalidAddress, match="checksum"):
        adapter.parse_address(land.mistyped)


async def test_a_wallet_is_given_a_link_with_the_amount_without_asking_anybody(land, adapter):
    terms = {"reference": "0x" + "0" * 16, "fee_amount": 0, "fee_address": "0x" + "0" * 40}
    before = land.calls()
    made = adapter.checkout(Rail.DIRECT, token=land.token, destination=land.shop, amount=1234567, **terms)
    assert "1234567" in made.payment_uri
    assert made.calldata is None
    for rail in set(Rail) - set(adapter.rails):
        with pytest.raises(ValueError, match="not served"):
            adapter.checkout(rail, token=land.token, destination=land.shop, amount=1, **terms)
    assert land.calls() == before


# --- tokens and balances -------------------------------------------------------------------------


async def test_a_token_says_its_symbol_and_decimals(land, adapter):
    assert await adapter.token(land.token) == land.meta


async def test_where_no_token_is_nothing_is_said(land, adapter):
    assert await adapter.token(land.no_token) is None


@pytest.mark.parametrize("confirmed", [False, True])
async def test_balances_of_token_and_coin_come_in_the_order_asked_and_who_has_nothing_has_zero(land, confirmed):
    await land.pay(amount=2**70 + 3)
    await land.give_coin(land.shop, 17)
    for _ in range(6):
        await land.pay(land.no_token)  # so that the balances above are irreversible on every family
    adapter = await land.adapter()
    asked = [
        BalanceKey(land.other, None),
        BalanceKey(land.shop, land.token),
        BalanceKey(land.shop, None),
        BalanceKey(land.other, land.token),
        BalanceKey(land.shop, land.token),
    ]
    told = await adapter.balances(asked, confirmed=confirmed)
    assert told.amounts == [0, 2**70 + 3, 17, 0, 2**70 + 3]
    head = await adapter.head()
    assert told.position <= head.position if confirmed else abs(told.position - head.position) < 120_000
    assert 1_500_000_000 < told.time < 4_000_000_000


async def test_one_balance_that_cannot_be_read_is_unknown_and_spoils_no_other(land, adapter):
    await land.pay(amount=9)
    unreadable = await land.unreadable()
    told = await adapter.balances([BalanceKey(land.shop, land.token), unreadable, BalanceKey(land.no_token, None)])
    assert told.amounts == [9, None, 0]


async def test_movements_are_what_came_in_between_two_positions_both_included(land, adapter):
    after = await land.here()
    mine, _, theirs = await land.pay(amount=11), await land.pay(land.no_token), await land.pay(land.other, amount=12)
    wanted = [BalanceKey(land.shop, land.token), BalanceKey(land.other, None)]
    head = (await adapter.head()).position
    (movement,) = await adapter.token_receipts(wanted, first=after.position, last=head)
    at = movement.block_number
    assert Paid(movement.tx_hash, movement.destination, movement.amount, movement.token) == mine
    assert movement.sender == land.buyer
    assert await adapter.token_receipts(wanted, first=at, last=at) == [movement]
    assert await adapter.token_receipts(wanted, first=at + 1, last=head) == []
    assert await adapter.token_receipts(wanted, first=after.position, last=at - 1) == []
    both = [BalanceKey(land.other, land.token), BalanceKey(land.shop, land.token)]
    assert [m.tx_hash for m in await adapter.token_receipts(both, first=after.position, last=head)] == [
        mine.tx_hash,
        theirs.tx_hash,
    ]


async def test_movements_of_other_holdings_of_the_same_people_and_tokens_are_not_told(land, adapter):
    after = await land.here()
    fake = await land.another_token()
    mine = await land.pay(land.shop, amount=1)
    await land.pay(land.shop, amount=2, token=fake)
    theirs = await land.pay(land.other, amount=3, token=fake)
    await land.pay(land.other, amount=4)
    wanted = [BalanceKey(land.shop, land.token), BalanceKey(land.other, fake)]
    told = await adapter.token_receipts(wanted, first=after.position, last=(await adapter.head()).position)
    assert [movement.tx_hash for movement in told] == [mine.tx_hash, theirs.tx_hash]


async def test_nothing_is_wrong_with_a_chain_that_is_as_the_registry_says(adapter):
    assert await adapter.self_test() == []


# --- upstream trouble ----------------------------------------------------------------------------

TROUBLE = {
    "500": {"status": 500, "body": b"oops"},
    "502 as a page": {"status": 502, "body": b"<html>Bad Gateway</html>"},
    "429": {"status": 429, "body": b"{}"},
    "403": {"status": 403, "body": b"{}"},
    "404": {"status": 404, "body": b"not here"},
    "a redirect": {"status": 302, "body": b"", "headers": {"Location": "http://127.0.0.1:9/"}},
    "cut off": {"close": True},
    "no JSON": {"status": 200, "body": b"<html>hello</html>"},
    "cut JSON": {"status": 200, "body": b'{"jsonrpc": "2.0", "resu'},
    "an empty answer": {"status": 200, "body": b""},
    "an empty object": {"status": 200, "body": b"{}"},
    "an empty list": {"status": 200, "body": b"[]"},
    "nothing": {"status": 200, "body": b"null"},
    "no answer": {"hang": True},
}


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_upstream_trouble_is_an_error_of_ours_and_never_an_answer(land, trouble):
    adapter = await land.adapter()
    found = await one(land, adapter)
    head, after = await adapter.head(), Cursor((await adapter.head()).position - 1)
    asks = {
        "head": adapter.head,
        "scan": lambda: adapter.scan(Rail.DIRECT, targets(land.shop), after, head, reread_s=60),
        "verify": lambda: adapter.verify([found], head=head),
        "inspect": lambda: adapter.inspect(found.tx_hash, targets(land.shop)),
        "token": lambda: adapter.token(land.no_token),
        "balances": lambda: adapter.balances([BalanceKey(land.shop, land.token)]),
        "movements": lambda: adapter.token_receipts(
            [BalanceKey(land.shop, land.token)], first=after.position, last=head.position
        ),
    }
    if trouble == "no answer":  # each takes as long as the time-out
        asks = {name: asks[name] for name in ("head", "scan")}
    land.upstream.fail(**TROUBLE[trouble])
    for name, ask in asks.items():
        land.later(700)
        with pytest.raises(ChainError) as refused:
            pytest.fail(f"{name} answered {await ask()!r}")
        assert not isinstance(refused.value, InvalidAddress | InvalidTxHash)
        assert str(refused.value)


async def test_after_trouble_everything_is_as_before(land, adapter):
    after = await land.here()
    paid = await land.pay()
    land.upstream.fail(status=500, body=b"oops")
    with pytest.raises(ChainError):
        await adapter.head()
    land.upstream.heal()
    land.later(700)
    assert facts((await read(adapter, after, land.shop))[0]) == [paid]
