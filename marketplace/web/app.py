"""The web application: routes, and what happens around them."""

from __future__ import annotations

from aiohttp import web

from kernel.web.http_errors import ERROR_SHAPE, ErrorShape
from kernel.web.middlewares import counted, whole_body
from marketplace.services import Services
from marketplace.web import (
    accounts,
    admin,
    disputes,
    fulfilment,
    health,
    negotiation,
    notifications,
    offers,
    openapi,
    payments,
    requests,
)
from marketplace.web.middlewares import errors, limits, request_id, unrouted
from marketplace.web.state import SERVICES

MAX_BODY = 64 * 1024
MARKET = "/api/marketplace"
REQUEST = f"{MARKET}/purchase-requests/{{id}}"
PAYMENT = "/api/payment"
ADMIN = "/api/admin"

ROUTES = (
    web.get("/health", health.ping),
    web.get("/api/version", health.version),
    web.get("/api/health", health.deep),
    web.get("/openapi.json", openapi.document),
    web.post("/api/auth/login", accounts.login),
    web.post("/api/auth/refresh-token", accounts.refresh),
    web.get("/api/auth/me", accounts.me),
    web.post(f"{ADMIN}/users", accounts.create),
    web.post(f"{MARKET}/purchase-requests", requests.create),
    web.get(f"{MARKET}/purchase-requests", requests.feed),
    web.get(f"{MARKET}/purchase-requests/my", requests.mine),
    web.get(REQUEST, requests.show),
    web.post(f"{REQUEST}/offers", offers.create),
    web.post(f"{REQUEST}/select-offer", offers.select),
    web.get(f"{MARKET}/offers", offers.listing),
    web.patch(f"{MARKET}/offers/{{id}}", offers.edit),
    web.post(f"{MARKET}/offers/{{id}}/withdraw", offers.withdraw),
    web.post(f"{MARKET}/offers/{{id}}/counter", negotiation.counter),
    web.post(f"{MARKET}/offers/{{id}}/counter/answer", negotiation.answer),
    web.get(f"{MARKET}/offers/{{id}}/rounds", negotiation.rounds),
    web.patch(f"{REQUEST}/delivery", fulfilment.deliver),
    web.patch(f"{REQUEST}/confirm-delivery", fulfilment.confirm),
    web.post(f"{REQUEST}/delivery-code/generate", fulfilment.generate),
    web.post(f"{REQUEST}/delivery-code/verify", fulfilment.verify),
    web.get(f"{REQUEST}/delivery-code/status", fulfilment.status),
    web.post(f"{PAYMENT}/intents", payments.open_intent),
    web.get(f"{PAYMENT}/history", payments.history),
    web.post(f"{PAYMENT}/amn-scanner/webhook", payments.webhook),
    web.post(f"{PAYMENT}/amn-scanner/direct-balance/check/{{paymentId}}", payments.check),
    web.get(f"{PAYMENT}/{{id}}", payments.show),
    web.post(f"{PAYMENT}/{{id}}/cancel", payments.cancel),
    web.get(f"{ADMIN}/payments/awaiting-confirmation", admin.awaiting),
    web.post(f"{ADMIN}/payments/{{id}}/release", admin.release),
    web.post(f"{ADMIN}/payments/{{id}}/refund", admin.refund),
    web.post(f"{ADMIN}/payments/{{id}}/hold", admin.hold),
    web.post(f"{ADMIN}/payments/{{id}}/clear-reorg", admin.clear_reorg),
    web.post(f"{ADMIN}/payments/{{id}}/stop-watch", admin.stop_watch),
    web.post(f"{ADMIN}/instructions/{{id}}/settle", admin.settle),
    web.get(f"{ADMIN}/recoveries", admin.recoveries),
    web.get(f"{ADMIN}/reconciliation", admin.reconciliation),
    web.get(f"{ADMIN}/settings/confirmation-thresholds", admin.thresholds),
    web.put(f"{ADMIN}/settings/confirmation-thresholds", admin.set_thresholds),
    web.post("/api/disputes", disputes.create),
    web.get("/api/disputes/{id}", disputes.show),
    web.post("/api/disputes/{id}/evidence", disputes.add_evidence),
    web.post("/api/disputes/{id}/resolve", disputes.resolve),
    web.get("/api/events", notifications.stream),
    web.get("/api/notifications", notifications.listing),
    web.get("/api/notifications/unread-count", notifications.unread),
    web.patch("/api/notifications/{id}/read", notifications.read),
)


def build_app(services: Services) -> web.Application:
    """Wire the routes to the use cases."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[request_id, errors, limits, counted, whole_body])
    app[SERVICES] = services
    app[ERROR_SHAPE] = ErrorShape(unrouted)
    app.router.add_routes(ROUTES)
    return app
