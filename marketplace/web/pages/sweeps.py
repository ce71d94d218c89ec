"""Derived addresses with what lies there, and files of unsigned transactions that empty them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from marketplace.payments.sweeps.builder import Purpose
from marketplace.web import sweeps as api
from marketplace.web.pages import forms
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.view import HEADERS, ROOT, show
from marketplace.web.state import SERVICES


async def listing(request: web.Request) -> web.Response:
    """GET /admin/addresses"""
    return await _page(request)


async def _page(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    services, wanted = request.app[SERVICES], asked(request, api.ListAddresses)
    found, total = await services.derived_addresses.listing(wanted.part(), chain_id=wanted.chain_id)
    return show(
        request,
        "admin_addresses.html",
        status=status,
        addresses=[(each, api.address(each)) for each in found],
        total=total,
        next=next_page(request, f"{ROOT}/addresses", wanted.part(), total),
        wanted=wanted,
        chains=[(each.chain_id, f"{each.name} ({each.chain_id})") for each in services.catalog.chains.values()],
        purposes=[(each.value, each.value) for each in Purpose],
        **context,
    )


async def build(request: web.Request) -> web.Response:
    """POST /admin/sweeps/build: the file itself; its name ends with the beginning of its checksum"""
    made: list[web.Response] = []

    async def action() -> None:
        body = await forms.read(request, api.BuildSweep, "chainId")
        found = await request.app[SERVICES].sweeps.build(
            actor_of(request), chain_id=body.chain_id, token=body.token, purpose=body.purpose, cursor=body.cursor
        )
        headers = {
            **HEADERS,
            "Content-Type": "application/json",
            "Content-Disposition": f'attachment; filename="{found.name}"',
            "X-Checksum-Sha256": found.checksum,
        }
        made.append(web.Response(body=found.text.encode(), headers=headers))

    answer = await forms.attempt(request, action, _page, f"{ROOT}/addresses")
    return made[0] if made else answer
