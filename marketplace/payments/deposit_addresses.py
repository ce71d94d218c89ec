"""Where a payment goes: the chain's escrow address, or a fresh one that is never used twice."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from addresses import InvalidAddress, canonical
from marketplace.catalog import Catalog, Chain
from marketplace.errors import ConfigError, Refused
from marketplace.model import Rail
from marketplace.payments.hd_addresses import AddressSource, ExtendedKey, FixedAddresses, NotAnExtendedKey
from marketplace.settings import MoneySettings
from marketplace.store import addresses
from marketplace.store.database import Tx

XPUB = "xpub"  # one counter for every EVM chain: an address is the same on all of them


class DepositAddresses:
    """Addresses by chain and rail."""

    def __init__(
        self, catalog: Catalog, sources: Mapping[str, AddressSource], escrow: Mapping[int, tuple[str, ...]]
    ) -> None:
        self._catalog = catalog
        self._sources = sources
        self._escrow = escrow

    def at(self, source: str, index: int) -> str | None:
        """Return the address that what is configured now gives for an index; None when there is none."""
        found = self._sources.get(source)
        return None if found is None else found.at(index)

    async def take(self, tx: Tx, chain: Chain, rail: Rail) -> tuple[str, str | None, int]:
        """
        Return an address, the source of a fresh one (None: the shared escrow address), and its index.

        Raises:
            Refused: the operator has to configure more addresses.
        """
        if rail is Rail.PROXY:
            if not self._escrow.get(chain.chain_id):
                raise _no_address(f"no escrow address is configured for {chain.name}")
            return self._escrow[chain.chain_id][0], None, 0
        name = _source_name(chain)
        source = self._sources.get(name)
        if source is None:
            raise _no_address(f"no receiving addresses are configured for {chain.name}")
        while True:
            index = await addresses.take_index(tx, name)
            address = source.at(index)
            if address is None:
                raise _no_address(f"every receiving address of {chain.name} was used: add more")
            if not await addresses.was_used(tx, key(address, chain.chain_type)):  # a list may have been reordered
                return address, name, index

    async def rails(self, tx: Tx, chain: Chain) -> tuple[Rail, ...]:
        """Return the rails on which a payment could be given an address now."""
        found = (Rail.PROXY,) if chain.chain_type == "evm" and self._escrow.get(chain.chain_id) else ()
        return (*found, Rail.DIRECT, Rail.DIRECT_BALANCE) if await self._is_in_stock(tx, chain) else found

    async def _is_in_stock(self, tx: Tx, chain: Chain) -> bool:
        """Say whether an address is left that was never shown; nothing is taken."""
        name = _source_name(chain)
        source = self._sources.get(name)
        if source is None:
            return False
        index = await addresses.next_index(tx, name)
        while (address := source.at(index)) is not None:
            if not await addresses.was_used(tx, key(address, chain.chain_type)):
                return True
            index += 1
        return False


def _source_name(chain: Chain) -> str:
    return XPUB if chain.chain_type == "evm" else f"list:{chain.chain_id}"


def _no_address(message: str) -> Refused:
    return Refused("rail_unavailable", message)


def open_destinations(catalog: Catalog, settings: MoneySettings) -> DepositAddresses:
    """
    Check what is configured before anybody is shown an address.

    Raises:
        ConfigError: names the setting.
    """
    sources: dict[str, AddressSource] = {}
    if settings.xpub is not None:
        try:
            sources[XPUB] = ExtendedKey(settings.xpub.get_secret_value())
        except NotAnExtendedKey as exc:
            raise ConfigError(f"MARKETPLACE_XPUB: {exc}") from None
    for chain_id, listed in settings.escrow_addresses.items():
        chain = catalog.chains.get(chain_id)
        if chain is None:
            raise ConfigError(f"MARKETPLACE_ESCROW_ADDRESSES: chain {chain_id} is not in the registry")
        try:
            fixed = FixedAddresses(listed, partial(catalog.payee, chain_id))
        except ValueError as exc:
            raise ConfigError(f"MARKETPLACE_ESCROW_ADDRESSES: chain {chain_id}: {exc}") from None
        if chain.chain_type != "evm":
            sources[f"list:{chain_id}"] = fixed
    return DepositAddresses(catalog, sources, settings.escrow_addresses)


def open_treasuries(catalog: Catalog, settings: MoneySettings) -> dict[int, str]:
    """
    Check where releasable money may be moved to.

    Raises:
        ConfigError: names the setting.
    """
    for chain_id, address in settings.treasury_addresses.items():
        if chain_id not in catalog.chains:
            raise ConfigError(f"MARKETPLACE_TREASURY_ADDRESSES: chain {chain_id} is not in the registry")
        try:
            catalog.payee(chain_id, address)
        except InvalidAddress as exc:
            raise ConfigError(
                f"MARKETPLACE_TREASURY_ADDRESSES: chain {chain_id}: {address} cannot receive: {exc}"
            ) from None
    return dict(settings.treasury_addresses)


def key(address: str, chain_type: str) -> str:
    """Return the form in which reservations compare addresses."""
    return canonical(chain_type, address) or address
