"""The OpenAPI description of this API, made from the routes and the models that check what comes in."""

from __future__ import annotations

import functools
import re
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from marketplace import VERSION
from marketplace.errors import CODES
from marketplace.web import accounts, admin, bodies, disputes, fulfilment, negotiation, offers, payments, requests
from marketplace.web.shapes import ANSWERS

BODIES: dict[tuple[str, str], type[BaseModel]] = {
    ("POST", "/api/auth/login"): accounts.Login,
    ("POST", "/api/auth/refresh-token"): accounts.Refresh,
    ("POST", "/api/admin/users"): accounts.NewUser,
    ("POST", "/api/marketplace/purchase-requests"): requests.NewRequest,
    ("POST", "/api/marketplace/purchase-requests/{id}/offers"): offers.NewOffer,
    ("POST", "/api/marketplace/purchase-requests/{id}/select-offer"): offers.SelectOffer,
    ("PATCH", "/api/marketplace/offers/{id}"): offers.EditOffer,
    ("POST", "/api/marketplace/offers/{id}/counter"): negotiation.Counter,
    ("POST", "/api/marketplace/offers/{id}/counter/answer"): negotiation.Reply,
    ("PATCH", "/api/marketplace/purchase-requests/{id}/delivery"): fulfilment.Delivered,
    ("PATCH", "/api/marketplace/purchase-requests/{id}/confirm-delivery"): fulfilment.Confirmed,
    ("POST", "/api/marketplace/purchase-requests/{id}/delivery-code/verify"): fulfilment.Verify,
    ("POST", "/api/payment/intents"): payments.NewIntent,
    ("POST", "/api/admin/payments/{id}/release"): admin.Release,
    ("POST", "/api/admin/payments/{id}/refund"): admin.Refund,
    ("POST", "/api/admin/payments/{id}/hold"): admin.Hold,
    ("POST", "/api/admin/payments/{id}/clear-reorg"): admin.ClearReorg,
    ("POST", "/api/admin/instructions/{id}/settle"): admin.Settle,
    ("PUT", "/api/admin/settings/confirmation-thresholds"): admin.Thresholds,
    ("POST", "/api/disputes"): disputes.NewDispute,
    ("POST", "/api/disputes/{id}/evidence"): disputes.NewEvidence,
    ("POST", "/api/disputes/{id}/resolve"): disputes.Resolve,
}
QUERIES: dict[tuple[str, str], type[BaseModel]] = {
    ("GET", "/api/marketplace/purchase-requests"): bodies.Listing,
    ("GET", "/api/marketplace/purchase-requests/my"): bodies.Listing,
    ("GET", "/api/marketplace/offers"): offers.ListOffers,
    ("GET", "/api/payment/history"): payments.History,
    ("GET", "/api/admin/payments/awaiting-confirmation"): bodies.Listing,
    ("GET", "/api/admin/recoveries"): bodies.Listing,
    ("GET", "/api/notifications"): bodies.Listing,
}
STREAM = "/api/events"
_PARAMETER = re.compile(r"\{(\w+)\}")


async def document(request: web.Request) -> web.Response:
    """GET /openapi.json"""
    found = sorted(
        (route.method, route.resource.canonical)
        for route in request.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    )
    return web.Response(body=_document(tuple(found)), content_type="application/json")


@functools.cache
def _document(routes: tuple[tuple[str, str], ...]) -> bytes:
    models = sorted({*BODIES.values(), *QUERIES.values()}, key=lambda model: model.__name__)
    refs, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for method, path in routes:
        body = BODIES.get((method, path))
        operation = _operation(method, path, None if body is None else refs[body, "validation"])
        paths.setdefault(path, {})[method.lower()] = operation
    components = {
        "schemas": {**definitions["$defs"], "Refusal": _REFUSAL},
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
    }
    info = {"title": "AMN marketplace", "version": VERSION}
    described = {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}
    return orjson.dumps({**described, "security": [{"bearer": []}, {}]})


_REFUSAL = {
    "type": "object",
    "required": ["success", "error"],
    "additionalProperties": False,
    "properties": {
        "success": {"const": False},
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "additionalProperties": False,
            "properties": {
                "code": {"enum": sorted(CODES)},
                "message": {"type": "string"},
                "details": {"type": "object"},
            },
        },
    },
}


def _operation(method: str, path: str, body: Any) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_")
    operation: dict[str, Any] = {"operationId": name, "responses": _responses(method, path)}
    parameters = [
        {"name": each, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        for each in _PARAMETER.findall(path)
    ]
    query = QUERIES.get((method, path))
    if query is not None:
        schema = query.model_json_schema()
        parameters += [
            {"name": each, "in": "query", "required": False, "schema": kind}
            for each, kind in schema["properties"].items()
        ]
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _responses(method: str, path: str) -> dict[str, Any]:
    """Describe the answers, each by its status: every refusal has one shape."""
    bad = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    statuses = sorted({str(status) for status in CODES.values()} - {"500"})
    told = {status: {"description": "refused", "content": bad} for status in statuses}
    if path == STREAM:
        good = {"200": {"text/event-stream": {"schema": {"type": "string"}}}}
    elif path == "/openapi.json":
        good = {"200": {"application/json": {"schema": {"type": "object"}}}}
    else:
        schemas = ANSWERS[method, path]
        good = {str(status): {"application/json": {"schema": _answer(data)}} for status, data in schemas.items()}
    return told | {status: {"description": "done", "content": content} for status, content in good.items()}


def _answer(data: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["success", "data"],
        "properties": {"success": {"const": True}, "data": data},
        "additionalProperties": False,
    }
