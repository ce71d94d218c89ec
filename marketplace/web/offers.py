"""Offers over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from marketplace.model import Offer, Role
from marketplace.payments.fees import portion
from marketplace.payments.money import to_decimal
from marketplace.trade.offers import OfferDraft
from marketplace.web import requests, shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Id, Line, Listing, Text, current_actor, parse, parse_query, path_uuid
from marketplace.web.fields import FRACTION, Currency, Moment, Money, units
from marketplace.web.state import SERVICES
from protocol.codec import of

Title = Annotated[Line, Field(min_length=3, max_length=200)]
Description = Annotated[Text, Field(min_length=1, max_length=2000)]
Notes = Annotated[Text, Field(max_length=2000)]


class Price(Body):
    amount: Money
    currency: Currency


class DeliveryTime(Body):
    amount: Annotated[int, Field(strict=True, ge=1, le=1000)]
    unit: Literal["hours", "days", "weeks"]


class NewOffer(Body):
    title: Title
    description: Description
    price: Price
    delivery_time: DeliveryTime
    notes: Notes | None = None
    valid_until: Moment | None = None
    require_aml_check: Annotated[bool, Field(strict=True)] = False
    aml_block_on_failure: Annotated[bool, Field(strict=True)] = True
    pool_id: Id | None = None

    def draft(self) -> OfferDraft:
        """Return the use case's input."""
        return OfferDraft(
            title=self.title,
            description=self.description,
            price_amount=self.price.amount,
            price_currency=self.price.currency,
            delivery_amount=self.delivery_time.amount,
            delivery_unit=self.delivery_time.unit,
            notes=self.notes,
            valid_until=self.valid_until,
            require_aml_check=self.require_aml_check,
            aml_block_on_failure=self.aml_block_on_failure,
            pool_id=self.pool_id,
        )


class EditOffer(Body):
    title: Title | None = None
    description: Description | None = None
    price: Price | None = None
    delivery_time: DeliveryTime | None = None
    notes: Notes | None = None
    valid_until: Moment | None = None

    def changes(self) -> dict[str, Any]:
        """Return the columns to change; a field that is null or missing stays as it is."""
        found: dict[str, Any] = {
            "title": self.title,
            "description": self.description,
            "notes": self.notes,
            "valid_until": self.valid_until,
        }
        if self.price is not None:
            found |= {"price_amount": self.price.amount, "price_currency": self.price.currency}
        if self.delivery_time is not None:
            found |= {"delivery_amount": self.delivery_time.amount, "delivery_unit": self.delivery_time.unit}
        return {name: value for name, value in found.items() if value is not None}


class SelectOffer(Body):
    offer_id: Id


class ListOffers(Listing):
    request_id: Id | None = None


def shown(offer: Offer) -> shapes.Offer:
    """Return an offer, with what the platform takes of its price."""
    bps = offer.platform_fee_bps or 0
    fee = to_decimal(portion(units(offer.price_amount), bps), FRACTION)
    return of(
        shapes.Offer,
        offer,
        platform_fee=shapes.PlatformFee(bps=bps, amount=fee, currency=offer.price_currency),
        price=shapes.Price(amount=offer.price_amount, currency=offer.price_currency),
        delivery_time=shapes.DeliveryTime(amount=offer.delivery_amount, unit=offer.delivery_unit),
    )


async def create(request: web.Request) -> web.Response:
    """POST /api/marketplace/purchase-requests/{id}/offers"""
    actor = current_actor(request, Role.SELLER)
    body = await parse(request, NewOffer)
    created = await request.app[SERVICES].offers.create(actor, path_uuid(request, "purchase request"), body.draft())
    return success(shapes.OneOffer(offer=shown(created)), status=201)


async def listing(request: web.Request) -> web.Response:
    """GET /api/marketplace/offers"""
    actor = current_actor(request)
    query = parse_query(request, ListOffers)
    found, total = await request.app[SERVICES].offers.listing(actor, query.request_id, query.part())
    return paged(shapes.OfferPage, total, query.part(), offers=map(shown, found))


async def edit(request: web.Request) -> web.Response:
    """PATCH /api/marketplace/offers/{id}"""
    actor = current_actor(request, Role.SELLER)
    body = await parse(request, EditOffer)
    changed = await request.app[SERVICES].offers.edit(actor, path_uuid(request, "offer"), body.changes())
    return success(shapes.OneOffer(offer=shown(changed)))


async def withdraw(request: web.Request) -> web.Response:
    """POST /api/marketplace/offers/{id}/withdraw"""
    actor = current_actor(request, Role.SELLER)
    withdrawn = await request.app[SERVICES].offers.withdraw(actor, path_uuid(request, "offer"))
    return success(shapes.OneOffer(offer=shown(withdrawn)))


async def select(request: web.Request) -> web.Response:
    """POST /api/marketplace/purchase-requests/{id}/select-offer"""
    actor = current_actor(request, Role.BUYER)
    body = await parse(request, SelectOffer)
    services = request.app[SERVICES]
    chosen, offer = await services.offers.select(actor, path_uuid(request, "purchase request"), body.offer_id)
    return success(shapes.SelectedOffer(purchase_request=requests.shown(chosen, private=True), offer=shown(offer)))
