"""The pages, one table: what serves each, and for which roles; and how they are put into the application."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from kernel.pages import kit
from kernel.pages.assets import PATH, Assets
from kernel.pages.live import LivePages
from kernel.web.browser_sessions import BrowserCookies
from marketplace.model import Role
from marketplace.settings import HttpSettings
from marketplace.web.pages import (
    account,
    disputes,
    fees,
    instructions,
    links,
    operations,
    overview,
    payments,
    payout_addresses,
    sign_in,
    stocks,
    sweeps,
    templates_on_sale,
    users,
)
from marketplace.web.pages.guard import ACCOUNT, COOKIE, LINK, Guard
from marketplace.web.pages.overview import LIVE
from marketplace.web.pages.sign_in import GUARD
from marketplace.web.pages.view import ROOT

PACKAGE: Final = "marketplace.web.pages"
TEMPLATES: Final = kit.templates((PACKAGE,))
ASSETS: Final = Assets((kit.KIT,))
ICON: Final = "/favicon.ico"
ADMIN: Final = frozenset({Role.ADMIN})
STAFF: Final = frozenset({Role.ADMIN, Role.RESOLVER})
PAGES: Final[tuple[tuple[str, str, Handler, frozenset[Role]], ...]] = (
    ("GET", ROOT, overview.page, STAFF),
    ("GET", f"{ROOT}/events", overview.events, STAFF),
    ("GET", f"{ROOT}/login", sign_in.page, STAFF),
    ("POST", f"{ROOT}/login", sign_in.sign_in, STAFF),
    ("POST", f"{ROOT}/logout", sign_in.sign_out, STAFF),
    ("GET", f"{ROOT}/awaiting", payments.awaiting, ADMIN),
    ("GET", f"{ROOT}/payments", payments.listing, ADMIN),
    ("GET", f"{ROOT}/payments/{{id}}", payments.one, STAFF),
    ("POST", f"{ROOT}/payments/{{id}}/check", payments.check, ADMIN),
    ("POST", f"{ROOT}/payments/{{id}}/cancel", payments.cancel, ADMIN),
    ("POST", f"{ROOT}/payments/{{id}}/release", payments.release, ADMIN),
    ("POST", f"{ROOT}/payments/{{id}}/refund", payments.refund, ADMIN),
    ("POST", f"{ROOT}/payments/{{id}}/hold", payments.hold, ADMIN),
    ("POST", f"{ROOT}/payments/{{id}}/clear-reorg", payments.clear_reorg, ADMIN),
    ("POST", f"{ROOT}/payments/{{id}}/stop-watch", payments.stop_watch, ADMIN),
    ("GET", f"{ROOT}/recoveries", operations.recoveries, ADMIN),
    ("GET", f"{ROOT}/disputes", disputes.listing, STAFF),
    ("GET", f"{ROOT}/disputes/{{id}}", disputes.one, STAFF),
    ("POST", f"{ROOT}/disputes/{{id}}/assign", disputes.assign, STAFF),
    ("POST", f"{ROOT}/disputes/{{id}}/messages", disputes.write, STAFF),
    ("POST", f"{ROOT}/disputes/{{id}}/deadline", disputes.move_deadline, STAFF),
    ("POST", f"{ROOT}/disputes/{{id}}/evidence", disputes.add_evidence, STAFF),
    ("POST", f"{ROOT}/disputes/{{id}}/resolve", disputes.resolve, STAFF),
    ("GET", f"{ROOT}/instructions", instructions.listing, ADMIN),
    ("POST", f"{ROOT}/instructions/{{id}}/settle", instructions.settle, ADMIN),
    ("GET", f"{ROOT}/addresses", sweeps.listing, ADMIN),
    ("GET", f"{ROOT}/payout-addresses", payout_addresses.listing, ADMIN),
    ("POST", f"{ROOT}/sweeps/build", sweeps.build, ADMIN),
    ("GET", f"{ROOT}/users", users.listing, ADMIN),
    ("POST", f"{ROOT}/users", users.create, ADMIN),
    ("GET", f"{ROOT}/users/{{id}}", users.one, ADMIN),
    ("POST", f"{ROOT}/users/{{id}}/reset", links.order_reset, ADMIN),
    ("POST", f"{ROOT}/users/{{id}}/remove-second-factor", users.remove_second_factor, ADMIN),
    ("GET", ACCOUNT, account.page, STAFF),
    ("POST", f"{ACCOUNT}/channels", account.choose, STAFF),
    ("POST", f"{ACCOUNT}/telegram", account.link, STAFF),
    ("POST", f"{ACCOUNT}/telegram/unlink", account.unlink, STAFF),
    ("POST", f"{ACCOUNT}/password", account.change_password, STAFF),
    ("POST", f"{ACCOUNT}/second-factor", account.start, STAFF),
    ("POST", f"{ACCOUNT}/second-factor/confirm", account.confirm, STAFF),
    ("POST", f"{ACCOUNT}/second-factor/remove", account.remove, STAFF),
    ("GET", links.INVITATIONS, links.listing, ADMIN),
    ("POST", links.INVITATIONS, links.invite, ADMIN),
    ("POST", f"{links.INVITATIONS}/{{id}}/revoke", links.revoke, ADMIN),
    ("GET", f"{ROOT}/links/done", links.used, STAFF),
    ("GET", LINK, links.look, STAFF),
    ("POST", LINK, links.use, STAFF),
    ("POST", f"{ROOT}/users/{{id}}/suspend", users.suspend, ADMIN),
    ("POST", f"{ROOT}/users/{{id}}/unsuspend", users.unsuspend, ADMIN),
    ("POST", f"{ROOT}/users/{{id}}/end-sessions", users.end_sessions, ADMIN),
    ("GET", f"{ROOT}/stocks", stocks.listing, ADMIN),
    ("GET", f"{ROOT}/templates", templates_on_sale.listing, ADMIN),
    ("POST", f"{ROOT}/templates/{{id}}/close", templates_on_sale.close, ADMIN),
    ("GET", f"{ROOT}/networks", operations.networks, ADMIN),
    ("POST", f"{ROOT}/networks/threshold", operations.set_threshold, ADMIN),
    ("GET", f"{ROOT}/fees", fees.listing, ADMIN),
    ("POST", f"{ROOT}/fees", fees.change, ADMIN),
    ("GET", f"{ROOT}/reconciliation", operations.reconciliation, ADMIN),
    ("GET", f"{ROOT}/notifications", operations.notifications, STAFF),
    ("POST", f"{ROOT}/notifications/read", operations.mark_all_read, STAFF),
    ("POST", f"{ROOT}/notifications/{{id}}/read", operations.mark_read, STAFF),
)


def guard_of(http: HttpSettings) -> Guard:
    """Return what stands before the pages."""
    cookies = BrowserCookies(COOKIE, ROOT, public_url=http.public_url, trusted_hops=http.trusted_hops)
    return Guard({(method, path): roles for method, path, _, roles in PAGES}, cookies)


def add_pages(app: web.Application, guard: Guard) -> None:
    """Serve the pages, and what they are made of."""
    live = LivePages()
    app[GUARD], app[LIVE] = guard, live
    app.on_shutdown.append(live.close)
    kit.set_up(app, TEMPLATES, ASSETS)
    app.router.add_get(PATH, asset)
    app.router.add_get(ICON, icon)
    for method, path, handler, _ in PAGES:
        if method == "GET":
            app.router.add_get(path, handler, allow_head=handler is not overview.events)  # that never ends
        else:
            app.router.add_route(method, path, handler)


async def asset(request: web.Request) -> web.Response:
    """GET /assets/{version}/{name}"""
    return ASSETS.response(request)


async def icon(_request: web.Request) -> web.Response:
    """GET /favicon.ico"""
    return ASSETS.icon()
