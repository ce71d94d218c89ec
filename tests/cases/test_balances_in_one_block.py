"""A balance and its position are of one block, so that the transfers behind a rise are found."""

from __future__ import annotations

import pytest

from chains.types import BalanceKey
from devnet.tron.ledger import USDT
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
