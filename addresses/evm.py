"""EVM addresses: lower-case 0x hex inside, EIP-55 for people."""

from __future__ import annotations

import functools
import re

from addresses.errors import InvalidAddress
from addresses.keccak import keccak

ZERO_ADDRESS = "0x" + "0" * 40
# Precompiled contracts have small numbers (0x01 to 0x11, 0x64 and up on some chains, 0x100): nobody can spend what
# is sent to one. Polygon's coin as a token, 0x1010, lies above.
RESERVED = 0x1000

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_TX_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


@functools.lru_cache(maxsize=4096)
def to_checksum(address: str) -> str:
    """Return 0x + 40 hex with the letter case of EIP-55."""
    plain = address[2:].lower()
    digest = keccak(plain.encode()).hex()
    return "0x" + "".join(
        [upper if digit > "7" else lower for lower, upper, digit in zip(plain, plain.upper(), digest, strict=False)]
    )


def parse(text: str) -> str:
    """
    Return the lower-case form of an address.

    Raises:
        InvalidAddress: malformed, mistyped by its EIP-55 checksum, the zero address, or a precompiled contract.
    """
    if _ADDRESS.fullmatch(text) is None:
        raise InvalidAddress("an EVM address is 0x and 40 hex digits")
    digits = text[2:]
    # Without letters of both cases there is no checksum to compare (EIP-55).
    if digits not in (digits.lower(), digits.upper()) and text != to_checksum(text):
        raise InvalidAddress("the address does not match its EIP-55 checksum: a character is mistyped")
    refuse_reserved(int(digits, 16))
    return text.lower()


def refuse_reserved(number: int) -> None:
    """Refuse the zero address and those of precompiled contracts: money sent there is lost."""
    if number == 0:
        raise InvalidAddress("the zero address cannot receive payments")
    if number < RESERVED:
        raise InvalidAddress("the address is one of a precompiled contract, which cannot receive payments")


def canonical(text: str) -> str | None:
    """Return the form in which addresses are compared, the zero address included; None for what is none."""
    return text.lower() if _ADDRESS.fullmatch(text) else None


def show(canonical: str) -> str:
    """Return the form people expect to read (EIP-55)."""
    return to_checksum(canonical)


def canonical_tx_hash(text: str) -> str | None:
    """Return the one spelling of a transaction hash, None for what is none."""
    return text.lower() if _TX_HASH.fullmatch(text) else None
