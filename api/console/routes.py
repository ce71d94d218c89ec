"""The pages of the console, one table, and how they are put into the application."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from api.console import chains, intents, overview, sign_in, unmatched, watches, webhooks
from api.console.guard import Guard
from api.console.overview import LIVE
from api.console.sign_in import GUARD
from kernel.pages.live import LivePages

PACKAGE: Final = "api.console"
CONSOLE: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/console", overview.page),
    ("GET", "/console/events", overview.events),
    ("GET", "/console/login", sign_in.page),
    ("POST", "/console/login", sign_in.sign_in),
    ("POST", "/console/logout", sign_in.sign_out),
    ("GET", "/console/intents", intents.listing),
    ("GET", "/console/intents.csv", intents.table),
    ("GET", "/console/intents/{intentId}", intents.one),
    ("POST", "/console/intents/{intentId}/recheck", intents.recheck),
    ("POST", "/console/intents/{intentId}/cancel", intents.cancel),
    ("GET", "/console/unmatched", unmatched.listing),
    ("GET", "/console/unmatched.csv", unmatched.table),
    ("POST", "/console/unmatched/{id}/handled", unmatched.handle),
    ("GET", "/console/webhooks", webhooks.listing),
    ("POST", "/console/webhooks/test", webhooks.test),
    ("POST", "/console/webhooks/redeliver", webhooks.send_failed_again),
    ("GET", "/console/webhooks/{eventId}", webhooks.one),
    ("POST", "/console/webhooks/{eventId}/redeliver", webhooks.send_again),
    ("GET", "/console/watches", watches.listing),
    ("POST", "/console/watches/{watchId}/stop", watches.stop),
    ("GET", "/console/chains", chains.listing),
    ("GET", "/console/chains/{chainId}", chains.one),
    ("GET", "/console/chains/{chainId}/stats", chains.stats),
)


def add_console(app: web.Application, guard: Guard) -> None:
    """Serve the console."""
    live = LivePages()
    app[GUARD], app[LIVE] = guard, live
    app.on_shutdown.append(live.close)
    for method, path, handler in CONSOLE:
        if method == "GET":
            app.router.add_get(path, handler, allow_head=handler is not overview.events)  # that never ends
        else:
            app.router.add_route(method, path, handler)
