"""Invitations and links for a new password: handed out by admins, and used by whoever got one."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from kernel.pages.kit import relative
from kernel.web.browser_sessions import is_token
from kernel.web.forms import read_form
from marketplace.errors import Refused
from marketplace.identity.links import HandedOut
from marketplace.model import LinkKind, Role
from marketplace.web import links as api
from marketplace.web.accounts import NewPassword, client
from marketplace.web.bodies import Body, Listing, path_uuid
from marketplace.web.pages import forms
from marketplace.web.pages.guard import LINK, actor_of
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.sign_in import GUARD
from marketplace.web.pages.view import ROOT, show
from marketplace.web.state import SERVICES

INVITATIONS: Final = f"{ROOT}/invitations"


class Joining(Body):
    name: api.Name
    password: NewPassword


class Renewing(Body):
    password: NewPassword


async def listing(request: web.Request) -> web.Response:
    """GET /admin/invitations"""
    return await _listing(request)


async def _listing(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    page = asked(request, Listing).part()
    found, total = await request.app[SERVICES].links.invitations(page)
    now = request.app[SERVICES].units.clock.now_ms()
    return show(
        request,
        "admin_invitations.html",
        status=status,
        invitations=[(each, each.is_good(now)) for each in found],
        total=total,
        next=next_page(request, INVITATIONS, page, total),
        roles=[(each.value, each.value) for each in Role],
        **context,
    )


async def invite(request: web.Request) -> web.Response:
    """POST /admin/invitations"""
    made: list[HandedOut] = []

    async def action() -> None:
        body = await forms.read(request, api.Invite)
        made.append(await request.app[SERVICES].links.invite(actor_of(request), body.email, body.role))

    refused = await forms.attempt(request, action, _listing, INVITATIONS)
    return _handed_out(request, made[0]) if made else refused


async def revoke(request: web.Request) -> web.Response:
    """POST /admin/invitations/{id}/revoke"""

    async def action() -> None:
        await read_form(request)
        await request.app[SERVICES].links.revoke(actor_of(request), path_uuid(request, "invitation"))

    return await forms.attempt(request, action, _listing, INVITATIONS)


async def order_reset(request: web.Request) -> web.Response:
    """POST /admin/users/{id}/reset"""
    await read_form(request)
    made = await request.app[SERVICES].links.order_reset(actor_of(request), path_uuid(request, "user"))
    return _handed_out(request, made)


def _handed_out(request: web.Request, made: HandedOut) -> web.Response:
    """Show a link this once: nobody can read it again."""
    return show(request, "admin_link.html", link=made.link, way=relative(request.path, f"{ROOT}/links/{made.token}"))


async def look(request: web.Request) -> web.Response:
    """GET /admin/links/{token}"""
    return await _look(request)


async def _look(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    token = request.match_info["token"]
    link = await request.app[SERVICES].links.look(token) if is_token(token) else None
    if link is None:
        raise Refused("not_found", "this link was used, revoked, or is over: ask for another one")
    cookies = request.app[GUARD].cookies
    form, made = cookies.form_of(request)
    joins = link.kind is LinkKind.INVITATION
    shown = {"link": link, "joins": joins, "form_token": form, "here_": request.path}
    response = show(request, "admin_use_link.html", status=status, **shown, **context)
    return cookies.keep_form(request, response, made)


async def use(request: web.Request) -> web.Response:
    """POST /admin/links/{token}"""
    links, token = request.app[SERVICES].links, request.match_info["token"]
    link = await links.look(token) if is_token(token) else None

    async def action() -> None:
        if link is None or link.kind is LinkKind.INVITATION:
            body = await forms.read(request, Joining)
            await links.join(token, body.name, body.password)
        else:
            renewing = await forms.read(request, Renewing)
            await links.reset(token, renewing.password, client(request))

    return await forms.attempt(request, action, _look, LINK.replace("{token}", "done"))


async def used(request: web.Request) -> web.Response:
    """GET /admin/links/done"""
    return show(request, "admin_link_used.html")
