"""The web application: routes, and what happens around them."""

from __future__ import annotations

from aiohttp import web

from api import balances, intents, openapi, operations, watches
from api.keys import SERVICES
from api.middlewares import authenticate, errors, measure, unrouted
from config.settings import HttpSettings
from kernel.web.http_errors import ERROR_SHAPE, ErrorShape
from kernel.web.middlewares import counted, whole_body
from scanner.services import Services
from scanner.upkeep.metrics import Metrics

MAX_BODY = 64 * 1024


def build_app(services: Services, settings: HttpSettings, metrics: Metrics) -> web.Application:
    """Wire the routes to the use cases."""
    app = web.Application(
        client_max_size=MAX_BODY,
        middlewares=[measure(metrics), errors, counted, authenticate(settings.api_keys), whole_body],
    )
    metrics.begin_http(openapi.counted())
    app[SERVICES] = services
    app[ERROR_SHAPE] = ErrorShape(unrouted(metrics))
    app.router.add_get("/health", operations.health)
    app.router.add_get("/ready", operations.ready)
    app.router.add_get("/metrics", operations.metrics)
    app.router.add_get("/scanner/status", operations.status)
    app.router.add_post("/intents", intents.create)
    app.router.add_get("/intents", intents.listing)
    app.router.add_get("/intents/{intentId}", intents.show)
    app.router.add_delete("/intents/{intentId}", intents.cancel)
    app.router.add_get("/intents/{intentId}/transfers", intents.transfers)
    app.router.add_post("/intents/{intentId}/recheck", intents.recheck)
    app.router.add_post("/balances/check", balances.check)
    app.router.add_post("/balance-watches", watches.create)
    app.router.add_get("/balance-watches/{watchId}", watches.show)
    app.router.add_delete("/balance-watches/{watchId}", watches.stop)
    app.router.add_post("/balance-watches/{watchId}/stop", watches.stop)
    app.router.add_get("/unmatched", operations.unmatched)
    app.router.add_post("/admin/webhooks/retry", operations.retry_webhooks)
    app.router.add_post("/admin/callback-secrets/rotate", operations.rotate_secret)
    app.router.add_get("/openapi.json", openapi.document)
    app.router.add_get("/docs", openapi.page)
    return app
