"""Services that serve less than the usual ones, and chains on which nobody else pays: payments and expiries go on."""

from __future__ import annotations

from functools import partial

import orjson
import pytest

from chains.errors import ChainError, ChainMisconfigured, ChainUnavailable
from chains.rpc.token_bucket import TokenBucket
from chains.ton.decode import parse_transfer
from chains.tron.rpc.provider_errors import asked_to_wait
from chains.types import VerificationOutcome
from devnet.receiver import receiver
from devnet.tron.ledger import CHAIN_ID, account
from devnet.tron.node import TronNode
from tests.chains.ton_world import OTHER, OWNER, owner_of, scan
from tests.chains.tron_world import SHOP, scan_all
from tests.e2e.ton_shop import fresh_address, run_ton_shop
from tests.e2e.tron_shop import fresh_address as fresh_tron_address
from tests.e2e.tron_shop import run_tron_shop

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
    assert seen.outcome is VerificationOutcome.CREDITED
    assert not adapter.condition().stale


HISTORY = "/v1/accounts/transactions/trc20"
EVENTS = "/v1/contracts/events"
BY_NUMBER = f"{NODE}/gettransactioninfobyblocknum"
HISTORIES_ALONE = ("/jsonrpc", EVENTS, BY_NUMBER)


def crowd(ledger, *, blocks=40, strangers=30):
    """Let so many strangers be paid in every block, as on the real chain."""
    for _ in range(blocks):
        for number in range(strangers):
            ledger.transfer(account(f"stranger {number}"), 1)
        ledger.advance()


@pytest.mark.parametrize("chain", ["busy", "crowded", "quiet"])
async def test_a_service_of_account_histories_alone_carries_payments(tron, chain):
    """No JSON-RPC, no contract events and no receipts of blocks: the chain was failing."""
    tron.ledger.busy = chain != "quiet"
    grid = await tron.grid()
    without(grid, *HISTORIES_ALONE)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    if chain == "crowded":
        crowd(tron.ledger)
    tron.ledger.settle()
    found, cursor = await scan_all(adapter, after, SHOP, account("till"))
    assert [transfer.tx_hash for transfer in found] == [paid]
    assert cursor.position == tron.ledger.times[tron.ledger.solid]
    (seen,) = await adapter.verify(found, head=await adapter.head())
    assert seen.outcome is VerificationOutcome.CREDITED
    for _ in range(3):  # and goes on
        paid = tron.ledger.transfer(SHOP, 6)
        crowd(tron.ledger, blocks=10) if chain == "crowded" else tron.ledger.advance(10)
        tron.ledger.settle()
        found, cursor = await scan_all(adapter, cursor, SHOP, account("till"), reread_s=60)
        assert paid in {transfer.tx_hash for transfer in found}
        assert cursor.position == tron.ledger.times[tron.ledger.solid]


async def test_what_a_crowded_service_of_histories_costs_a_poll(tron):
    grid = await tron.grid()
    without(grid, *HISTORIES_ALONE)
    adapter = await tron.adapter(grid)
    after = tron.start()
    crowd(tron.ledger)
    tron.ledger.settle()
    _, cursor = await scan_all(adapter, after)
    crowd(tron.ledger, blocks=5)
    before = grid.requests
    await scan_all(adapter, cursor, reread_s=60)
    assert grid.requests - before <= 25


async def test_histories_that_can_be_believed_are_asked_before_blocks_one_by_one(tron):
    grid = await tron.grid()
    without(grid, *HISTORIES_ALONE)
    adapter = await tron.adapter(grid)
    _, cursor = await scan_all(adapter, tron.start())
    tron.ledger.advance(5)
    before = grid.calls[f"{NODE}/getblock"]
    await scan_all(adapter, cursor, *[account(f"till {n}") for n in range(40)], reread_s=60)
    assert grid.calls[f"{NODE}/getblock"] - before <= 4


async def test_a_block_whose_receipts_are_not_all_there_is_waited_for(tron):
    grid = await tron.grid()
    without(grid, *HISTORIES_ALONE, HISTORY)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    grid.unindexed = {paid}
    with pytest.raises(ChainError):
        await scan_all(adapter, after)
    grid.unindexed = set()
    tron.now.seconds += 11
    found, _ = await scan_all(adapter, after)
    assert [transfer.tx_hash for transfer in found] == [paid]


