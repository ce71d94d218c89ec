"""What sellers offer, and the one that is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marketplace.errors import Refused, conflict, forbidden, invalid, not_found
from marketplace.goods.stock import offer_goods
from marketplace.model import (
    OPEN_FOR_OFFERS,
    OPEN_OFFERS,
    Actor,
    Offer,
    OfferStatus,
    Page,
    PurchaseRequest,
    RequestStatus,
    Role,
)
from marketplace.payments.fees import Fees
from marketplace.pricing.quoting import Quoting
from marketplace.store import locks, negotiation, offers, requests
from marketplace.store.database import Tx
from marketplace.trade.requests import found, found_of_buyer, may_see
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferDraft:
    """An offer as the seller wrote it, checked for form."""

    title: str
    description: str
    price_amount: str
    price_currency: str
    delivery_amount: int
    delivery_unit: str
    notes: str | None
    valid_until: int | None
    require_aml_check: bool
    aml_block_on_failure: bool
    pool_id: str | None = None  # of the digital goods it hands over


async def found_offer(tx: Tx, offer_id: str) -> Offer:
    """Return an offer that has to be there."""
    offer = await offers.get(tx, offer_id)
    if offer is None:
        raise not_found("offer")
    return offer


async def refuse_stale(tx: Tx, offer_id: str) -> Refused:
    """Return the refusal for an offer that is no longer what was expected, with what it is."""
    offer = await found_offer(tx, offer_id)
    return conflict(f"the offer is {offer.status}", status=offer.status)


class Offers:
    """Use cases of offers."""

    def __init__(self, units: UnitOfWorkFactory, fees: Fees, quoting: Quoting) -> None:
        self._units = units
        self._fees = fees
        self._quoting = quoting

    async def create(self, actor: Actor, request_id: str, draft: OfferDraft) -> Offer:
        """Bid for a request, in a currency that can be paid; one live offer a seller."""
        self._quoting.check_currency(draft.price_currency)
        async with self._units.begin(locks.request(request_id)) as work:
            request = await found(work.tx, request_id)
            if request.status not in OPEN_FOR_OFFERS:
                raise conflict(f"the request is {request.status} and takes no offers", status=request.status)
            if await offers.live_of(work.tx, request_id, actor.user_id) is not None:
                raise conflict("you have a live offer for this request: edit or withdraw it")
            if draft.valid_until is not None and draft.valid_until <= work.now:
                raise invalid("validUntil", "must be in the future")
            offer = new_offer(draft, request, actor.user_id, work.now)
            await offers.add(work.tx, offer)
            if draft.pool_id is not None:
                await offer_goods(work.tx, actor, request, offer.id, draft.pool_id)
            early = (RequestStatus.PENDING, RequestStatus.ACTIVE)
            await requests.change(work.tx, request_id, work.now, expected=early, status=RequestStatus.RECEIVED_OFFERS)
            _tell(work, [request.buyer_id], "offer_received", f"New offer: {draft.title}", offer)
            return await self._fees.with_rate(work.tx, offer)

    async def listing(self, actor: Actor, request_id: str | None, page: Page) -> tuple[list[Offer], int]:
        """Return the offers that are the actor's business: a seller sees no competitor's."""
        async with self._units.db.read() as tx:
            if request_id is not None:
                request = await found(tx, request_id)
                if not await may_see(tx, actor, request):
                    raise forbidden("this purchase request is somebody else's")
                if actor.role is Role.BUYER and request.buyer_id != actor.user_id:
                    raise forbidden("these offers are for somebody else")
            seller = actor.user_id if actor.role is Role.SELLER else None
            buyer = actor.user_id if actor.role is Role.BUYER else None
            listed, total = await offers.listing(tx, page, request_id=request_id, seller_id=seller, buyer_id=buyer)
            return await self._fees.with_rates(tx, listed), total

    async def edit(self, actor: Actor, offer_id: str, changes: Mapping[str, Any]) -> Offer:
        """Change an offer nobody has decided on."""
        if "price_currency" in changes:
            self._quoting.check_currency(changes["price_currency"])
        async with self._units.begin(locks.request_of_offer(offer_id)) as work:
            await self._own(work.tx, actor, offer_id)
            if not changes:
                raise invalid("body", "names nothing to change")
            if await negotiation.pending(work.tx, offer_id, work.now) is not None:
                raise conflict("a counter-offer waits for your answer: answer it first")
            if (until := changes.get("valid_until")) is not None and until <= work.now:
                raise invalid("validUntil", "must be in the future")
            if not await offers.change(work.tx, offer_id, work.now, expected=OPEN_OFFERS, **changes):
                raise await refuse_stale(work.tx, offer_id)
            return await self._fees.with_rate(work.tx, await found_offer(work.tx, offer_id))

    async def withdraw(self, actor: Actor, offer_id: str) -> Offer:
        """Take an offer back, unless somebody was faster."""
        async with self._units.begin(locks.request_of_offer(offer_id)) as work:
            await self._own(work.tx, actor, offer_id)
            status = OfferStatus.WITHDRAWN
            if not await offers.change(work.tx, offer_id, work.now, expected=OPEN_OFFERS, status=status):
                raise await refuse_stale(work.tx, offer_id)
            return await self._fees.with_rate(work.tx, await found_offer(work.tx, offer_id))

    async def select(self, actor: Actor, request_id: str, offer_id: str) -> tuple[PurchaseRequest, Offer]:
        """Accept one offer and reject the others, in one transaction; accepting the same again changes nothing."""
        async with self._units.begin(locks.request(request_id)) as work:
            request = await found_of_buyer(work.tx, actor, request_id)
            offer = await offers.get(work.tx, offer_id)
            if offer is None or offer.purchase_request_id != request_id:
                raise not_found("offer for this request")
            if request.selected_offer_id != offer_id:
                await self.accept(work, request, offer)
            return await found(work.tx, request_id), await found_offer(work.tx, offer_id)

    async def accept(self, work: UnitOfWork, request: PurchaseRequest, offer: Offer) -> None:
        """Accept an offer and reject the others; the request is locked. No other way leads to an accepted offer."""
        if await negotiation.pending(work.tx, offer.id, work.now) is not None:
            raise conflict("a counter-offer waits for the seller's answer")
        if offer.valid_until is not None and offer.valid_until <= work.now:
            raise conflict("the offer is no longer valid", status=offer.status)
        chosen = {"status": RequestStatus.PAYMENT, "selected_offer_id": offer.id}
        if not await requests.change(work.tx, request.id, work.now, expected=OPEN_FOR_OFFERS, **chosen):
            raise conflict(
                f"the request is {request.status}", status=request.status, selectedOfferId=request.selected_offer_id
            )
        # What was shown is what is taken: a rate that is set afterwards holds for other offers.
        accepted = {"status": OfferStatus.ACCEPTED, "platform_fee_bps": await self._fees.rate(work.tx, offer.seller_id)}
        if not await offers.change(work.tx, offer.id, work.now, expected=OPEN_OFFERS, **accepted):
            raise await refuse_stale(work.tx, offer.id)
        _tell(work, [offer.seller_id], "offer_accepted", f"Your offer was accepted: {offer.title}", offer)
        for loser in await offers.open_siblings(work.tx, offer):
            await offers.change(work.tx, loser.id, work.now, expected=OPEN_OFFERS, status=OfferStatus.REJECTED)
            _tell(work, [loser.seller_id], "offer_rejected", f"Your offer was not chosen: {loser.title}", loser)

    @staticmethod
    async def _own(tx: Tx, actor: Actor, offer_id: str) -> Offer:
        offer = await found_offer(tx, offer_id)
        if offer.seller_id != actor.user_id:
            raise forbidden("this offer is somebody else's")
        return offer


def new_offer(draft: OfferDraft, request: PurchaseRequest, seller_id: str, now: int) -> Offer:
    """Return an offer as it begins."""
    return Offer(
        id=new_id(),
        purchase_request_id=request.id,
        seller_id=seller_id,
        title=draft.title,
        description=draft.description,
        price_amount=draft.price_amount,
        price_currency=draft.price_currency,
        delivery_amount=draft.delivery_amount,
        delivery_unit=draft.delivery_unit,
        notes=draft.notes,
        valid_until=draft.valid_until,
        require_aml_check=draft.require_aml_check,
        aml_block_on_failure=draft.aml_block_on_failure,
        platform_fee_bps=None,
        status=OfferStatus.PENDING,
        created_at=now,
        updated_at=now,
    )


def _tell(work: UnitOfWork, people: list[str], kind: str, title: str, offer: Offer) -> None:
    work.notify(people, "offer", kind, title, about=offer.id, url=f"/purchase-requests/{offer.purchase_request_id}")
