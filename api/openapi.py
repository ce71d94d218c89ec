"""The OpenAPI description of this API, assembled from the table of its calls, and a page to read it."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from api.middlewares import NO_ROUTE
from api.schemas import (
    HandleUnmatched,
    InspectTransaction,
    ListIntents,
    ListTransfers,
    ListUnmatched,
    ListWebhooks,
    Recheck,
    RotateSecret,
    ShowStats,
    TestWebhook,
)
from kernel.web.http_errors import ANY_ROUTE
from kernel.web.openapi import Answer, Call, assemble
from protocol import routes
from protocol.codec import encode
from protocol.errors import CODES, STATUSES, Error
from protocol.routes import PAGES, ROUTES, Route
from protocol.wire import described
from scanner.registration.requests import ID_PATTERN, CheckBalance, CreateIntent, CreateWatch
from scanner.version import VERSION

BODIES: Mapping[Route[Any], type[BaseModel]] = {
    routes.CREATE_INTENT: CreateIntent,
    routes.RECHECK: Recheck,
    routes.PAYMENT_RECHECK: Recheck,
    routes.INSPECT: InspectTransaction,
    routes.CHECK_BALANCE: CheckBalance,
    routes.CREATE_WATCH: CreateWatch,
    routes.ROTATE_SECRET: RotateSecret,
    routes.TEST_WEBHOOK: TestWebhook,
    routes.HANDLE_UNMATCHED: HandleUnmatched,
}
WITHOUT_BODY_TOO = frozenset({routes.RECHECK, routes.PAYMENT_RECHECK})
QUERIES: Mapping[Route[Any], type[BaseModel]] = {
    routes.LIST_INTENTS: ListIntents,
    routes.LIST_TRANSFERS: ListTransfers,
    routes.LIST_UNMATCHED: ListUnmatched,
    routes.LIST_WEBHOOKS: ListWebhooks,
    routes.STATS: ShowStats,
}
_ANY_ROUTE = {CODES[code] for code in ANY_ROUTE}
_BEFORE_ROUTING = {414, 431}  # counted without a route, since none is known yet
_UNROUTED = {400, 401, 403, 404, 405, 415} | _BEFORE_ROUTING


def _call(route: Route[Any]) -> Call:
    """Return a call of the table with what it asks for, and everything it may answer."""
    refused = {*route.refusals, 403, *_ANY_ROUTE}
    refused |= set() if route.is_open else {401}
    refused |= {503} if route.needs_store else set()
    return Call(
        method=route.method,
        path=route.path,
        answers={status: Answer(STATUSES[status], Error) for status in refused}
        | {200: Answer(route.summary, route.answer, route.content)}
        | {status: Answer(STATUSES[status], kind) for status, kind in route.also.items()},
        body=BODIES.get(route),
        needs_body=route not in WITHOUT_BODY_TOO,
        query=QUERIES.get(route),
        identity={"type": "string", "pattern": ID_PATTERN},
        more={"summary": route.summary} | ({"security": []} if route.is_open else {}),
    )


CALLS = tuple(map(_call, ROUTES))


@functools.cache
def build() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return assemble(
        CALLS,
        head={
            "openapi": "3.1.0",
            "info": {"title": "AMN Pay Scanner", "version": VERSION},
            "security": [{"apiKey": []}],
        },
        security_schemes={"apiKey": {"type": "http", "scheme": "bearer"}},
        described=described,
    )


def counted() -> Iterator[tuple[str, str, int]]:
    """Return every answer there is as it is counted: method, route, status."""
    for call in (*CALLS, *map(_call, PAGES)):
        for status in call.answers.keys() - _BEFORE_ROUTING:
            yield call.method, call.path, status
    for status in _UNROUTED:
        yield *NO_ROUTE, status


async def document(_request: web.Request) -> web.Response:
    """GET /openapi.json"""
    return web.Response(body=encode(build()), content_type="application/json")


async def page(_request: web.Request) -> web.Response:
    """GET /docs: readable without a script or another host"""
    rows = [
        f"<tr><td><code>{call.method} {html.escape(call.path)}</code></td>"
        f"<td>{html.escape(call.more['summary'])}</td><td>{', '.join(map(str, sorted(call.answers)))}</td></tr>"
        for call in CALLS
    ]
    text = (
        "<!doctype html><meta charset=utf-8><title>AMN Pay Scanner API</title>"
        "<style>body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%}"
        "td,th{border-bottom:1px solid #ccc;padding:.4rem;text-align:left}</style>"
        "<h1>AMN Pay Scanner API</h1><p>The full description is <a href=/openapi.json>openapi.json</a>.</p>"
        f"<table><tr><th>Call<th>What it does<th>Answers</tr>{''.join(rows)}</table>"
    )
    return web.Response(text=text, content_type="text/html")
