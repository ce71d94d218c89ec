"""Fees: what they brought, and the rates of single sellers."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from marketplace.payments.fees import MAX_FEE_BPS, percent
from marketplace.web import fees as api
from marketplace.web.pages import forms
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.people import names, teller
from marketplace.web.pages.view import ROOT, SIGNED_IN, show
from marketplace.web.state import SERVICES


class SetFee(api.SetFee):
    """Back to the platform's rate where the field is left empty."""

    bps: int | None = None


async def listing(request: web.Request) -> web.Response:
    """GET /admin/fees"""
    return await _page(request)


async def _page(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    services, wanted = request.app[SERVICES], asked(request, api.ListFees)
    found = await services.fees.overview(wanted.part(), seller_id=wanted.seller_id, in_force=wanted.in_force)
    people = {person for each in found.changes for person in (each.seller_id, each.set_by)}
    return show(
        request,
        "admin_fees.html",
        status=status,
        fees=found,
        collected=[api.collected(each, services.catalog) for each in found.collected],
        total=found.total,
        next=next_page(request, f"{ROOT}/fees", wanted.part(), found.total),
        wanted=wanted,
        percent=percent,
        most=MAX_FEE_BPS,
        who=teller(await names(request, *people), {request[SIGNED_IN].id: "you"}),
        **context,
    )


async def change(request: web.Request) -> web.Response:
    """POST /admin/fees"""

    async def action() -> None:
        body = await forms.read(request, SetFee, "bps")
        await request.app[SERVICES].fees.change(actor_of(request), body.seller_id, body.bps, body.note)

    return await forms.attempt(request, action, _page, f"{ROOT}/fees")
