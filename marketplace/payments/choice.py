"""Whom a buyer can pay through: the scanner, and hosted providers where they are configured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from marketplace.errors import invalid
from marketplace.model import Mode, Provider, Rail
from marketplace.payments.hosted.hosted_provider import HostedProvider


@dataclass(frozen=True, slots=True)
class ProviderOption:
    """A provider with the rails a payment can take through it."""

    name: Provider
    rails: tuple[Rail, ...]


class ProviderChoice:
    """Says which hosted provider takes which token."""

    def __init__(self, hosted: Mapping[Provider, HostedProvider]) -> None:
        self._hosted = hosted

    def offered(self, chain_id: int, symbol: str, rails: Iterable[Rail]) -> tuple[ProviderOption, ...]:
        """Return who can be paid through, the scanner first; `rails` are those with an address of ours left."""
        ours = tuple(rails)
        found = [ProviderOption(Provider.SCANNER, ours)] if ours else []
        found += [
            ProviderOption(name, (Rail.DIRECT,))
            for name, each in self._hosted.items()
            if each.upstream.offers(chain_id, symbol) and (each.upstream.gives_address or Rail.DIRECT in ours)
        ]
        return tuple(found)

    def check(self, provider: Provider, chain_id: int, symbol: str, rail: Rail, mode: Mode | None) -> None:
        """
        Refuse a provider that does not take this.

        Raises:
            Refused: names the field.
        """
        if provider is Provider.SCANNER:
            return
        found = self._hosted.get(provider)
        if found is None or not found.upstream.offers(chain_id, symbol):
            raise invalid("provider", f"{provider} does not take {symbol} of chain {chain_id}")
        if rail is not Rail.DIRECT or mode is not None:
            raise invalid("rail", f"{provider} is paid on the rail direct")

    def gives_address(self, provider: Provider) -> bool:
        """Say whether a provider gives the address of a payment itself."""
        found = self._hosted.get(provider)
        return found is not None and found.upstream.gives_address
