"""Tron addresses as the adapter takes them, and the forms in which events and JSON-RPC carry them."""

from __future__ import annotations

from addresses import tron
from addresses.errors import InvalidAddress as NotAnAddress
from addresses.tron import PREFIX, ZERO_ADDRESS, canonical_tx_hash, from_hex, to_hex, topic
from chains.errors import InvalidAddress

__all__ = ["PREFIX", "ZERO_ADDRESS", "canonical_tx_hash", "from_hex", "parse_address", "to_hex", "topic"]


def parse_address(text: str) -> str:
    """
    Return the one form of an address that is compared and stored: base58, starting with T.

    Raises:
        InvalidAddress: with a sentence a caller can act on.
    """
    try:
        return tron.parse(text)
    except NotAnAddress as exc:
        raise InvalidAddress(str(exc)) from None
