"""EVM addresses: lower-case 0x hex inside, EIP-55 for people."""

from __future__ import annotations

import re

from chains.errors import InvalidAddress
from config.checksum import to_checksum

ZERO_ADDRESS = "0x" + "0" * 40

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def parse_address(text: str) -> str:
    """
    Return the lower-case form of an address.

    Raises:
        InvalidAddress: malformed, mistyped by its EIP-55 checksum, or the zero address.
    """
    if _ADDRESS.fullmatch(text) is None:
        raise InvalidAddress("an EVM address is 0x and 40 hex digits")
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != to_checksum(text):
        raise InvalidAddress("the address does not match its EIP-55 checksum: a character is mistyped")
    canonical = text.lower()
    if canonical == ZERO_ADDRESS:
        raise InvalidAddress("the zero address cannot receive payments")
    return canonical


def show_address(canonical: str) -> str:
    """Return the form people expect to read (EIP-55)."""
    return to_checksum(canonical)
