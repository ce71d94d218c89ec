"""People: found, and added."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from marketplace.model import Role
from marketplace.web import accounts as api
from marketplace.web.pages import forms
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.view import ROOT, show
from marketplace.web.state import SERVICES


async def listing(request: web.Request) -> web.Response:
    """GET /admin/users"""
    return await _page(request)


async def _page(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    wanted = asked(request, api.ListUsers)
    found, total = await request.app[SERVICES].accounts.listing(wanted.part(), text=wanted.q, role=wanted.role)
    return show(
        request,
        "admin_users.html",
        status=status,
        users=found,
        total=total,
        next=next_page(request, f"{ROOT}/users", wanted.part(), total),
        wanted=wanted,
        roles=[(each.value, each.value) for each in Role],
        **context,
    )


async def create(request: web.Request) -> web.Response:
    """POST /admin/users"""

    async def action() -> None:
        body = await forms.read(request, api.NewUser)
        await request.app[SERVICES].accounts.create(
            email=body.email, password=body.password, role=body.role, name=body.name
        )

    return await forms.attempt(request, action, _page, f"{ROOT}/users")