@pytest.mark.parametrize("crowded", [True, False])
async def test_histories_that_stand_still_are_not_believed_where_no_events_tell(tron, crowded):
    grid = await tron.grid()
    without(grid, *HISTORIES_ALONE)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    if crowded:
        crowd(tron.ledger)
    tron.ledger.settle()
    grid.stale_at = after.position
    if crowded:
        with pytest.raises(ChainError, match="nothing proves"):
            await scan_all(adapter, after)
        grid.heal()
        tron.now.seconds += 60
    found, _ = await scan_all(adapter, after)
    assert [transfer.tx_hash for transfer in found] == [paid]


async def test_blocks_that_never_list_their_transactions_hide_no_payment(tron, monkeypatch):
    """Nothing but a history tells of it, and nothing proves that history: it is read all the same."""
    whole = TronNode.block
    lists = {"transactions"}
    monkeypatch.setattr(
        TronNode, "block", lambda grid, number: {k: v for k, v in whole(grid, number).items() if k not in lists}
    )
    grid = await tron.grid()
    without(grid, *HISTORIES_ALONE)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, cursor = await scan_all(adapter, after)
    assert [transfer.tx_hash for transfer in found] == [paid]
    assert cursor.position == tron.ledger.times[tron.ledger.solid]


@pytest.mark.parametrize("kind", ["TransferContract", "VoteWitnessContract", "TriggerSmartContract", None, 7])
async def test_receipts_of_what_holds_no_events_are_not_asked_for_one_by_one(tron, kind, monkeypatch):
    whole = TronNode.block

    def reported(grid, number):
        block = whole(grid, number)
        for transaction in block.get("transactions", []):
            transaction["raw_data"] = {"contract": [{"type": kind}]} if kind is not None else None
        return block

    monkeypatch.setattr(TronNode, "block", reported)
    grid = await tron.grid()
    without(grid, *HISTORIES_ALONE, HISTORY)
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    holds = kind not in {"TransferContract", "VoteWitnessContract"}  # what does not say may
    assert len(found) == holds
    assert bool(grid.calls[f"{NODE}/gettransactioninfobyid"]) is holds


async def test_where_no_way_is_served_each_is_named(tron):
    grid = await tron.grid()
    without(grid, *HISTORIES_ALONE, HISTORY)
    adapter = await tron.adapter(grid)
    after = tron.start()
    crowd(tron.ledger)
    tron.ledger.settle()
    with pytest.raises(ChainError) as raised:
        await scan_all(adapter, after)
    for way in ("JSON-RPC: HTTP 404", "receipts of blocks: HTTP 404", "histories of accounts: HTTP 404"):
        assert way in str(raised.value)
    grid.heal()
    tron.now.seconds += 11  # the only endpoint is asked again
    _, cursor = await scan_all(adapter, after)
    assert cursor.position == tron.ledger.times[tron.ledger.solid]


async def test_the_daemon_confirms_through_a_service_of_histories_alone(tmp_path):
    async with receiver() as hooks, run_tron_shop(tmp_path, hooks) as shop:
        without(shop.grid, *HISTORIES_ALONE)
        made = await shop.checkout(destination=(to := fresh_tron_address()))
        tx = await shop.pay(to, 1000)
        confirmed = await shop.api.status_is(made["intentId"], "confirmed")
        assert confirmed["txHash"] == tx
        assert (await shop.chain())["state"] == "ready"


@pytest.mark.parametrize("claims", [None, CHAIN_ID + 1])
async def test_a_node_without_the_first_blocks_says_which_chain_it_serves(tron, claims, monkeypatch):
    whole = TronNode.block
    monkeypatch.setattr(TronNode, "block", lambda grid, number: whole(grid, number) if number else {})
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
    again = await adapter.rescan([SHOP, account("till")], since=head.time - 300, until=head.time - 3)
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
    again = await adapter.rescan([SHOP], since=head.time - 300, until=head.time - 3)
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
    assert seen.outcome is VerificationOutcome.CREDITED


