"""What an admin keeps an eye on: money to recover, the ledger, networks; and what everybody is told."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kernel.pages.kit import redirect
from kernel.web.forms import read_form
from marketplace.web import admin
from marketplace.web.bodies import Listing, path_uuid
from marketplace.web.pages import forms
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.view import ROOT, show
from marketplace.web.state import SERVICES

SHOWN_FINDINGS = 500  # the report itself has no bound
SHOWN_HISTORY = 100
PLACES = ("payments", "disputes")  # what a notification may lead to


async def recoveries(request: web.Request) -> web.Response:
    """GET /admin/recoveries"""
    services, page = request.app[SERVICES], asked(request, Listing).part()
    found, total = await services.payments.recoveries(page)
    about = await services.payments.named({each.payment_id for each in found})
    return show(
        request,
        "admin_recoveries.html",
        recoveries=[(each, about.get(each.payment_id)) for each in found],
        total=total,
        next=next_page(request, f"{ROOT}/recoveries", page, total),
    )


async def reconciliation(request: web.Request) -> web.Response:
    """GET /admin/reconciliation"""
    report = await request.app[SERVICES].reconciliation.report()
    return show(request, "admin_reconciliation.html", report=report, findings=report.findings[:SHOWN_FINDINGS])


async def networks(request: web.Request) -> web.Response:
    """GET /admin/networks"""
    return await _networks(request)


async def _networks(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    services = request.app[SERVICES]
    current, history = await services.thresholds.show()
    compared, scanner_error = await services.networks.compared()
    return show(
        request,
        "admin_networks.html",
        status=status,
        networks=[(services.catalog.chains[chain_id], asked) for chain_id, asked in current.items()],
        tokens=services.catalog.tokens,
        compared=compared,
        scanner_error=scanner_error,
        history=history[:SHOWN_HISTORY],
        **context,
    )


async def set_threshold(request: web.Request) -> web.Response:
    """POST /admin/networks/threshold"""

    async def action() -> None:
        body = await forms.read(request, admin.Threshold, "chainId", "confirmations")
        await request.app[SERVICES].thresholds.change(actor_of(request), {body.chain_id: body.confirmations})

    return await forms.attempt(request, action, _networks, f"{ROOT}/networks")


async def notifications(request: web.Request) -> web.Response:
    """GET /admin/notifications"""
    page = asked(request, Listing).part()
    found, total = await request.app[SERVICES].notifications.page(actor_of(request), page)
    return show(
        request,
        "admin_notifications.html",
        notifications=[(each, place(each.action_url)) for each in found],
        total=total,
        next=next_page(request, f"{ROOT}/notifications", page, total),
    )


def place(url: str | None) -> str | None:
    """Return the page of ours a notification leads to; None where there is none."""
    kind, _, rest = (url or "").removeprefix("/").partition("/")
    return f"{ROOT}/{kind}/{rest}" if kind in PLACES and rest else None


async def mark_all_read(request: web.Request) -> web.Response:
    """POST /admin/notifications/read"""
    await read_form(request)
    await request.app[SERVICES].notifications.read_all(actor_of(request))
    return redirect(request, f"{ROOT}/notifications")


async def mark_read(request: web.Request) -> web.Response:
    """POST /admin/notifications/{id}/read"""
    await read_form(request)
    await request.app[SERVICES].notifications.read(actor_of(request), path_uuid(request, "notification"))
    return redirect(request, f"{ROOT}/notifications")
