"""Where people look at a transaction, an address or a token: links into a chain's explorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from config.catalog import Chain, ChainType


def transaction_url(chain: Chain, tx_hash: str | None) -> str | None:
    """Return the page of a transaction; None where the chain has no explorer, or nobody knows the hash."""
    if not chain.explorer or not tx_hash:
        return None
    match chain.chain_type:
        case ChainType.EVM:
            return f"{_base(chain)}/tx/{tx_hash}"
        case ChainType.TRON:
            return f"{_base(chain)}/#/transaction/{tx_hash}"
        case ChainType.TON:
            return f"{_base(chain)}/transaction/{tx_hash}"
        case _:
            assert_never(chain.chain_type)


def address_url(chain: Chain, address: str) -> str | None:
    """Return the page of an address; None where the chain has no explorer."""
    if not chain.explorer:
        return None
    match chain.chain_type:
        case ChainType.EVM:
            return f"{_base(chain)}/address/{address}"
        case ChainType.TRON:
            return f"{_base(chain)}/#/address/{address}"
        case ChainType.TON:
            return f"{_base(chain)}/{address}"
        case _:
            assert_never(chain.chain_type)


def token_url(chain: Chain, address: str) -> str | None:
    """Return the page of a token's contract; None where the chain has no explorer."""
    if not chain.explorer:
        return None
    match chain.chain_type:
        case ChainType.EVM:
            return f"{_base(chain)}/token/{address}"
        case ChainType.TRON:
            return f"{_base(chain)}/#/token20/{address}"
        case ChainType.TON:
            return f"{_base(chain)}/{address}"
        case _:
            assert_never(chain.chain_type)


def _base(chain: Chain) -> str:
    return (chain.explorer or "").rstrip("/")


class ExplorerLinks:
    """Where the explorers of chains show things; None where there is none, or no such chain."""

    def __init__(self, chain: Callable[[int], Chain | None]) -> None:
        self._chain = chain

    def transaction(self, chain_id: int, tx_hash: str | None) -> str | None:
        """Return the page of a transaction."""
        chain = self._chain(chain_id)
        return None if chain is None else transaction_url(chain, tx_hash)

    def address(self, chain_id: int, address: str | None) -> str | None:
        """Return the page of an address."""
        chain = self._chain(chain_id)
        return None if chain is None or not address else address_url(chain, address)
