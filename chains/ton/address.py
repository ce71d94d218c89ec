"""TON addresses as the adapter takes and shows them."""

from __future__ import annotations

from addresses import ton
from addresses.errors import InvalidAddress as NotAnAddress
from addresses.ton import canonical_of, canonical_tx_hash
from addresses.ton import show as show_address
from chains.errors import InvalidAddress

__all__ = ["canonical_of", "canonical_tx_hash", "parse_address", "show_address"]


def parse_address(text: str, *, testnet: bool) -> str:
    """
    Return the raw form of an address, hex in capitals.

    Raises:
        InvalidAddress: with a sentence a caller can act on.
    """
    try:
        return ton.parse(text, testnet=testnet)
    except NotAnAddress as exc:
        raise InvalidAddress(str(exc)) from None