NO_ROUTE = {
    "a route nobody knows": {"status": 404, "body": {"error": "Cannot find the route"}},
    "a page of the web server": {"status": 404, "body": b"<html>Not Found</html>"},
    "not implemented": {"status": 501, "body": {"error": "not implemented"}},
    "another method": {"status": 405, "body": {"error": "method not allowed"}},
    "a plan that does not cover it": {"status": 403, "body": {"error": "not part of your plan"}},
    "an error without a word": {"status": 500, "body": b""},
    "an error inside a 200": {"status": 200, "body": {"ok": False, "error": "unknown method", "code": 400}},
}
NEITHER = ("transactions", "adjacentTransactions")


@pytest.mark.parametrize("fault", NO_ROUTE)
@pytest.mark.parametrize("payments", [1, 30])
async def test_payments_an_index_cannot_tell_the_end_of_are_named_with_the_methods_it_lacks(ton, fault, payments):
    """They once waited in `confirming` for ever, and nothing said for what."""
    center, adapter = await ton.both()
    for route in NEITHER:
        center.fail(route, **NO_ROUTE[fault])
    owners = [owner_of(number) for number in range(payments)]
    for owner in owners:
        ton.ledger.pay(owner)
    ton.ledger.advance()
    transfers = (await scan(adapter, *owners)).transfers
    before = center.calls["adjacentTransactions"]
    looks = await adapter.verify(transfers, head=await adapter.head())
    assert len(looks) == payments
    for look in looks:
        assert look.outcome is VerificationOutcome.NOT_YET
        assert all(route in look.why for route in NEITHER)
    (problem,) = adapter.condition().problems
    assert all(route in problem for route in NEITHER)
    assert adapter.endpoint in problem
    assert center.calls["adjacentTransactions"] - before <= 6  # and it is not asked for every one of them
    center.heal()
    looks = await adapter.verify(transfers, head=await adapter.head())
    assert {look.outcome for look in looks} == {VerificationOutcome.CREDITED}
    assert adapter.condition().problems == ()


async def test_one_transaction_that_cannot_be_looked_up_is_no_missing_method(ton):
    center, adapter = await ton.both()
    center.fail("transactions", status=404, body={"error": "Cannot find the route"})
    owners = [owner_of(number) for number in range(8)]
    odd, *others = [ton.ledger.pay(owner) for owner in owners]
    ton.ledger.advance()
    center.unlisted = {odd.tx_hash}
    transfers = [odd_row(adapter, odd), *(await scan(adapter, *owners)).transfers]
    reported = {look.transfer.tx_hash: look for look in await adapter.verify(transfers, head=await adapter.head())}
    assert {reported[payment.tx_hash].outcome for payment in others} == {VerificationOutcome.CREDITED}
    assert "adjacentTransactions" in reported[odd.tx_hash].why or "not served" in reported[odd.tx_hash].why
    assert adapter.condition().problems == ()


def odd_row(adapter, payment):
    """Return a payment as its row told it, before the index lost it."""
    return parse_transfer(payment.row).transfer(adapter._chain.chain_id)


async def test_a_payment_on_its_way_is_no_missing_method(ton):
    """Not found means not yet, where what caused the sending transaction is found."""
    center, adapter = await ton.both()
    center.fail("transactions", status=404, body={"error": "Cannot find the route"})
    ton.ledger.pay(OWNER, pending=True)
    ton.ledger.advance()
    transfers = (await scan(adapter, OWNER)).transfers
    (look,) = await adapter.verify(transfers, head=await adapter.head())
    assert (look.outcome, look.why) == (VerificationOutcome.NOT_YET, None)
    assert adapter.condition().problems == ()


async def test_another_index_tells_what_one_has_no_method_for(ton):
    first, second = await ton.center(), await ton.center()
    for route in NEITHER:
        first.fail(route, status=404, body={"error": "Cannot find the route"})
    adapter = await ton.adapter(first, second)
    ton.ledger.pay(OWNER)
    ton.ledger.advance()
    transfers = (await scan(adapter, OWNER)).transfers
    ((one,), (two,)) = [await adapter.verify(transfers, head=await adapter.head()) for _ in range(2)]
    assert (one.outcome, two.outcome) == (VerificationOutcome.NOT_YET, VerificationOutcome.CREDITED)


