"""EVM addresses as the adapter takes and shows them."""

from __future__ import annotations

import functools

from addresses import evm
from addresses.errors import InvalidAddress as NotAnAddress
from chains.errors import InvalidAddress

ZERO_ADDRESS = evm.ZERO_ADDRESS
show_address = evm.show
canonical_tx_hash = evm.canonical_tx_hash


@functools.lru_cache(maxsize=4096)  # a registration asks six times, mostly about contracts of the registry
def parse_address(text: str) -> str:
    """
    Return the lower-case form of an address.

    Raises:
        InvalidAddress: with a sentence a caller can act on.
    """
    try:
        return evm.parse(text)
    except NotAnAddress as exc:
        raise InvalidAddress(str(exc)) from None


def transfer_uri(chain_id: int, token: str, destination: str, amount: int) -> str:
    """Return a plain token transfer as a payment URI (ERC-681)."""
    return f"ethereum:{show_address(token)}@{chain_id}/transfer?address={show_address(destination)}&uint256={amount}"
