"""EVM addresses: 20 bytes in hex, checked by letter case (EIP-55)."""

from __future__ import annotations

from chains.errors import InvalidAddress
from config.catalog import check_evm_address
from config.checksum import to_checksum

ZERO = "0x" + "0" * 40


def parse(text: str) -> str:
    """Return the lower-case form, in which addresses are compared."""
    try:
        check_evm_address(text)
    except ValueError as exc:
        raise InvalidAddress(str(exc)) from exc
    canonical = text.lower()
    if canonical == ZERO:
        raise InvalidAddress("is the zero address")
    return canonical


def show(canonical: str) -> str:
    """Return the EIP-55 form."""
    return to_checksum(canonical)