async def test_an_index_that_tells_nobodys_wallet_is_named(ton):
    center, adapter = await ton.both()
    for route in ("runGetMethod", "jetton/wallets"):
        center.fail(route, status=404, body={"error": "Cannot find the route"})
    ton.ledger.pay(OWNER)
    ton.ledger.advance()
    transfers = (await scan(adapter, OWNER)).transfers
    (look,) = await adapter.verify(transfers, head=await adapter.head())
    assert look.outcome is VerificationOutcome.NOT_YET
    (problem,) = adapter.condition().problems
    assert all("runGetMethod nor jetton/wallets" in said for said in (look.why, problem))


async def test_the_daemon_lists_every_payment_that_waits_for_a_method(tmp_path):
    async with receiver() as hooks, run_ton_shop(tmp_path, hooks) as shop:
        for route in NEITHER:
            shop.center.fail(route, status=404, body={"error": "Cannot find the route"})
        made = [await shop.checkout(destination=fresh_address()) for _ in range(25)]
        paid = {(await shop.pay(each["checkoutBlock"]["destination"])).tx_hash for each in made}
        chain = await shop.until_chain(lambda chain: chain["stuckCount"] == 25)
        assert chain["state"] == "ready"
        assert {row["txHash"] for row in chain["stuck"]} <= paid
        assert all("adjacentTransactions" in row["why"] for row in chain["stuck"])
        assert any("adjacentTransactions" in problem for problem in chain["problems"])
        shop.center.heal()
        for each in made:
            await shop.api.status_is(each["intentId"], "confirmed")
        assert (await shop.until_chain(lambda chain: chain["stuckCount"] == 0))["problems"] == []


async def test_of_two_listed_wallets_none_is_believed_where_no_contract_can_be_asked(ton):
    center, adapter = await ton.both()
    center.fail("runGetMethod", status=404, body={"error": "Cannot find the route"})
    ton.ledger.pay(OWNER)
    ton.ledger.advance()
    center.strangers.append({"address": OTHER, "owner": OWNER, "jetton": ton.ledger.master, "balance": "7"})
    page = await scan(adapter, OWNER)
    (seen,) = await adapter.verify(page.transfers, head=await adapter.head())
    assert seen.outcome is VerificationOutcome.NOT_YET


def test_a_refusal_that_names_no_time_is_obeyed_for_ten_seconds():
    assert asked_to_wait("", status=429) == 10
    assert asked_to_wait("too many requests") == 10
    assert asked_to_wait("the query server is suspended for 27s", status=403) == 27


@pytest.mark.parametrize("text", ["daily quota exceeded", "Exceed the user daily usage 100000", "out of credits"])
@pytest.mark.parametrize("status", [200, 402, 403, 429, 503])
async def test_the_only_tron_endpoint_is_asked_again_ten_seconds_after_a_quota_was_spent(tron, text, status):
    """No time is named: half a minute of blindness, over and over, is not obedience."""
    grid = await tron.grid()
    adapter = await tron.adapter(grid, bucket=partial(TokenBucket, clock=Hasty(tron.now)))
    tron.start()
    await adapter.head()
    grid.fail(times=1, status=status, body=orjson.dumps({"Error": text}))
    with pytest.raises(ChainUnavailable):
        await adapter.head()
    tron.now.seconds += 9
    with pytest.raises(ChainUnavailable, match="left alone"):
        await adapter.head()
    tron.now.seconds += 1.5
    assert (await adapter.head()).position == tron.ledger.times[tron.ledger.solid]


class Hasty:
    """A clock that moves when told, and a hair at every look, for who waits for it to move."""

    def __init__(self, now):
        self.now = now
        self.looks = 0

    def __call__(self):
        self.looks += 1
        return self.now() + self.looks * 1e-4


@pytest.mark.parametrize("status", [402, 403, 429, 503])
async def test_a_spent_quota_of_toncenter_is_a_rate_and_no_wrong_key(ton, status):
    center, adapter = await ton.both()
    await adapter.head()
    center.fail(times=1, status=status, body={"ok": False, "result": "daily quota exceeded", "code": status})
    with pytest.raises(ChainUnavailable, match="too many requests"):
        await adapter.head()
    ton.now.seconds += 10
    assert (await adapter.head()).position == ton.ledger.now
