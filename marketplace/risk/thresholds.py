"""How deep a payment has to be: the chain's floor, or more when an admin says so."""

from __future__ import annotations

from collections.abc import Mapping

from marketplace.catalog import Catalog
from marketplace.errors import invalid
from marketplace.model import Actor
from marketplace.store import thresholds
from marketplace.store.database import Tx
from marketplace.store.thresholds import Threshold
from marketplace.unit_of_work import UnitOfWorkFactory


async def required(tx: Tx, catalog: Catalog, chain_id: int) -> int:
    """Return the confirmations a new payment needs: the higher of floor and setting."""
    floor = catalog.chains[chain_id].confirmation_threshold
    return max(floor, await thresholds.current(tx, chain_id) or 0)


class Thresholds:
    """Use cases of confirmation thresholds."""

    def __init__(self, units: UnitOfWorkFactory, catalog: Catalog) -> None:
        self._units = units
        self._catalog = catalog

    async def show(self) -> tuple[dict[int, int], list[Threshold]]:
        """Return what holds for each chain, and every setting there was."""
        async with self._units.db.read() as tx:
            now = {chain_id: await required(tx, self._catalog, chain_id) for chain_id in self._catalog.chains}
            return now, await thresholds.history(tx)

    async def change(self, actor: Actor, wanted: Mapping[int, int]) -> None:
        """Raise chains above their floors, or bring them back to it; never below."""
        async with self._units.begin("thresholds") as work:
            for chain_id, confirmations in wanted.items():
                chain = self._catalog.chains.get(chain_id)
                if chain is None:
                    raise invalid("chainId", f"{chain_id} is not a chain of the registry")
                if confirmations < chain.confirmation_threshold:
                    raise invalid("confirmations", f"must be at least {chain.confirmation_threshold} on {chain.name}")
                await thresholds.set_(work.tx, chain_id, confirmations, actor.user_id, work.now)

    def floor(self, chain_id: int) -> int:
        return self._catalog.chains[chain_id].confirmation_threshold
