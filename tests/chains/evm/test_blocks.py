"""Block headers and quantities: read as meant, or refused."""

from __future__ import annotations

import pytest

from chains.errors import ChainProtocolError
from chains.evm.blocks import Block, parse_block
from chains.rpc.quantities import quantity, quantity_or_none
from tests.chains.evm_world import (
    hash_of,
)


def test_a_block_in_plain_numbers_is_read():
    assert parse_block({"number": 1, "hash": hash_of(1), "timestamp": 1_751_284_607}, 1) == Block(
        1, hash_of(1), 1_751_284_607
    )


@pytest.mark.parametrize("sent", [True, -1, 1.0, 2**63, hex(2**63), "1751284607", "", "0x", "0x1_0", None, [], {}])
def test_what_may_mean_two_numbers_or_none_is_no_number(sent):
    assert quantity_or_none(sent) is None
    with pytest.raises(ChainProtocolError, match="not a quantity"):
        quantity(sent)
