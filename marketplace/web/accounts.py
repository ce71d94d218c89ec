"""Accounts over HTTP."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from marketplace.identity.accounts import Tokens
from marketplace.model import Role
from marketplace.web import shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Listing, Text, current_actor, parse, parse_query
from marketplace.web.fields import Email
from marketplace.web.state import SERVICES
from protocol.codec import of


class NewUser(Body):
    email: Email
    password: Annotated[str, Field(min_length=8, max_length=256, repr=False)]
    role: Role
    name: Annotated[Text, Field(min_length=1, max_length=120)]


class ListUsers(Listing):
    q: Annotated[str | None, Field(min_length=1, max_length=254)] = None
    role: Role | None = None


class Login(Body):
    email: Annotated[Text, Field(min_length=1, max_length=254)]
    password: Annotated[str, Field(min_length=1, max_length=256, repr=False)]


class Refresh(Body):
    refresh_token: Annotated[str, Field(min_length=1, max_length=256, repr=False)]


def _tokens(issued: Tokens) -> shapes.Tokens:
    return shapes.Tokens(access_token=issued.access, refresh_token=issued.refresh)


async def create(request: web.Request) -> web.Response:
    """POST /api/admin/users"""
    current_actor(request, Role.ADMIN)
    body = await parse(request, NewUser)
    user = await request.app[SERVICES].accounts.create(
        email=body.email, password=body.password, role=body.role, name=body.name
    )
    return success(shapes.OneUser(user=of(shapes.User, user)), status=201)


async def listing(request: web.Request) -> web.Response:
    """GET /api/admin/users"""
    current_actor(request, Role.ADMIN)
    query = parse_query(request, ListUsers)
    found, total = await request.app[SERVICES].accounts.listing(query.part(), text=query.q, role=query.role)
    return paged(shapes.UserPage, total, query.part(), users=(of(shapes.User, user) for user in found))


async def login(request: web.Request) -> web.Response:
    """POST /api/auth/login"""
    body = await parse(request, Login)
    user, tokens = await request.app[SERVICES].accounts.login(body.email, body.password)
    return success(shapes.LoggedIn(tokens=_tokens(tokens), user=of(shapes.User, user)))


async def refresh(request: web.Request) -> web.Response:
    """POST /api/auth/refresh-token"""
    body = await parse(request, Refresh)
    issued = await request.app[SERVICES].accounts.refresh(body.refresh_token)
    return success(shapes.Refreshed(tokens=_tokens(issued)))


async def me(request: web.Request) -> web.Response:
    """GET /api/auth/me"""
    return success(
        shapes.OneUser(user=of(shapes.User, await request.app[SERVICES].accounts.me(current_actor(request))))
    )
