"""TRX sent where a token was asked for is stored with its reason, within the calls Tron allows."""

from __future__ import annotations

import pytest
from aiohttp import web

from chains.tron.balances import CALLS_A_ROUND
from chains.types import BalanceKey
from devnet.receiver import receiver
from devnet.tron.ledger import CHAIN_ID, account
from devnet.tron.node import TronNode
from tests.chains.tron_world import SHOP
from tests.e2e.tron_shop import fresh_address, run_tron_shop

ACCOUNT = "/walletsolidity/getaccount"
TILLS = [account(f"till {n}") for n in range(1000)]


def coins(holders):
    return [BalanceKey(holder, None) for holder in holders]


@pytest.mark.parametrize("waiting", [1, 40])
async def test_coin_at_a_direct_destination_is_stored_as_the_wrong_asset(tmp_path, waiting):
    async with receiver() as hooks, run_tron_shop(tmp_path, hooks) as shop:
        made = [await shop.checkout(destination=(to := fresh_address())) for _ in range(waiting)]
        notice = shop.scanner.daemon.notices[CHAIN_ID]
        await notice.check()
        shop.ledger.send_coin(to, 7_000_000)
        shop.ledger.settle()
        for _ in range(2):
            await notice.check()
        rows = [row for row in await shop.api.unmatched(chainId=CHAIN_ID) if row["intentId"] == made[-1]["intentId"]]
        assert [(row["reason"], row["amount"]) for row in rows] == [("wrong_asset", "7000000")]
        assert (await shop.api.intent(made[-1]["intentId"]))["status"] == "pending"


async def test_a_quiet_thousand_costs_ten_requests_and_one_that_rose_one_more(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    assert (await adapter.balances(coins(TILLS), confirmed=True)).amounts == [0] * 1000
    for rises in (0, 1, 3):
        for holder in TILLS[:rises]:
            tron.ledger.send_coin(holder, 5)
        tron.ledger.settle()
        grid.calls.clear()
        found = (await adapter.balances(coins(TILLS), confirmed=True)).amounts
        assert grid.calls["/jsonrpc"] <= 20
        assert grid.calls[ACCOUNT] == rises
        assert [bool(amount) for amount in found[:4]] == [place < rises for place in range(4)]


async def test_coin_that_is_not_irreversible_yet_is_not_reported(tron):
    adapter = await tron.adapter()
    tron.start()
    tron.ledger.send_coin(SHOP, 5)
    tron.ledger.advance()
    assert (await adapter.balances(coins([SHOP, *TILLS]), confirmed=True)).amounts[0] == 0
    tron.ledger.settle()
    assert (await adapter.balances(coins([SHOP, *TILLS]), confirmed=True)).amounts[0] == 5


@pytest.mark.parametrize("fault", [{"status": 404}, {"status": 500}, {"body": b"[]"}])
async def test_where_json_rpc_is_not_served_everybody_has_a_turn_within_the_calls_allowed(tron, fault):
    grid = await tron.grid()
    grid.fail("/jsonrpc", **fault)
    adapter = await tron.adapter(grid)
    tron.start()
    holders = TILLS[: CALLS_A_ROUND * 3]
    for holder in holders:
        tron.ledger.send_coin(holder, 5)
    tron.ledger.settle()
    seen = set()
    for _ in range(3):
        grid.calls.clear()
        found = (await adapter.balances(coins(holders), confirmed=True)).amounts
        assert grid.calls[ACCOUNT] == CALLS_A_ROUND
        assert set(found) == {5, None}
        seen |= {holder for holder, amount in zip(holders, found, strict=True) if amount}
    assert seen == set(holders)


async def test_an_account_that_cannot_be_read_spoils_no_other(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    for holder in TILLS[:30]:
        tron.ledger.send_coin(holder, 5)
    tron.ledger.settle()
    grid.fail(ACCOUNT, times=1, body=b'{"balance":"many"}')
    found = (await adapter.balances(coins(TILLS[:30]), confirmed=True)).amounts
    assert sorted(found, key=str) == [5] * 29 + [None]


@pytest.mark.parametrize("others", [0, 30, 1000])
async def test_accounts_asked_about_in_turns_with_others_are_all_read(tron, others):
    """Rounds come in parts: what one part leaves over must not begin again at its first account."""
    grid = await tron.grid()
    grid.fail("/jsonrpc", status=404)
    adapter = await tron.adapter(grid)
    tron.start()
    mine, theirs = TILLS[: CALLS_A_ROUND * 5], [account(f"other {n}") for n in range(others)]
    for holder in mine:
        tron.ledger.send_coin(holder, 5)
    tron.ledger.settle()
    seen = set()
    for _ in range(5):
        found = (await adapter.balances(coins(mine), confirmed=True)).amounts
        seen |= {holder for holder, amount in zip(mine, found, strict=True) if amount}
        if theirs:
            await adapter.balances(coins(theirs), confirmed=True)
    assert seen == set(mine)


async def test_accounts_that_cannot_be_read_take_nobodys_turn(tron, monkeypatch):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    holders = TILLS[: CALLS_A_ROUND * 2]
    for holder in holders:
        tron.ledger.send_coin(holder, 5)
    tron.ledger.settle()
    bad = set(holders[:CALLS_A_ROUND])
    whole = TronNode.account

    def reported(grid, name, asked, *, solid):
        if asked["address"] in bad and solid:
            return web.json_response({"balance": "many"})
        return whole(grid, name, asked, solid=solid)

    monkeypatch.setattr(TronNode, "account", reported)
    seen = set()
    for _ in range(3):
        found = (await adapter.balances(coins(holders), confirmed=True)).amounts
        seen |= {holder for holder, amount in zip(holders, found, strict=True) if amount}
    assert seen == set(holders) - bad
