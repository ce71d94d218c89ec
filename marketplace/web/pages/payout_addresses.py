"""Where sellers proved that they are paid."""

from __future__ import annotations

from aiohttp import web

from marketplace.web import payout_addresses as api
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.people import names, teller
from marketplace.web.pages.view import ROOT, show
from marketplace.web.state import SERVICES


async def listing(request: web.Request) -> web.Response:
    """GET /admin/payout-addresses"""
    services, wanted = request.app[SERVICES], asked(request, api.ListPayoutAddresses)
    found, total = await services.payout_addresses.listing(wanted.part(), user_id=wanted.user_id)
    return show(
        request,
        "admin_payout_addresses.html",
        addresses=found,
        total=total,
        next=next_page(request, f"{ROOT}/payout-addresses", wanted.part(), total),
        who=teller(await names(request, *(each.user_id for each in found)), {}),
        now=services.units.clock.now_ms(),
    )
