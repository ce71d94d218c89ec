"""Which networks money can come on: our registry beside what the scanner watches, and where the two differ."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from clients.python.amn_scanner_client import ChainStatus, ScannerClient, ScannerError
from kernel.clock import Clock
from marketplace.catalog import Catalog, Chain, Token
from marketplace.payments.deposit_addresses import key

KEPT_MS = 10_000  # buyers ask often, and an operator who enables a chain waits no longer than that
TokenKey: TypeAlias = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Network:
    """One chain as either side knows it; None where a side does not."""

    chain_id: int
    here: Chain | None
    our_tokens: tuple[Token, ...]
    there: ChainStatus | None
    differences: tuple[str, ...]


class Networks:
    """Asks the scanner which chains it watches, and keeps what it said for a moment."""

    def __init__(self, scanner: ScannerClient, catalog: Catalog, clock: Clock) -> None:
        self._scanner = scanner
        self._catalog = catalog
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: tuple[int, Mapping[int, ChainStatus]] | None = None

    async def watched(self) -> Mapping[int, ChainStatus]:
        """
        Return the chains the scanner watches.

        Raises:
            ScannerError: it cannot be asked.
        """
        async with self._asking:  # whoever comes meanwhile is answered with the same
            now = self._clock.elapsed_ms()
            if self._known is None or now - self._known[0] >= KEPT_MS:
                self._known = now, {status.chain_id: status for status in await self._scanner.status()}
            return self._known[1]

    async def compared(self) -> tuple[list[Network], str | None]:
        """Return every network either side knows, and why the scanner's side is missing."""
        try:
            there: Mapping[int, ChainStatus] = await self.watched()
        except ScannerError as exc:
            return [self._network(chain_id, {}, asked=False) for chain_id in self._catalog.chains], str(exc)
        known = dict.fromkeys((*self._catalog.chains, *there))
        return [self._network(chain_id, there, asked=True) for chain_id in known], None

    def _network(self, chain_id: int, there: Mapping[int, ChainStatus], *, asked: bool) -> Network:
        status = there.get(chain_id)
        ours = tuple(token for token in self._catalog.tokens if token.chain_id == chain_id)
        if status is not None:
            found = tuple(differences(self._catalog, status))
        else:
            found = ("the scanner does not watch it",) if asked else ()
        return Network(chain_id, self._catalog.chains.get(chain_id), ours, status, found)


def differences(catalog: Catalog, there: ChainStatus) -> Iterator[str]:
    """Say in what the scanner's idea of a chain differs from ours."""
    chain = catalog.chains.get(there.chain_id)
    if chain is None or chain.chain_type != there.chain_type:
        yield f"{there.chain_id} is {there.chain_type} there"
        return
    ours = {_ours(chain, token) for token in catalog.tokens if token.chain_id == chain.chain_id}
    theirs = _theirs(chain, there)
    for address, symbol, decimals in sorted(ours ^ theirs):
        where = "here" if (address, symbol, decimals) in ours else "there"
        yield f"{symbol} ({address}, {decimals} decimals) of {chain.name} is only {where}"


def is_watched(chain: Chain, token: Token, there: ChainStatus) -> bool:
    """Say whether the scanner watches this chain, and knows this token as we do."""
    return chain.chain_type == there.chain_type and _ours(chain, token) in _theirs(chain, there)


def _ours(chain: Chain, token: Token) -> TokenKey:
    return key(token.address, chain.chain_type), token.symbol, token.decimals


def _theirs(chain: Chain, there: ChainStatus) -> set[TokenKey]:
    return {(key(t.address, chain.chain_type), t.symbol, t.decimals) for t in there.tokens}
