"""What sellers offer to everybody, as an admin sees it: and takes off sale."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kernel.web.forms import read_form
from marketplace.web.bodies import Listing, path_uuid
from marketplace.web.pages import forms, people
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.view import ROOT, show
from marketplace.web.state import SERVICES

PLACE = f"{ROOT}/templates"


async def listing(request: web.Request) -> web.Response:
    """GET /admin/templates"""
    return await _page(request)


async def _page(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    page = asked(request, Listing).part()
    found, total = await request.app[SERVICES].shops.listing(actor_of(request), page)
    names = await people.names(request, *(each.seller_id for each in found))
    return show(
        request,
        "admin_templates.html",
        status=status,
        templates=found,
        names=names,
        total=total,
        next=next_page(request, PLACE, page, total),
        **context,
    )


async def close(request: web.Request) -> web.Response:
    """POST /admin/templates/{id}/close"""
    template_id = path_uuid(request, "template")

    async def action() -> None:
        await read_form(request)
        await request.app[SERVICES].shops.close(actor_of(request), template_id)

    return await forms.attempt(request, action, _page, PLACE)
