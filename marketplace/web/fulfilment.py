"""Deliveries and their codes over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, BeforeValidator, Field

from kernel.web.ids import described, whole
from marketplace.model import Role
from marketplace.web import requests, shapes
from marketplace.web.answers import success
from marketplace.web.bodies import Body, Line, Text, current_actor, one_line, parse, path_uuid
from marketplace.web.state import SERVICES
from protocol.codec import of

CODE = r"[0-9]{6}"
Words = Annotated[Text, Field(max_length=2000)]


_SIX = AfterValidator(whole(CODE, "must be 6 digits"))
SixDigits = Annotated[str, BeforeValidator(one_line), _SIX, described(CODE), Field(repr=False)]


class Delivered(Body):
    proof: Words | None = None
    tracking_number: Annotated[Line, Field(max_length=200)] | None = None
    notes: Words | None = None

    def given(self) -> dict[str, Any]:
        """Return what was given of it."""
        return self.model_dump(by_alias=True, exclude_none=True)


class Confirmed(Body):
    proof: Words | None = None


class Verify(Body):
    code: Annotated[
        str,
        BeforeValidator(one_line),
        AfterValidator(whole(CODE, "must be 6 digits")),
        described(CODE),
        Field(repr=False),
    ]


async def deliver(request: web.Request) -> web.Response:
    """PATCH /api/marketplace/purchase-requests/{id}/delivery"""
    actor = current_actor(request, Role.SELLER, Role.ADMIN)
    body = await parse(request, Delivered)
    found = await request.app[SERVICES].fulfilment.deliver(actor, path_uuid(request, "purchase request"), body.given())
    return success(requests.one(found))


async def confirm(request: web.Request) -> web.Response:
    """PATCH /api/marketplace/purchase-requests/{id}/confirm-delivery"""
    actor = current_actor(request, Role.BUYER, Role.ADMIN)
    body = await parse(request, Confirmed)
    proof = {} if body.proof is None else {"confirmation": body.proof}
    found = await request.app[SERVICES].fulfilment.confirm(actor, path_uuid(request, "purchase request"), proof)
    return success(requests.one(found))


async def generate(request: web.Request) -> web.Response:
    """POST /api/marketplace/purchase-requests/{id}/delivery-code/generate"""
    actor = current_actor(request, Role.BUYER)
    code, until = await request.app[SERVICES].fulfilment.generate(actor, path_uuid(request, "purchase request"))
    response = success(shapes.DeliveryCode(code=str(code), expires_at=shapes.Time(until)))
    response.headers["Cache-Control"] = "no-store"
    return response


async def verify(request: web.Request) -> web.Response:
    """POST /api/marketplace/purchase-requests/{id}/delivery-code/verify"""
    actor = current_actor(request, Role.SELLER, Role.ADMIN)
    body = await parse(request, Verify)
    found = await request.app[SERVICES].fulfilment.verify(actor, path_uuid(request, "purchase request"), body.code)
    return success(requests.one(found))


async def status(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests/{id}/delivery-code/status"""
    actor = current_actor(request)
    found = await request.app[SERVICES].fulfilment.status(actor, path_uuid(request, "purchase request"))
    return success(of(shapes.DeliveryCodeStatus, found))
