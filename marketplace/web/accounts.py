"""Accounts over HTTP."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from kernel.web.clients import client_of
from marketplace.identity.accounts import Tokens
from marketplace.identity.lockout import Credentials
from marketplace.identity.spelling import MAX_EMAIL, MAX_PASSWORD, MIN_PASSWORD
from marketplace.model import Role
from marketplace.web import shapes
from marketplace.web.answers import success
from marketplace.web.bodies import Body, Text, current_actor, parse
from marketplace.web.fields import Email
from marketplace.web.state import SERVICES
from protocol.codec import of

NewPassword = Annotated[str, Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD, repr=False)]
Password = Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD, repr=False)]


class NewUser(Body):
    email: Email
    password: NewPassword
    role: Role
    name: Annotated[Text, Field(min_length=1, max_length=120)]


class Login(Body):
    email: Annotated[Text, Field(min_length=1, max_length=MAX_EMAIL)]
    password: Password
    code: Annotated[str | None, Field(min_length=1, max_length=64, repr=False)] = None


class ChangePassword(Body):
    current_password: Password
    new_password: NewPassword


class Refresh(Body):
    refresh_token: Annotated[str, Field(min_length=1, max_length=256, repr=False)]


def issued(tokens: Tokens) -> shapes.Tokens:
    """Return what a login handed out."""
    return shapes.Tokens(access_token=tokens.access, refresh_token=tokens.refresh)


def client(request: web.Request) -> str:
    """Return from where somebody asks."""
    return client_of(request, request.app[SERVICES].trusted_hops)


def credentials(request: web.Request, body: Login) -> Credentials:
    """Return what somebody signs in with."""
    return Credentials(body.email, body.password, body.code, client(request))


async def create(request: web.Request) -> web.Response:
    """POST /api/admin/users"""
    actor = current_actor(request, Role.ADMIN)
    body = await parse(request, NewUser)
    user = await request.app[SERVICES].accounts.create(
        email=body.email, password=body.password, role=body.role, name=body.name, by=actor
    )
    return success(shapes.OneUser(user=of(shapes.User, user)), status=201)


async def login(request: web.Request) -> web.Response:
    """POST /api/auth/login"""
    body = await parse(request, Login)
    user, tokens = await request.app[SERVICES].accounts.login(credentials(request, body))
    return success(shapes.LoggedIn(tokens=issued(tokens), user=of(shapes.User, user)))


async def refresh(request: web.Request) -> web.Response:
    """POST /api/auth/refresh-token"""
    body = await parse(request, Refresh)
    renewed = await request.app[SERVICES].accounts.refresh(body.refresh_token)
    return success(shapes.Refreshed(tokens=issued(renewed)))


async def change_password(request: web.Request) -> web.Response:
    """POST /api/auth/password"""
    actor = current_actor(request)
    body = await parse(request, ChangePassword)
    given = (body.current_password, body.new_password, client(request))
    renewed = await request.app[SERVICES].accounts.change_password(actor, *given)
    return success(shapes.Refreshed(tokens=issued(renewed)))


async def me(request: web.Request) -> web.Response:
    """GET /api/auth/me"""
    return success(
        shapes.OneUser(user=of(shapes.User, await request.app[SERVICES].accounts.me(current_actor(request))))
    )
