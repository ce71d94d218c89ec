"""Every address that was handed out, with what lies there now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from clients.python.amn_scanner_client import ScannerClient, ScannerRefused, ScannerUnavailable
from marketplace.catalog import Catalog, Token
from marketplace.model import Page, Payment
from marketplace.payments.deposit_addresses import DepositAddresses
from marketplace.store import payments, sweeps
from marketplace.store.sweeps import DerivedAddress
from marketplace.unit_of_work import UnitOfWorkFactory

TOGETHER = 8  # balances asked for at a time
ALL_S = 20.0  # for those of one page


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAddress:
    """
    One address.

    Attributes:
        address: as it was shown to a buyer.
        is_ours: whether the configured key, or list, still gives it for its index.
        balance: of its payment's token; None where it could not be read, which is never zero.
    """

    row: DerivedAddress
    address: str
    token: Token | None
    payment: Payment | None
    is_ours: bool
    balance: int | None


class DerivedAddresses:
    """Use cases of addresses that were handed out."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        catalog: Catalog,
        destinations: DepositAddresses,
        scanner: ScannerClient,
        *,
        all_s: float = ALL_S,
    ) -> None:
        self._units = units
        self._catalog = catalog
        self._destinations = destinations
        self._scanner = scanner
        self._all_s = all_s

    async def listing(self, page: Page, *, chain_id: int | None) -> tuple[list[ShownAddress], int]:
        """Return one page of addresses, newest first; balances that are not told in time are left out."""
        async with self._units.db.read() as tx:
            rows, total = await sweeps.derived(tx, page, chain_id=chain_id)
            paid = await payments.by_ids(tx, {row.payment_id for row in rows if row.payment_id is not None})
        found = [self._shown(row, paid.get(row.payment_id or "")) for row in rows]
        return await self._with_balances(found), total

    def _shown(self, row: DerivedAddress, payment: Payment | None) -> ShownAddress:
        known = row.chain_id in self._catalog.chains
        derived = self._destinations.at(row.source, row.source_index)
        address = payment.paid_to if payment is not None else row.destination_key
        is_ours = known and derived is not None and self._catalog.same_address(row.chain_id, derived, address)
        token = self._catalog.token(row.chain_id, row.token_key) if known else None
        return ShownAddress(row=row, address=address, token=token, payment=payment, is_ours=is_ours, balance=None)

    async def _with_balances(self, found: Sequence[ShownAddress]) -> list[ShownAddress]:
        places = asyncio.Semaphore(TOGETHER)
        balances: dict[str, int] = {}

        async def read(each: ShownAddress, token: Token) -> None:
            async with places:
                try:
                    told = await self._scanner.check_balance(
                        chain_id=each.row.chain_id, address=each.address, token=token.address
                    )
                except (ScannerUnavailable, ScannerRefused):
                    return  # shown as not known
                balances[each.row.id] = told.balance

        try:
            async with asyncio.timeout(self._all_s), asyncio.TaskGroup() as group:
                for each in found:
                    if each.token is not None:
                        group.create_task(read(each, each.token), name="balance of an address")
        except TimeoutError:
            pass  # those that were told in time are shown
        return [
            ShownAddress(
                row=each.row,
                address=each.address,
                token=each.token,
                payment=each.payment,
                is_ours=each.is_ours,
                balance=balances.get(each.row.id),
            )
            for each in found
        ]
