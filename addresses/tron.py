"""Tron addresses: base58 inside and for people, 20 bytes of hex where events and JSON-RPC carry them."""

from __future__ import annotations

import functools
import re

from addresses.base58 import decode_check, encode_check
from addresses.errors import InvalidAddress
from addresses.evm import refuse_reserved

PREFIX = b"\x41"
ZERO_ADDRESS = encode_check(PREFIX + bytes(20))

_EVM = re.compile(r"0x[0-9a-fA-F]{40}")
_HEX = re.compile(r"41[0-9a-fA-F]{40}")
_BASE58 = re.compile(r"T[1-9A-HJ-NP-Za-km-z]{33}")
_TX_HASH = re.compile(r"[0-9a-fA-F]{64}")
_BYTES = 21


def parse(text: str) -> str:
    """
    Return the one form of an address that is compared and stored: base58, starting with T.

    Raises:
        InvalidAddress: malformed, mistyped by its checksum, of another network, the zero address, or a precompiled
            contract.
    """
    if _EVM.fullmatch(text):
        # The same 20 bytes are somebody else's account on an EVM chain: whoever pasted that meant another chain.
        raise InvalidAddress("0x and 40 hex digits is somebody's EVM address; a Tron address starts with T (or 41)")
    if _HEX.fullmatch(text):
        spelt = from_hex(text[2:])
    elif _BASE58.fullmatch(text):
        spelt = _checked(text)
    else:
        raise InvalidAddress("a Tron address is T and 33 base58 characters, or 41 and 40 hex digits")
    refuse_reserved(int(to_hex(spelt), 16))
    return spelt


def _checked(text: str) -> str:
    try:
        payload = decode_check(text)
    except ValueError:
        raise InvalidAddress("the address does not match its checksum: a character is mistyped") from None
    if len(payload) != _BYTES or payload[:1] != PREFIX:
        raise InvalidAddress("the address is of another network than Tron")
    return text


def canonical(text: str) -> str | None:
    """Return the form in which addresses are compared, the zero address included; None for what is none."""
    if _HEX.fullmatch(text.removeprefix("0x")):  # indexers and lists put 0x before the 41
        return from_hex(text.removeprefix("0x")[2:])
    try:
        return _checked(text) if _BASE58.fullmatch(text) else None
    except InvalidAddress:
        return None


@functools.lru_cache(maxsize=16_384)
def to_hex(canonical: str) -> str:
    """Return the 20 bytes of a canonical address in lower-case hex, without prefix."""
    return decode_check(canonical)[1:].hex()


@functools.lru_cache(maxsize=16_384)
def from_hex(digits: str) -> str:
    """Return the canonical address of 40 hex digits."""
    return encode_check(PREFIX + bytes.fromhex(digits))


def topic(canonical: str) -> str:
    """Return an address as an event's topic carries it: 64 hex digits without prefix."""
    return to_hex(canonical).rjust(64, "0")


def canonical_tx_hash(text: str) -> str | None:
    """Return the one spelling of a transaction hash, None for what is none."""
    return text.lower() if _TX_HASH.fullmatch(text) else None
