"""The ERC20FeeProxy contract: topic, selector and call data."""

from __future__ import annotations

import pytest
from eth_abi.abi import decode as abi_decode

from chains.evm.fee_proxy import EVENT_TOPIC, SELECTOR, payment_calldata
from tests.chains.evm_world import (
    BUYER,
    SHOP,
    TOKEN,
    ZERO,
)


def test_the_topic_and_the_selector_follow_from_the_signatures():
    assert EVENT_TOPIC == "0x9f16cbcc523c67a60c450e5ffe4f3b7b6dbe772e7abcadb2686ce029a9a0a2b6"
    assert SELECTOR == "0xc219a14d"


def test_an_abi_library_reads_our_calldata_back():
    """The call data is built by hand; an independent decoder must find every argument in it."""
    data = payment_calldata(
        token=TOKEN, destination=SHOP, amount=10**24, reference="0xa0098add01acc736", fee_amount=7, fee_address=BUYER
    )
    kinds = ["address", "address", "uint256", "bytes", "uint256", "address"]
    assert data.startswith(SELECTOR)
    assert abi_decode(kinds, bytes.fromhex(data[10:])) == (
        TOKEN,
        SHOP,
        10**24,
        bytes.fromhex("a0098add01acc736"),
        7,
        BUYER,
    )


@pytest.mark.parametrize("bad", [{"reference": "0xa0"}, {"amount": -1}, {"amount": 1 << 256}, {"destination": "0x1"}])
def test_calldata_is_never_built_from_values_that_do_not_fit(bad):
    good = {
        "token": TOKEN,
        "destination": SHOP,
        "amount": 1,
        "reference": "0x" + "0" * 16,
        "fee_amount": 0,
        "fee_address": ZERO,
    }
    with pytest.raises(ValueError, match=r"must|is 0x"):
        payment_calldata(**(good | bad))
