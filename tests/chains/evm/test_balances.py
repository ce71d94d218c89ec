"""Balances of an EVM chain, from nodes that answer what no node should."""

from __future__ import annotations

import pytest

from chains.errors import ChainProtocolError
from chains.types import BalanceKey
from tests.chains.evm_world import SHOP, TOKEN

SEVEN = "0x" + f"{7:064x}"


@pytest.mark.parametrize("nonsense", [{"oops": []}, [], [{}], 7, True, None, "", "code"])
async def test_what_is_no_code_says_nothing_and_ends_nothing(world, nonsense):
    """An object in place of a text once ended the whole scanner."""
    node = await world.node(replies={"eth_getCode": nonsense, "eth_call": SEVEN})
    adapter = await world.adapter(node)
    with pytest.raises(ChainProtocolError, match="did not answer with code"):
        await adapter.balances([BalanceKey(SHOP, TOKEN)])
    node.replies["eth_getCode"] = "0x"
    adapter = await world.adapter(node)
    assert (await adapter.balances([BalanceKey(SHOP, TOKEN)])).amounts == [7]


@pytest.mark.parametrize("nonsense", [{"oops": []}, [], 7, True, None, "", "0x", "0xzz", "0x" + "f" * 63])
@pytest.mark.parametrize("code", ["0x", "0x6080"])
async def test_a_balance_that_is_none_is_never_a_number(world, nonsense, code):
    node = await world.node(replies={"eth_getCode": code, "eth_call": nonsense})
    adapter = await world.adapter(node)
    try:
        found = (await adapter.balances([BalanceKey(SHOP, TOKEN)])).amounts
    except ChainProtocolError:
        found = [None]
    assert found == [None]
