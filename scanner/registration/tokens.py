"""Which token, or coin, a caller means: identity from its address, labels from the registry or the chain."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from chains.base import ChainAdapter
from chains.errors import ChainError, InvalidAddress
from chains.types import TokenMeta
from config.catalog import Catalog, Chain, Token
from scanner.errors import InvalidRequest
from scanner.registration.requests import TokenNames
from scanner.worker import ChainWorker

TOKEN_READ_S = 3.0
NATIVE = "native"


class ResolvedToken(NamedTuple):
    """A token of one chain; labels are None where nobody could read them."""

    address: str  # as shown
    key: str  # canonical
    symbol: str | None
    decimals: int | None


class TokenResolver:
    """Finds tokens by symbol or address."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def is_coin(self, chain: Chain, field: str, text: str) -> bool:
        """Say whether a caller means the chain's own coin."""
        coin = (chain.coin or "").lower()
        return field != "tokenAddress" and text.lower() in {NATIVE, coin} - {""}

    async def asset(self, worker: ChainWorker, names: TokenNames) -> ResolvedToken | None:
        """
        Return the token a request names, in whichever ways; None for the chain's own coin.

        Raises:
            InvalidRequest: there is no such token, it is not what the registry says, or two names disagree.
        """
        coins = [self.is_coin(worker.chain, field, text) for field, text in names]
        if all(coins):
            return None
        if any(coins):
            raise _disagree(names)
        return await self.token(worker, names)

    async def token(self, worker: ChainWorker, names: TokenNames) -> ResolvedToken:
        """
        Return the token a request names, in whichever ways.

        Backends send `tokenAddress` beside `tokenSymbol`: two names for one token are one token, and two
        names for two tokens are a mistake about money.

        Raises:
            InvalidRequest: there is no such token, it is not what the registry says, or two names disagree.
        """
        # Before the chain is asked for any label: a disagreement needs nobody.
        keys = {self._key(worker, field, text) for field, text in names}
        if len(keys) > 1:
            raise _disagree(names)
        return await self.resolve(worker, *names[0])

    def _key(self, worker: ChainWorker, field: str, text: str) -> str:
        listed = None if field == "tokenAddress" else self._catalog.token_by_symbol(worker.chain.chain_id, text)
        if listed is not None:
            return worker.adapter.parse_address(listed.address)
        return self._parse(worker.adapter, worker.chain.chain_id, field, text)

    async def resolve(self, worker: ChainWorker, field: str, text: str) -> ResolvedToken:
        """
        Return the token that `field` of a request names.

        Raises:
            InvalidRequest: there is no such token, or it is not what the registry says.
        """
        adapter, chain_id = worker.adapter, worker.chain.chain_id
        listed = None if field == "tokenAddress" else self._catalog.token_by_symbol(chain_id, text)
        if listed is None:
            key = self._parse(adapter, chain_id, field, text)
            listed = self.listed(adapter, chain_id, key)
        else:
            key = adapter.parse_address(listed.address)
        if key in worker.refused_tokens:
            raise InvalidRequest(
                field, f"{field}: the token on chain disagrees with the registry", code="token_mismatch"
            )
        if listed is not None:
            return ResolvedToken(listed.address, key, listed.symbol, listed.decimals)
        meta = await _read(adapter, key)
        return ResolvedToken(text, key, meta.symbol if meta else None, meta.decimals if meta else None)

    def listed(self, adapter: ChainAdapter, chain_id: int, key: str) -> Token | None:
        """Return the registry's token at an address: its spelling there may be any of the family's."""
        return next((t for t in self._catalog.tokens(chain_id) if adapter.parse_address(t.address) == key), None)

    @staticmethod
    def _parse(adapter: ChainAdapter, chain_id: int, field: str, text: str) -> str:
        try:
            return adapter.parse_address(text)
        except InvalidAddress as exc:
            if field == "tokenAddress":
                raise InvalidRequest(field, f"{field}: {exc}") from exc
            raise unsupported(field, text, chain_id) from exc

    def check_known(self, chain_id: int, names: TokenNames) -> None:
        """Refuse a symbol of a chain that is not in the registry by naming both."""
        for field, text in names:
            if field != "tokenAddress" and self._catalog.chain(chain_id) is None:
                raise unsupported(field, text, chain_id)

    def is_listed(self, adapter: ChainAdapter, chain_id: int, key: str) -> bool:
        """Say whether an address is a token of the registry."""
        return self.listed(adapter, chain_id, key) is not None


def _disagree(names: TokenNames) -> InvalidRequest:
    (first, _), (other, _) = names[0], names[1]
    return InvalidRequest(first, f"{first} and {other} name different tokens")


def unsupported(field: str, text: str, chain_id: int) -> InvalidRequest:
    """Return the refusal of a symbol nobody listed."""
    return InvalidRequest(field, f"unsupported token {text} on chainId {chain_id}", code="unsupported_token")


async def _read(adapter: ChainAdapter, key: str) -> TokenMeta | None:
    """Ask the chain; a token that cannot be read is used all the same."""
    try:
        async with asyncio.timeout(TOKEN_READ_S):
            return await adapter.token(key)
    except (ChainError, TimeoutError):
        return None


def parse_address(adapter: ChainAdapter, field: str, text: str) -> str:
    """Return the canonical form of an address a request names."""
    try:
        return adapter.parse_address(text)
    except InvalidAddress as exc:
        raise InvalidRequest(field, f"{field}: {exc}") from exc
