"""Metrics for Prometheus: what is asked of us, and what waits."""

from __future__ import annotations

import hmac
import time
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from marketplace.model import PaymentStatus, Role
from marketplace.store import figures
from marketplace.store.figures import Figures
from marketplace.web.bodies import bearer_token, current_actor
from marketplace.web.middlewares import route_of
from marketplace.web.state import SERVICES

PATH: Final = "/metrics"
CONTENT: Final = "text/plain; version=0.0.4; charset=utf-8"
NO_ROUTE: Final = ("other", "unknown")  # whoever asks for what there is not would make a label of each word of theirs
KEPT_S: Final = 5.0  # what was counted last, for whoever asks again soon
FAILURE: Final = 500
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters and gauges of one process, on a registry of their own."""

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._counted: tuple[float, Figures] | None = None
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "amn_marketplace_http_requests", "HTTP requests by route.", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "amn_marketplace_http_request_seconds",
            "Time to answer a request.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.payments = Gauge("amn_marketplace_payments", "Pay-ins by status.", ["status"], registry=registry)
        for status in PaymentStatus:
            self.payments.labels(status)
        names = {
            "held": ("amn_marketplace_payments_held", "Pay-ins that are held for a person."),
            "instructions": ("amn_marketplace_instructions_pending", "Instructions nobody carried out yet."),
            "commands": ("amn_marketplace_commands_pending", "Commands the scanner was not told yet."),
            "unread": ("amn_marketplace_webhooks_unread", "Webhooks whose transfers are not read yet."),
            "disputes": ("amn_marketplace_disputes_open", "Open disputes."),
            "suspended": ("amn_marketplace_accounts_suspended", "Accounts that are suspended."),
            "age": ("amn_marketplace_oldest_command_age_seconds", "Age of the oldest command that waits."),
            "streams": ("amn_marketplace_streams", "Streams of events that are open in this process."),
        }
        self.gauges = {short: Gauge(*told, registry=registry) for short, told in names.items()}

    def measure(self) -> Middleware:
        """Return what counts every answer."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            started, status = time.perf_counter(), FAILURE
            try:
                response = await handler(request)
                status = response.status
            except web.HTTPException as exc:
                status = exc.status
                raise
            finally:
                method, route = request.method, route_of(request)
                if route == NO_ROUTE[1] or method not in hdrs.METH_ALL:
                    method, route = NO_ROUTE
                self.requests.labels(method, route, status).inc()
                self.seconds.labels(method, route).observe(time.perf_counter() - started)
            return response

        return middleware

    def is_key(self, token: str) -> bool:
        """Say whether a token is the key to these metrics."""
        return self._key is not None and hmac.compare_digest(self._key.encode(), token.encode("utf-8", "replace"))

    async def render(self, request: web.Request) -> bytes:
        """Return everything, what lies in the store counted a few seconds ago at most."""
        units = request.app[SERVICES].units
        now = time.monotonic()
        if self._counted is None or now - self._counted[0] >= KEPT_S:
            async with units.db.read() as tx:
                self._counted = (now, await figures.count(tx))
        found = self._counted[1]
        for status, number in found.payments.items():
            self.payments.labels(status).set(number)
        waits_ms = 0 if found.oldest_command_at is None else units.clock.now_ms() - found.oldest_command_at
        values = {
            "held": found.held,
            "instructions": found.instructions,
            "commands": found.commands,
            "unread": found.unread_webhooks,
            "disputes": found.disputes,
            "suspended": found.suspended,
            "age": max(0, waits_ms) / 1000,
            "streams": units.subscribers.count,
        }
        for name, value in values.items():
            self.gauges[name].set(value)
        return generate_latest(self.registry)


METRICS = web.AppKey("metrics", Metrics)


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics"""
    kept = request.app[METRICS]
    if not kept.is_key(bearer_token(request)):
        current_actor(request, Role.ADMIN)
    return web.Response(body=await kept.render(request), headers={hdrs.CONTENT_TYPE: CONTENT})
