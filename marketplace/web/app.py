"""The web application: routes, and what happens around them."""

from __future__ import annotations

from aiohttp import web

from kernel.web.http_errors import ERROR_SHAPE, ErrorShape, HttpError
from kernel.web.middlewares import counted, whole_body
from marketplace.services import Services
from marketplace.settings import HttpSettings
from marketplace.web.headers import CrossOrigin, secured
from marketplace.web.metrics import METRICS, Metrics
from marketplace.web.middlewares import again, errors, limits, request_id, sessions, unrouted
from marketplace.web.openapi import DOCUMENT, Document
from marketplace.web.pages.routes import add_pages, guard_of
from marketplace.web.routes import ROUTES, STREAM
from marketplace.web.state import SERVICES

MAX_BODY = 64 * 1024


def build_app(services: Services, http: HttpSettings) -> web.Application:
    """Wire the routes to the use cases."""
    guard = guard_of(http)
    other_origins = CrossOrigin(http.cors_origins, public_url=http.public_url)
    door = [request_id, other_origins.middleware(), errors, limits, counted, guard.middleware()]
    metrics = Metrics(None if http.metrics_key is None else http.metrics_key.get_secret_value())
    around = [metrics.measure(), *door, whole_body, sessions, again]
    app = web.Application(client_max_size=MAX_BODY, middlewares=around)
    app[SERVICES] = services
    app[METRICS] = metrics
    app[ERROR_SHAPE] = ErrorShape(_unrouted)
    app.on_response_prepare.append(other_origins.prepare)
    app[DOCUMENT] = Document(ROUTES)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
        if route.method == "GET" and route.path != STREAM:  # a HEAD of what never ends would be held open
            app.router.add_route("HEAD", route.path, route.handler)
    add_pages(app, guard)
    return app


def _unrouted(error: HttpError) -> web.Response:
    """Answer what no route had a part in; nothing else completes it before it is sent."""
    response = unrouted(error)
    secured(response)
    return response
