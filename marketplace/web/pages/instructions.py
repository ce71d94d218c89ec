"""Instructions to move money out: what is to be carried out, and with which transaction it was."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from marketplace.web import admin
from marketplace.web.bodies import path_uuid
from marketplace.web.pages import forms
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.view import ROOT, show
from marketplace.web.state import SERVICES


async def listing(request: web.Request) -> web.Response:
    """GET /admin/instructions"""
    return await _page(request)


async def _page(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    wanted = asked(request, admin.ListInstructions)
    found, total = await request.app[SERVICES].payouts.listing(wanted.part(), status=wanted.of_payments)
    return show(
        request,
        "admin_instructions.html",
        status=status,
        payouts=[(each, admin.ordered(each).instruction) for each in found],
        total=total,
        next=next_page(request, f"{ROOT}/instructions", wanted.part(), total),
        wanted=wanted,
        statuses=[(each, each) for each in admin.INSTRUCTIONS],
        **context,
    )


async def settle(request: web.Request) -> web.Response:
    """POST /admin/instructions/{id}/settle"""
    instruction_id = path_uuid(request, "instruction")

    async def action() -> None:
        body = await forms.read(request, admin.Settle)
        await request.app[SERVICES].payout_settlements.settle(actor_of(request), instruction_id, body.tx_hash)

    return await forms.attempt(request, action, _page, f"{ROOT}/instructions")
