"""Requests, offers, negotiation and delivery."""

from __future__ import annotations

from typing import Annotated

from marketplace import model
from marketplace.web.shapes.basics import Count, Money, Open, Page, Time, one_of
from protocol.wire import Wire


class Price(Wire):
    amount: Money
    currency: str


class Budget(Wire):
    min: Money
    max: Money
    currency: str


class DeliveryInfo(Wire):
    delivery_type: str
    email: str | None


class PurchaseRequest(Wire):
    id: str
    status: Annotated[str, one_of(model.RequestStatus)]
    buyer_id: str
    title: str
    description: str
    product_type: Annotated[str, one_of(model.ProductType)]
    product_link: str | None
    quantity: Count
    budget: Budget
    urgency: str
    delivery_info: DeliveryInfo
    selected_offer_id: str | None
    delivery_confirmed: bool
    delivery_proof: Open | None
    delivered_at: Time | None
    confirmed_at: Time | None
    created_at: Time
    updated_at: Time


class DeliveryTime(Wire):
    amount: Count
    unit: str


class PlatformFee(Wire):
    bps: Count
    amount: Money
    currency: str


class Offer(Wire):
    id: str
    purchase_request_id: str
    seller_id: str
    title: str
    description: str
    price: Price
    delivery_time: DeliveryTime
    notes: str | None
    valid_until: Time | None
    require_aml_check: bool
    aml_block_on_failure: bool
    platform_fee: PlatformFee
    status: Annotated[str, one_of(model.OfferStatus)]
    created_at: Time
    updated_at: Time


class Round(Wire):
    id: str
    offer_id: str
    round: Count
    by: str
    price: Price
    note: str | None
    answer: str | None
    expires_at: Time
    created_at: Time


class DeliveryCode(Wire):
    code: str
    expires_at: Time


class DeliveryCodeStatus(Wire):
    active: bool
    used: bool
    attempts_left: Count
    expires_at: Time | None


class OneRequest(Wire):
    purchase_request: PurchaseRequest


class OneOffer(Wire):
    offer: Offer


class SelectedOffer(Wire):
    purchase_request: PurchaseRequest
    offer: Offer


class OneRound(Wire):
    round: Round


class Rounds(Wire):
    rounds: tuple[Round, ...]


class RequestPage(Page):
    purchase_requests: tuple[PurchaseRequest, ...]


class OfferPage(Page):
    offers: tuple[Offer, ...]
