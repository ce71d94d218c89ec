"""People: found, added, looked at, suspended and let in again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kernel.web.forms import read_form
from marketplace.model import Page, Role
from marketplace.web import accounts as api
from marketplace.web import members
from marketplace.web.bodies import path_uuid
from marketplace.web.pages import forms
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.people import names
from marketplace.web.pages.view import ROOT, show
from marketplace.web.state import SERVICES

SHOWN_HISTORY = 100


async def listing(request: web.Request) -> web.Response:
    """GET /admin/users"""
    return await _page(request)


async def _page(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    wanted = asked(request, members.ListUsers)
    found, total = await request.app[SERVICES].members.listing(wanted.part(), text=wanted.q, role=wanted.role)
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
            email=body.email, password=body.password, role=body.role, name=body.name, by=actor_of(request)
        )

    return await forms.attempt(request, action, _page, f"{ROOT}/users")


async def one(request: web.Request) -> web.Response:
    """GET /admin/users/{id}"""
    return await _one(request)


async def _one(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    services, user_id = request.app[SERVICES], path_uuid(request, "user")
    member, sessions = await services.members.one(user_id)
    events, total = await services.members.history(user_id, Page(page=1, limit=SHOWN_HISTORY))
    return show(
        request,
        "admin_user.html",
        status=status,
        member=member,
        sessions=sessions,
        events=events,
        total=total,
        names=await names(request, *(each.by_user_id for each in events)),
        **context,
    )


async def suspend(request: web.Request) -> web.Response:
    """POST /admin/users/{id}/suspend"""

    async def action() -> None:
        body = await forms.read(request, members.Suspend)
        user_id = path_uuid(request, "user")
        await request.app[SERVICES].members.suspend(actor_of(request), user_id, body.reason)

    return await forms.attempt(request, action, _one, _place(request))


async def unsuspend(request: web.Request) -> web.Response:
    """POST /admin/users/{id}/unsuspend"""
    service = request.app[SERVICES].members
    return await _press(request, lambda: service.unsuspend(actor_of(request), path_uuid(request, "user")))


async def end_sessions(request: web.Request) -> web.Response:
    """POST /admin/users/{id}/end-sessions"""
    service = request.app[SERVICES].members
    return await _press(request, lambda: service.end_sessions(actor_of(request), path_uuid(request, "user")))


async def remove_second_factor(request: web.Request) -> web.Response:
    """POST /admin/users/{id}/remove-second-factor"""
    service = request.app[SERVICES].second_factors
    return await _press(request, lambda: service.remove_of(actor_of(request), path_uuid(request, "user")))


async def _press(request: web.Request, does: Callable[[], Awaitable[object]]) -> web.Response:
    """Do what a button without fields is for."""

    async def action() -> None:
        await read_form(request)
        await does()

    return await forms.attempt(request, action, _one, _place(request))


def _place(request: web.Request) -> str:
    return f"{ROOT}/users/{path_uuid(request, 'user')}"
