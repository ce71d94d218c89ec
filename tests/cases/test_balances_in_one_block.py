"""A balance and its position are of one block, so that the transfers behind a rise are found."""

from __future__ import annotations

import pytest

from chains.errors import ChainError, ChainUnavailable
from chains.types import BalanceKey
from devnet.tron.ledger import USDT, account
from tests.chains.ton_world import OWNER
from tests.chains.tron_world import SHOP


@pytest.mark.parametrize("confirmed", [True, False])
async def test_a_tron_block_that_comes_between_is_read_again(tron, confirmed):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    paid = tron.ledger.transfer(SHOP, 70)
    grid.before = lambda route: tron.ledger.settle() if tron.ledger.waiting and _reads(route) else None
    found = await adapter.balances([BalanceKey(SHOP, USDT)], confirmed=confirmed)
    assert found.amounts == [70]
    assert found.position >= tron.ledger.time_of(paid)


def _reads(route: str) -> bool:
    return route in {"/jsonrpc", "/walletsolidity/triggerconstantcontract"}


async def test_a_ton_block_that_comes_between_is_read_again(ton):
    center, adapter = await ton.both()
    await adapter.balances([BalanceKey(OWNER, ton.ledger.master)])
    ton.ledger.advance(10)

    def pay(route: str) -> None:
        if route == "jetton/wallets" and not ton.ledger.payments:
            ton.ledger.advance(5)
            ton.ledger.pay(OWNER, 70)

    center.before = pay
    found = await adapter.balances([BalanceKey(OWNER, ton.ledger.master)])
    assert (found.amounts, found.position) == ([70], ton.ledger.now)


async def test_a_chain_that_is_faster_than_its_answers_is_read_a_bounded_number_of_times(ton, tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    grid.before = lambda route: tron.ledger.advance() if _reads(route) else None
    await adapter.balances([BalanceKey(SHOP, USDT)])
    assert grid.calls["/jsonrpc"] == 3
    center, other = await ton.both()
    center.before = lambda route: ton.ledger.advance(1) if route == "jetton/wallets" else None
    await other.balances([BalanceKey(OWNER, ton.ledger.master)])
    assert center.calls["jetton/wallets"] == 2


@pytest.mark.parametrize("breaks", ["answers_nothing", "falls_behind"])
@pytest.mark.parametrize("holders", [1, 40])
async def test_coin_that_lies_there_is_not_denied_by_a_tron_node_that_breaks_meanwhile(tron, holders, breaks):
    """It answered every account with nothing, at a position above: the same coin was told twice once it rose again."""
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    tills = [account(f"till {n}") for n in range(holders)]
    for till in tills:
        tron.ledger.send_coin(till, 5)
    tron.ledger.settle()
    above = tron.ledger.times[tron.ledger.solid]

    def break_(route: str) -> None:
        if route == "/walletsolidity/getaccount" and not broken:
            broken.append(grid.fail(body=b"{}") if breaks == "answers_nothing" else route)
            grid.solid_behind = 40 if breaks == "falls_behind" else 0

    broken: list[object] = []
    grid.before = break_
    try:
        found = await adapter.balances([BalanceKey(till, None) for till in tills], confirmed=True)
    except ChainError:
        return
    assert found.position < above


async def test_a_ton_index_that_falls_behind_meanwhile_tells_no_balance(ton):
    center, adapter = await ton.both()
    await adapter.balances([BalanceKey(OWNER, ton.ledger.master)])

    def fall_behind(route: str) -> None:
        if route == "jetton/wallets":
            ton.ledger.advance(5)
            center.behind_s = 0 if center.calls[route] == 2 else 8

    center.before = fall_behind
    with pytest.raises(ChainUnavailable, match="fell behind"):
        await adapter.balances([BalanceKey(OWNER, ton.ledger.master)])
