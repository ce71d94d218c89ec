"""Purchase requests over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from aiohttp import web
from pydantic import Field, model_validator

from marketplace.model import ProductType, PurchaseRequest, Role
from marketplace.trade.requests import RequestDraft
from marketplace.web import shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Line, Listing, Text, current_actor, parse, parse_query, path_uuid
from marketplace.web.fields import Currency, Email, Link, Money, units
from marketplace.web.state import SERVICES
from protocol.codec import of

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


def shown(request: PurchaseRequest, *, private: bool) -> shapes.PurchaseRequest:
    """Return a request; where and how it is delivered (`private`) is for those who have to know."""
    return of(
        shapes.PurchaseRequest,
        request,
        budget=shapes.Budget(min=request.budget_min, max=request.budget_max, currency=request.budget_currency),
        delivery_info=shapes.DeliveryInfo(
            delivery_type=request.delivery_type, email=request.delivery_email if private else None
        ),
        delivery_proof=request.delivery_proof if private else None,
    )


def one(request: PurchaseRequest, *, private: bool = True) -> shapes.OneRequest:
    return shapes.OneRequest(purchase_request=shown(request, private=private))


async def create(request: web.Request) -> web.Response:
    """POST /api/marketplace/purchase-requests"""
    actor = current_actor(request, Role.BUYER)
    body = await parse(request, NewRequest)
    created = await request.app[SERVICES].requests.create(actor, body.draft())
    return success(one(created), status=201)


async def mine(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests/my"""
    actor = current_actor(request)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].requests.mine(actor, page)
    return paged(shapes.RequestPage, total, page, purchase_requests=(shown(each, private=True) for each in found))


async def feed(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests: everybody's, without a token"""
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].requests.feed(page)
    return paged(shapes.RequestPage, total, page, purchase_requests=(shown(each, private=False) for each in found))


async def show(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests/{id}"""
    actor = current_actor(request)
    found, private = await request.app[SERVICES].requests.show(actor, path_uuid(request, "purchase request"))
    return success(one(found, private=private))
