"""Accounts as admins see them, over HTTP."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from marketplace.identity.members import Member
from marketplace.model import Role
from marketplace.web import account_shapes as shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Listing, Text, current_actor, parse, parse_query, path_uuid
from marketplace.web.state import SERVICES
from protocol.codec import of


class ListUsers(Listing):
    q: Annotated[str | None, Field(min_length=1, max_length=254)] = None
    role: Role | None = None


class Suspend(Body):
    reason: Annotated[Text, Field(min_length=3, max_length=2000)]


def account(member: Member) -> shapes.Account:
    """Return an account."""
    return of(shapes.Account, member.user, second_factor=member.second_factor)


async def listing(request: web.Request) -> web.Response:
    """GET /api/admin/users"""
    current_actor(request, Role.ADMIN)
    query = parse_query(request, ListUsers)
    found, total = await request.app[SERVICES].members.listing(query.part(), text=query.q, role=query.role)
    return paged(shapes.AccountPage, total, query.part(), users=map(account, found))


async def show(request: web.Request) -> web.Response:
    """GET /api/admin/users/{id}"""
    current_actor(request, Role.ADMIN)
    return await _shown(request, path_uuid(request, "user"))


async def history(request: web.Request) -> web.Response:
    """GET /api/admin/users/{id}/history"""
    current_actor(request, Role.ADMIN)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].members.history(path_uuid(request, "user"), page)
    return paged(shapes.EventPage, total, page, events=(of(shapes.Event, each) for each in found))


async def suspend(request: web.Request) -> web.Response:
    """POST /api/admin/users/{id}/suspend"""
    actor, user_id = current_actor(request, Role.ADMIN), path_uuid(request, "user")
    body = await parse(request, Suspend)
    await request.app[SERVICES].members.suspend(actor, user_id, body.reason)
    return await _shown(request, user_id)


async def unsuspend(request: web.Request) -> web.Response:
    """POST /api/admin/users/{id}/unsuspend"""
    actor, user_id = current_actor(request, Role.ADMIN), path_uuid(request, "user")
    await request.app[SERVICES].members.unsuspend(actor, user_id)
    return await _shown(request, user_id)


async def end_sessions(request: web.Request) -> web.Response:
    """POST /api/admin/users/{id}/end-sessions"""
    actor, user_id = current_actor(request, Role.ADMIN), path_uuid(request, "user")
    await request.app[SERVICES].members.end_sessions(actor, user_id)
    return await _shown(request, user_id)


async def _shown(request: web.Request, user_id: str) -> web.Response:
    member, sessions = await request.app[SERVICES].members.one(user_id)
    return success(
        shapes.OneAccount(user=account(member), sessions=tuple(of(shapes.Session, each) for each in sessions))
    )
