"""The registry of chains and tokens, as far as a backend needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from addresses import InvalidAddress, parse, same
from config.catalog import Chain, Token, read_registries

__all__ = ["Catalog", "Chain", "Token", "load_catalog"]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Which chains and tokens money may come on."""

    chains: Mapping[int, Chain]
    tokens: tuple[Token, ...]

    def token(self, chain_id: int, name: str) -> Token | None:
        """Find a token by symbol or address, in any spelling of its family."""
        family = self.chains[chain_id].chain_type
        for token in self.tokens:
            if token.chain_id == chain_id and (
                token.symbol.lower() == name.lower() or same(family, token.address, name)
            ):
                return token
        return None

    def payee(self, chain_id: int, text: str) -> str:
        """
        Return the canonical form of an address that money may be sent to.

        Raises:
            InvalidAddress: nobody could take it from there again: mistyped, or a contract of ours.
        """
        chain = self.chains[chain_id]
        form = parse(chain.chain_type, text, testnet=chain.testnet)
        contracts = [token.address for token in self.tokens if token.chain_id == chain_id]
        if any(same(chain.chain_type, form, contract) for contract in (*contracts, chain.proxy_address or "")):
            raise InvalidAddress("the address is a contract of the registry, which cannot give back what it is sent")
        return form

    def same_address(self, chain_id: int, one: str | None, other: str | None) -> bool:
        """Compare two addresses of a chain in one canonical form."""
        if one is None or other is None:
            return one is other
        return one == other or same(self.chains[chain_id].chain_type, one, other)


def load_catalog(chains_path: Path, tokens_path: Path) -> Catalog:
    """
    Load both registries.

    Raises:
        ConfigError: names the file and the JSON path.
    """
    chains, tokens = read_registries(chains_path, tokens_path)
    return Catalog(chains, tokens)
