"""EVM addresses: one canonical form, and why a text is none."""

from __future__ import annotations

import pytest

from chains.errors import InvalidAddress
from chains.evm.address import parse_address, show_address
from tests.chains.evm_world import (
    ZERO,
)

CHECKSUMMED = "0x370DE27fdb7D1Ff1e1BaA7D11c5820a324Cf623C"


@pytest.mark.parametrize("text", [CHECKSUMMED, CHECKSUMMED.lower(), "0x" + CHECKSUMMED[2:].upper()])
def test_one_address_in_every_right_spelling_has_one_canonical_form(text):
    assert parse_address(text) == CHECKSUMMED.lower()
    assert show_address(parse_address(text)) == CHECKSUMMED


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (CHECKSUMMED.replace("D", "d", 1), "checksum"),
        (CHECKSUMMED[:-1], "40 hex"),
        (CHECKSUMMED + "0", "40 hex"),
        (CHECKSUMMED[2:], "40 hex"),
        ("0X" + CHECKSUMMED[2:].lower(), "40 hex"),
        (CHECKSUMMED + "\n", "40 hex"),
        ("0x" + "g" * 40, "40 hex"),
        ("", "40 hex"),
        (ZERO, "zero address"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text, why):
    with pytest.raises(InvalidAddress, match=why):
        parse_address(text)
