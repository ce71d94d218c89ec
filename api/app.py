"""The web application: routes, and what happens around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from api import balances, intents, openapi, operations, transactions, watches, webhook_log
from api.console.guard import Guard
from api.console.routes import PACKAGE, add_console
from api.keys import SERVICES
from api.middlewares import authenticate, errors, measure, unrouted
from api.pay import events, page
from api.pay.doors import PAY, pay_settings
from config.settings import HttpSettings
from kernel.pages import kit
from kernel.pages.assets import Assets
from kernel.web.http_errors import ERROR_SHAPE, ErrorShape
from kernel.web.middlewares import counted, whole_body
from kernel.web.rate_limiter import RateLimiter
from protocol import routes
from protocol.routes import PAGES, ROUTES, Route
from scanner.services import Services
from scanner.upkeep.metrics import Metrics

MAX_BODY = 64 * 1024
# Read when this module is: nothing of it is read while somebody waits.
PAGE_PACKAGES = ("api.pay", PACKAGE)
PAGE_TEMPLATES = kit.templates(PAGE_PACKAGES)
PAGE_ASSETS = Assets((kit.KIT, *PAGE_PACKAGES))


HANDLERS: Mapping[Route[Any], Handler] = {
    routes.HEALTH: operations.health,
    routes.READY: operations.ready,
    routes.METRICS: operations.metrics,
    routes.STATUS: operations.status,
    routes.LIST_INTENTS: intents.listing,
    routes.CREATE_INTENT: intents.create,
    routes.SHOW_INTENT: intents.show,
    routes.CANCEL_INTENT: intents.cancel,
    routes.LIST_TRANSFERS: intents.transfers,
    routes.SHOW_PROOF: intents.proof,
    routes.RECHECK: intents.recheck,
    routes.INSPECT: transactions.inspect,
    routes.CHECK_BALANCE: balances.check,
    routes.CREATE_WATCH: watches.create,
    routes.SHOW_WATCH: watches.show,
    routes.DELETE_WATCH: watches.stop,
    routes.STOP_WATCH: watches.stop,
    routes.LIST_UNMATCHED: operations.unmatched,
    routes.HANDLE_UNMATCHED: operations.handle_unmatched,
    routes.STATS: operations.stats,
    routes.LIST_WEBHOOKS: webhook_log.listing,
    routes.SHOW_WEBHOOK: webhook_log.show,
    routes.TEST_WEBHOOK: webhook_log.test,
    routes.REDELIVER: webhook_log.redeliver,
    routes.RETRY_WEBHOOKS: operations.retry_webhooks,
    routes.ROTATE_SECRET: operations.rotate_secret,
    routes.PAYMENT_PAGE: page.show,
    routes.PAYMENT_EVENTS: events.stream,
    routes.PAYMENT_RECHECK: page.recheck,
    routes.ASSET: page.asset,
    routes.ICON: page.icon,
    routes.DESCRIPTION: openapi.document,
    routes.DOCS: openapi.page,
}


def build_app(services: Services, settings: HttpSettings, metrics: Metrics, pages: RateLimiter) -> web.Application:
    """Wire the routes to the use cases; `pages` counts who asks for payment pages."""
    guard = Guard(settings)
    door = [measure(metrics), errors, counted, authenticate(settings.api_keys)]
    app = web.Application(
        client_max_size=MAX_BODY,
        middlewares=[*door, *([guard.middleware()] if settings.console else []), whole_body],
    )
    metrics.begin_http(openapi.counted())
    app[SERVICES] = services
    app[ERROR_SHAPE] = ErrorShape(unrouted(metrics))
    app[PAY] = pay_settings(settings, pages)
    kit.set_up(app, PAGE_TEMPLATES, PAGE_ASSETS)
    for route in (*ROUTES, *PAGES):
        app.router.add_route(route.method, route.path, HANDLERS[route])
        if route.method == "GET" and route is not routes.PAYMENT_EVENTS:  # a HEAD of what never ends would be held open
            app.router.add_route("HEAD", route.path, HANDLERS[route])
    if settings.console:
        add_console(app, guard)
    return app
