"""What the chain in memory does with what is sent to it: who may pay, what it says, and that it can be taken back."""

from __future__ import annotations

import random

import pytest

from devnet.evm.anvil import CHAIN_ID, PROXY
from devnet.evm.local_node import AnvilError, call_data
from devnet.runner.chain_actor import ChainActor
from tests.chaos.market_chain import MarketChainController
from tests.harness import USDC, USDT
from tests.simulation.market_node import LedgerNode, market_node

SHOP, SELLER = "0x" + "51" * 20, "0x" + "5e" * 20
REFERENCE = "0x0123456789abcdef"
PROXY_ORDER = {"from": SHOP, "to": SELLER, "tokenAddress": USDT, "amountBaseUnits": "60"}


@pytest.fixture
def node() -> LedgerNode:
    return market_node(random.Random(1), accounts=9, epoch=32)


@pytest.fixture
async def controller(node: LedgerNode) -> MarketChainController:
    found = MarketChainController(node, random.Random(2), listed=0)
    await found.fund_wallets(depth=3)
    return found


async def test_payments_are_told_as_the_contracts_tell_them(
    controller: MarketChainController, node: LedgerNode
) -> None:
    await controller.pay_from_fresh_wallet(USDT, SHOP, 100, None, needed=True)
    await controller.pay_from_fresh_wallet(USDT, SHOP, 70, REFERENCE, needed=True)
    await controller.pay_many_fresh(USDC, SHOP, 3, REFERENCE, 5)

    transfers = await controller.transfers({SHOP}, 0)
    through = [each for each in transfers if each.topic is not None]
    assert [each.amount for each in transfers if each.topic is None] == [100]
    assert sorted((each.amount, each.credited) for each in through) == [*[(3, 3)] * 5, (70, 70)]
    assert len({each.sender for each in transfers}) == 3
    assert (await node.balance(USDT, SHOP), await node.balance(USDC, SHOP)) == (170, 15)


async def test_nobody_pays_out_more_than_came_in(controller: MarketChainController, node: LedgerNode) -> None:
    actor = ChainActor(node, CHAIN_ID, USDT)
    await controller.pay_from_fresh_wallet(USDT, SHOP, 100, None, needed=True)

    await actor.execute(PROXY_ORDER)
    with pytest.raises(RuntimeError, match="reverted"):
        await actor.execute(PROXY_ORDER)

    assert (await node.balance(USDT, SHOP), await node.balance(USDT, SELLER)) == (40, 60)


async def test_a_payment_that_is_taken_back_is_gone_until_it_is_sent_again(
    controller: MarketChainController, node: LedgerNode
) -> None:
    sent = await controller.pay_from_fresh_wallet(USDT, SHOP, 100, None, needed=True)
    await node.reorg(1)
    assert (await node.receipt(sent), await node.balance(USDT, SHOP)) == (None, 0)

    await node.rpc("eth_sendRawTransaction", [sent])
    assert await node.balance(USDT, SHOP) == 100
    await node.reorg(1, [(sent, 0)])
    assert await node.balance(USDT, SHOP) == 100


async def test_its_time_is_set_and_goes_on_from_there(controller: MarketChainController, node: LedgerNode) -> None:
    before = int(((await node.block()) or {})["timestamp"], 16)
    await controller.jump(3600, 2)
    after = int(((await node.block()) or {})["timestamp"], 16)

    assert 3600 < after - before < 3610


async def test_what_no_contract_here_does_is_an_error(node: LedgerNode) -> None:
    with pytest.raises(AnvilError, match="no contract here"):
        await node.send(PROXY, call_data("burn(uint256)", 1))
