"""Purchase requests over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from aiohttp import web
from pydantic import Field, model_validator

from kernel.clock import shown
from marketplace.model import ProductType, PurchaseRequest, Role
from marketplace.trade.requests import RequestDraft
from marketplace.web.answers import listed, ok
from marketplace.web.bodies import Body, Line, Listing, Text, parse, parse_query, path_id, who
from marketplace.web.fields import Currency, Email, Link, Money, units
from marketplace.web.state import SERVICES

MAX_BUDGET = "100000"


class Budget(Body):
    min: Money
    max: Money
    currency: Currency

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if units(self.min) > units(self.max):
            raise ValueError("budget.min must not be more than budget.max")
        if units(self.max) > units(MAX_BUDGET):
            raise ValueError(f"budget.max must be at most {MAX_BUDGET}")
        return self


class DeliveryInfo(Body):
    delivery_type: Literal["physical", "online"]
    email: Email | None = None


class NewRequest(Body):
    title: Annotated[Line, Field(min_length=3, max_length=200)]
    description: Annotated[Text, Field(min_length=10, max_length=2000)]
    product_type: ProductType
    product_link: Link | None = None
    quantity: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    budget: Budget
    urgency: Literal["low", "medium", "high", "urgent"] = "medium"
    delivery_info: DeliveryInfo

    def draft(self) -> RequestDraft:
        """Return the use case's input."""
        return RequestDraft(
            title=self.title,
            description=self.description,
            product_type=self.product_type,
            product_link=self.product_link,
            quantity=self.quantity,
            budget_min=self.budget.min,
            budget_max=self.budget.max,
            budget_currency=self.budget.currency,
            urgency=self.urgency,
            delivery_type=self.delivery_info.delivery_type,
            delivery_email=self.delivery_info.email,
        )


def request_json(request: PurchaseRequest, *, private: bool) -> dict[str, Any]:
    """Render a request; where and how it is delivered (`private`) is for those who have to know."""
    return {
        "id": request.id,
        "status": request.status,
        "buyerId": request.buyer_id,
        "title": request.title,
        "description": request.description,
        "productType": request.product_type,
        "productLink": request.product_link,
        "quantity": request.quantity,
        "budget": {"min": request.budget_min, "max": request.budget_max, "currency": request.budget_currency},
        "urgency": request.urgency,
        "deliveryInfo": {
            "deliveryType": request.delivery_type,
            "email": request.delivery_email if private else None,
        },
        "selectedOfferId": request.selected_offer_id,
        "deliveryConfirmed": request.delivery_confirmed,
        "deliveryProof": request.delivery_proof if private else None,
        "deliveredAt": shown(request.delivered_at),
        "confirmedAt": shown(request.confirmed_at),
        "createdAt": shown(request.created_at),
        "updatedAt": shown(request.updated_at),
    }


async def create(request: web.Request) -> web.Response:
    """POST /api/marketplace/purchase-requests"""
    actor = who(request, Role.BUYER)
    body = await parse(request, NewRequest)
    created = await request.app[SERVICES].requests.create(actor, body.draft())
    return ok({"purchaseRequest": request_json(created, private=True)}, status=201)


async def mine(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests/my"""
    actor = who(request)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].requests.mine(actor, page)
    return listed("purchaseRequests", [request_json(each, private=True) for each in found], total, page)


async def feed(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests: everybody's, without a token"""
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].requests.feed(page)
    return listed("purchaseRequests", [request_json(each, private=False) for each in found], total, page)


async def show(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests/{id}"""
    actor = who(request)
    found, private = await request.app[SERVICES].requests.show(actor, path_id(request, "purchase request"))
    return ok({"purchaseRequest": request_json(found, private=private)})
