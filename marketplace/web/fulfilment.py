"""Deliveries and their codes over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, BeforeValidator, Field

from kernel.clock import shown
from kernel.web.ids import described, whole
from marketplace.model import Role
from marketplace.web.answers import ok
from marketplace.web.bodies import Body, Line, Text, one_line, parse, path_id, who
from marketplace.web.requests import request_json
from marketplace.web.state import SERVICES

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
    actor = who(request, Role.SELLER, Role.ADMIN)
    body = await parse(request, Delivered)
    found = await request.app[SERVICES].fulfilment.deliver(actor, path_id(request, "purchase request"), body.given())
    return ok({"purchaseRequest": request_json(found, private=True)})


async def confirm(request: web.Request) -> web.Response:
    """PATCH /api/marketplace/purchase-requests/{id}/confirm-delivery"""
    actor = who(request, Role.BUYER, Role.ADMIN)
    body = await parse(request, Confirmed)
    proof = {} if body.proof is None else {"confirmation": body.proof}
    found = await request.app[SERVICES].fulfilment.confirm(actor, path_id(request, "purchase request"), proof)
    return ok({"purchaseRequest": request_json(found, private=True)})


async def generate(request: web.Request) -> web.Response:
    """POST /api/marketplace/purchase-requests/{id}/delivery-code/generate"""
    actor = who(request, Role.BUYER)
    code, until = await request.app[SERVICES].fulfilment.generate(actor, path_id(request, "purchase request"))
    response = ok({"code": str(code), "expiresAt": shown(until)})
    response.headers["Cache-Control"] = "no-store"
    return response


async def verify(request: web.Request) -> web.Response:
    """POST /api/marketplace/purchase-requests/{id}/delivery-code/verify"""
    actor = who(request, Role.SELLER, Role.ADMIN)
    body = await parse(request, Verify)
    found = await request.app[SERVICES].fulfilment.verify(actor, path_id(request, "purchase request"), body.code)
    return ok({"purchaseRequest": request_json(found, private=True)})


async def status(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests/{id}/delivery-code/status"""
    actor = who(request)
    found = await request.app[SERVICES].fulfilment.status(actor, path_id(request, "purchase request"))
    return ok(
        {
            "active": found.active,
            "used": found.used,
            "attemptsLeft": found.attempts_left,
            "expiresAt": shown(found.expires_at),
        }
    )
