"""What the platform takes of what a seller is paid: which rate is in force, and what it comes to in whole units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from marketplace.errors import invalid
from marketplace.model import Actor, Offer, Page, Role
from marketplace.store import fees, ledger, users
from marketplace.store.database import Tx
from marketplace.store.fees import FeeChange
from marketplace.store.ledger import Collected
from marketplace.unit_of_work import UnitOfWorkFactory

WHOLE_BPS = 10_000
MAX_FEE_BPS = 9_999  # an instruction of nothing cannot be carried out: the seller keeps at least one unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How the money of one pay-in is divided, in base units; together the three are all of it."""

    buyer: int
    seller: int
    fee: int


def portion(amount: int, bps: int) -> int:
    """Return so many basis points of an amount, rounded down."""
    return amount * bps // WHOLE_BPS


def divide(amount: int, *, buyer_bps: int, fee_bps: int) -> Division:
    """Divide a price: the buyer's part first, then the fee on the rest; what is rounded off is the seller's."""
    buyer = portion(amount, buyer_bps)
    fee = portion(amount - buyer, fee_bps)
    return Division(buyer=buyer, seller=amount - buyer - fee, fee=fee)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeOverview:
    """The platform's rate, what it has brought, and one page of what was set for single sellers."""

    platform_bps: int
    collected: Sequence[Collected]
    changes: Sequence[FeeChange]
    total: int


class Fees:
    """Use cases of fees."""

    def __init__(self, units: UnitOfWorkFactory, *, platform_bps: int) -> None:
        self._units = units
        self._platform_bps = platform_bps

    async def rate(self, tx: Tx, seller_id: str) -> int:
        """Return the basis points that an offer of this seller is accepted under now."""
        return (await self._rates(tx, [seller_id]))[seller_id]

    async def with_rates(self, tx: Tx, offers: Iterable[Offer]) -> list[Offer]:
        """Return offers with the rate that was frozen, or with the one they would be accepted under now."""
        found = list(offers)
        rates = await self._rates(tx, {each.seller_id for each in found if each.platform_fee_bps is None})
        return [
            each if each.platform_fee_bps is not None else replace(each, platform_fee_bps=rates[each.seller_id])
            for each in found
        ]

    async def with_rate(self, tx: Tx, offer: Offer) -> Offer:
        [shown] = await self.with_rates(tx, [offer])
        return shown

    async def overview(self, page: Page, *, seller_id: str | None, in_force: bool | None) -> FeeOverview:
        """Return what fees there are and what they brought; the newest change first."""
        async with self._units.db.read() as tx:
            changes, total = await fees.listing(tx, page, seller_id=seller_id, in_force=in_force)
            collected = await ledger.collected_fees(tx)
        return FeeOverview(platform_bps=self._platform_bps, collected=collected, changes=changes, total=total)

    async def change(self, actor: Actor, seller_id: str, bps: int | None, note: str) -> None:
        """Set the rate of one seller for offers accepted from now on; None goes back to the platform's."""
        async with self._units.begin(f"fee:{seller_id}") as work:
            seller = await users.by_id(work.tx, seller_id)
            if seller is None or seller.role is not Role.SELLER:
                raise invalid("sellerId", "has to be a seller")
            if bps is not None and not 0 <= bps <= MAX_FEE_BPS:
                raise invalid("bps", f"must be from 0 to {MAX_FEE_BPS}")
            held = await fees.newest(work.tx, seller_id)
            if held is not None and (held.bps, held.note, held.set_by) == (bps, note, actor.user_id):
                return  # asked for again, for the answer was lost
            await fees.add(work.tx, seller_id=seller_id, bps=bps, note=note, set_by=actor.user_id, now=work.now)
            if held is not None and held.bps == bps:
                return  # with another note: the seller knows
            rate = self._platform_bps if bps is None else bps
            title = f"The platform's fee on your next accepted offers is {percent(rate)} %"
            work.notify([seller_id], "offer", "fee_changed", title, about=seller_id)

    async def _rates(self, tx: Tx, seller_ids: Iterable[str]) -> Mapping[str, int]:
        wanted = dict.fromkeys(seller_ids, self._platform_bps)
        return {**wanted, **(await fees.overrides(tx, wanted) if wanted else {})}


def percent(bps: int) -> str:
    """Return basis points as people read them: 250 is 2.5."""
    return f"{bps // 100}.{bps % 100:02d}".rstrip("0").rstrip(".")
