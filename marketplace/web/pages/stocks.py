"""Stocks of digital goods as an admin sees them: how many, of whom, never what."""

from __future__ import annotations

from aiohttp import web

from marketplace.web.bodies import Listing
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.view import ROOT, show
from marketplace.web.state import SERVICES


async def listing(request: web.Request) -> web.Response:
    """GET /admin/stocks"""
    page = asked(request, Listing).part()
    found, total = await request.app[SERVICES].stock.listing(actor_of(request), page)
    return show(
        request,
        "admin_stocks.html",
        stocks=found,
        total=total,
        next=next_page(request, f"{ROOT}/stocks", page, total),
    )
