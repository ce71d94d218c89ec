"""On Tron and TON money that came in time is found, however late a block is final or an index tells of it."""

from __future__ import annotations

import asyncio

import pytest

from chains.types import VerificationOutcome
from devnet.tron.ledger import USDT, account
from tests.chains.ton_world import OTHER, OWNER, owner_of, scan
from tests.chains.tron_world import BUYER, SHOP, scan_all

HISTORY = "/v1/accounts/transactions/trc20"
LOGS_LAG = 30  # blocks of three seconds


def keys(transfers):
    return {(transfer.tx_hash, transfer.event_key) for transfer in transfers}


# --- looking again: Tron -------------------------------------------------------------------------


@pytest.mark.parametrize("late", ["an index 90 s behind", "a log that never comes"])
async def test_the_accounts_history_tells_what_the_logs_did_not(tron, late):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.advance(40)
    paid = tron.ledger.transfers([(USDT, BUYER, 1), (USDT, SHOP, 5), (USDT, SHOP, 5)])
    tron.ledger.settle()
    if late == "an index 90 s behind":
        grid.logs_behind = LOGS_LAG
    else:
        grid.unlogged = {paid}
    found, _ = await scan_all(adapter, after)
    assert found == []
    time = tron.ledger.time_of(paid) // 1000
    again = await adapter.rescan([SHOP, account("till")], since=time - 60, until=time)
    assert [(t.tx_hash, t.amount) for t in again.transfers] == [(paid, 5), (paid, 5)]
    assert again.unread == {}
    grid.heal()
    found, _ = await scan_all(adapter, after)
    assert keys(found) == keys(again.transfers)  # one payment, whichever way it was found
    assert grid.calls[HISTORY] == 2


async def test_looking_again_asks_another_endpoint_where_there_is_one(tron):
    first, second = await tron.grid(), await tron.grid()
    adapter = await tron.adapter(first, second)
    tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    await adapter.head()
    time = tron.ledger.time_of(paid) // 1000
    first.requests = 0
    again = await adapter.rescan([SHOP], since=time, until=time)
    assert [t.tx_hash for t in again.transfers] == [paid]
    assert first.requests == 0
    assert adapter.endpoint.endswith("#1")


async def test_what_cannot_be_read_again_is_named_and_harms_no_other(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    time = tron.ledger.time_of(paid) // 1000
    grid.unreadable_accounts = {account("till")}
    again = await adapter.rescan([SHOP, account("till")], since=time, until=time)
    assert [t.tx_hash for t in again.transfers] == [paid]
    assert list(again.unread) == [account("till")]
    assert "HTTP 500" in again.unread[account("till")]


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 404}, {"body": b"null"}])
async def test_where_there_are_no_histories_the_logs_are_read_again(tron, fault):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    time = tron.ledger.time_of(paid) // 1000
    grid.fail("/v1/contracts/events", **fault)
    again = await adapter.rescan([SHOP], since=time - 30, until=time)
    assert [t.tx_hash for t in again.transfers] == [paid]
    assert again.unread == {}


