"""The OpenAPI description of this API, assembled from the table of its calls."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias

from aiohttp import web
from msgspec import Meta

from kernel.web.openapi import Answer, Call, Schema, assemble
from marketplace import VERSION
from marketplace.errors import CODES
from marketplace.web import shapes
from marketplace.web.route import Route
from protocol.codec import encode
from protocol.wire import described

Description: TypeAlias = Annotated[dict[str, Any], Meta(extra_json_schema={"type": "object"})]
ID: Mapping[str, Any] = {"type": "string", "format": "uuid"}
REFUSED = {status: Answer("refused", shapes.Refusal) for status in sorted({*CODES.values()} - {500})}


class Document:
    """The description of an application, made when somebody asks for it."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = routes

    @functools.cached_property
    def raw(self) -> bytes:
        return encode(describe(self._routes))


DOCUMENT = web.AppKey("document", Document)


async def document(request: web.Request) -> web.Response:
    """GET /openapi.json"""
    return web.Response(body=request.app[DOCUMENT].raw, content_type="application/json")


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a table of calls."""
    return assemble(
        [_call(route) for route in routes],
        head={
            "openapi": "3.1.0",
            "info": {"title": "AMN marketplace", "version": VERSION},
            "security": [{"bearer": []}, {}],
        },
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        described=described,
    )


def _call(route: Route) -> Call:
    inside = _enveloped if route.enveloped else dict
    good = {status: Answer("done", kind, route.content, inside) for status, kind in route.answers.items()}
    name = re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_")
    return Call(
        method=route.method,
        path=route.path,
        answers=REFUSED | good,
        body=route.body,
        query=route.query,
        identity=ID,
        more={"operationId": name} | _file(route.file),
    )


def _file(kind: str | None) -> dict[str, Any]:
    """Describe a body that is no JSON."""
    if kind is None:
        return {}
    return {"requestBody": {"required": True, "content": {kind: {"schema": {"type": "string"}}}}}


def _enveloped(data: Schema) -> Schema:
    """Put the one envelope around what a call answers."""
    return {
        "type": "object",
        "required": ["success", "data"],
        "properties": {"success": {"const": True}, "data": data},
        "additionalProperties": False,
    }
