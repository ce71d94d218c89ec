"""Invitations, links for a new password, and registration, over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from marketplace.identity.links import HandedOut
from marketplace.model import Role
from marketplace.store.account_links import Link
from marketplace.web import account_shapes as shapes
from marketplace.web import shapes as common
from marketplace.web.accounts import NewPassword, client, issued
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Listing, Text, current_actor, parse, parse_query, path_uuid
from marketplace.web.fields import Email
from marketplace.web.state import SERVICES
from protocol.codec import of

Name = Annotated[Text, Field(min_length=1, max_length=120)]
Token = Annotated[str, Field(min_length=1, max_length=256, repr=False)]


class Invite(Body):
    email: Email
    role: Role


class Join(Body):
    token: Token
    name: Name
    password: NewPassword


class Reset(Body):
    token: Token
    password: NewPassword


class Register(Body):
    email: Email
    password: NewPassword
    role: Literal[Role.BUYER, Role.SELLER]
    name: Name


def invitation(link: Link) -> shapes.Invitation:
    """Return an invitation, without what it takes to use it."""
    return of(shapes.Invitation, link)


async def invite(request: web.Request) -> web.Response:
    """POST /api/admin/invitations"""
    actor = current_actor(request, Role.ADMIN)
    body = await parse(request, Invite)
    made = await request.app[SERVICES].links.invite(actor, body.email, body.role)
    return success(shapes.NewInvitation(invitation=invitation(made.link), **_link(made)), status=201)


async def invitations(request: web.Request) -> web.Response:
    """GET /api/admin/invitations"""
    current_actor(request, Role.ADMIN)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].links.invitations(page)
    return paged(shapes.InvitationPage, total, page, invitations=map(invitation, found))


async def revoke(request: web.Request) -> web.Response:
    """POST /api/admin/invitations/{id}/revoke"""
    actor = current_actor(request, Role.ADMIN)
    await request.app[SERVICES].links.revoke(actor, path_uuid(request, "invitation"))
    return success(shapes.Done(done=True))


async def order_reset(request: web.Request) -> web.Response:
    """POST /api/admin/users/{id}/reset"""
    actor = current_actor(request, Role.ADMIN)
    made = await request.app[SERVICES].links.order_reset(actor, path_uuid(request, "user"))
    return success(shapes.NewReset(expires_at=common.Time(made.link.expires_at), **_link(made)), status=201)


async def join(request: web.Request) -> web.Response:
    """POST /api/auth/join"""
    body = await parse(request, Join)
    user, tokens = await request.app[SERVICES].links.join(body.token, body.name, body.password)
    return success(common.LoggedIn(tokens=issued(tokens), user=of(common.User, user)), status=201)


async def reset(request: web.Request) -> web.Response:
    """POST /api/auth/reset-password"""
    body = await parse(request, Reset)
    user = await request.app[SERVICES].links.reset(body.token, body.password, client(request))
    return success(common.OneUser(user=of(common.User, user)))


async def register(request: web.Request) -> web.Response:
    """POST /api/auth/register"""
    body = await parse(request, Register)
    await request.app[SERVICES].links.register(email=body.email, password=body.password, role=body.role, name=body.name)
    return success(shapes.Done(done=True), status=202)


def _link(made: HandedOut) -> dict[str, str]:
    return {"token": made.token, "path": f"/admin/links/{made.token}"}