async def test_an_endpoint_that_answers_nothing_leaves_everything_unread_and_raises_nothing(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    grid.fail(status=500)
    again = await adapter.rescan([SHOP, account("till")], since=1, until=2)
    assert (again.transfers, set(again.unread)) == ([], {SHOP, account("till")})


async def test_looking_again_keeps_to_a_tenth_of_the_rate(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid, rps=200.0)
    tron.start()
    tron.ledger.settle()
    time = tron.ledger.times[tron.ledger.solid] // 1000
    await adapter.head()
    start, loop = grid.requests, asyncio.get_running_loop()
    began = loop.time()
    await adapter.rescan([account(f"till {n}") for n in range(20)], since=time - 60, until=time)
    asked = grid.requests - start
    assert asked >= 20
    assert asked / (loop.time() - began) <= 22  # of 200


# --- looking again: TON --------------------------------------------------------------------------


@pytest.mark.parametrize("late", ["a late row", "a row that never comes"])
async def test_the_wallets_own_transactions_tell_what_the_table_does_not(ton, late):
    center, adapter = await ton.both()
    payment, other = ton.ledger.pay(OWNER, amount=700), ton.ledger.pay(OTHER, amount=5)
    center.late_rows = {payment.tx_hash}
    ton.ledger.advance(200)
    page = await scan(adapter, OWNER, OTHER)
    assert [t.tx_hash for t in page.transfers] == [other.tx_hash]
    if late == "a late row":
        center.late_rows = set()
    again = await adapter.rescan([OWNER, OTHER], since=ton.ledger.now - 600, until=ton.ledger.now)
    assert {(t.tx_hash, t.destination, t.amount) for t in again.transfers} == {
        (payment.tx_hash, OWNER, 700),
        (other.tx_hash, OTHER, 5),
    }
    assert again.unread == {}
    looks = await adapter.verify(again.transfers, head=await adapter.head())
    assert {look.outcome for look in looks} == {VerificationOutcome.CREDITED}
    center.late_rows = set()
    assert keys((await scan(adapter, OWNER, OTHER)).transfers) == keys(again.transfers)


@pytest.mark.parametrize("how", [{"name": "bounce"}, {"pending": True}, {"name": "overdraw"}])
async def test_what_never_arrived_is_not_found_by_looking_at_the_wallet(ton, how):
    center, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER, **how)
    center.late_rows = {payment.tx_hash}
    ton.ledger.advance(60)
    again = await adapter.rescan([OWNER], since=ton.ledger.now - 600, until=ton.ledger.now)
    assert (again.transfers, again.unread) == ([], {})


async def test_wallets_that_cannot_be_read_again_are_named(ton):
    center, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER)
    ton.ledger.advance(60)
    center.fail("transactions", status=500)
    again = await adapter.rescan([OWNER, OTHER], since=ton.ledger.now - 600, until=ton.ledger.now)
    assert [t.tx_hash for t in again.transfers] == [payment.tx_hash]  # the table was read again
    assert set(again.unread) == {OWNER, OTHER}


async def test_many_wallets_are_looked_at_in_a_few_questions_and_another_endpoint_is_asked(ton):
    first, second = await ton.center(), await ton.center()
    adapter = await ton.adapter(first, second)
    owners = [owner_of(number) for number in range(150)]
    lost = {ton.ledger.pay(owner).tx_hash for owner in owners[::15]}
    second.late_rows = lost
    ton.ledger.advance(60)
    await adapter.head()
    first.calls.clear()
    again = await adapter.rescan(owners, since=ton.ledger.now - 600, until=ton.ledger.now)
    assert {t.tx_hash for t in again.transfers} == lost
    assert sum(first.calls.values()) == 0
    assert sum(second.calls.values()) <= 20


async def test_a_wallet_somebody_floods_hides_no_other(ton, monkeypatch):
    monkeypatch.setattr("chains.ton.rescan.MAX_ORIGINS", 3)
    center, adapter = await ton.both()
    flood = {ton.ledger.pay(OWNER, amount=1).tx_hash for _ in range(10)}
    mine = ton.ledger.pay(OTHER)
    center.late_rows = flood | {mine.tx_hash}
    ton.ledger.advance(60)
    again = await adapter.rescan([OWNER, OTHER], since=ton.ledger.now - 600, until=ton.ledger.now)
    assert mine.tx_hash in {t.tx_hash for t in again.transfers}
    assert set(again.unread) == {OWNER}


async def test_what_was_left_over_by_one_second_reading_is_looked_up_by_the_next(ton, monkeypatch):
    monkeypatch.setattr("chains.ton.rescan.MAX_ORIGINS", 3)
    center, adapter = await ton.both()
    owners = [owner_of(number) for number in range(9)]
    lost = {ton.ledger.pay(owner).tx_hash for owner in owners}
    center.late_rows = lost
    ton.ledger.advance(60)
    found = set()
    for _ in range(3):
        again = await adapter.rescan(owners, since=ton.ledger.now - 600, until=ton.ledger.now)
        assert len(again.unread) == 6
        found |= {transfer.tx_hash for transfer in again.transfers}
    assert found == lost
