"""Accounts over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from marketplace.identity.accounts import Tokens
from marketplace.model import Role, User
from marketplace.web.answers import ok
from marketplace.web.bodies import Body, Text, parse, who
from marketplace.web.fields import Email
from marketplace.web.state import SERVICES


class NewUser(Body):
    email: Email
    password: Annotated[str, Field(min_length=8, max_length=256, repr=False)]
    role: Role
    name: Annotated[Text, Field(min_length=1, max_length=120)]


class Login(Body):
    email: Annotated[Text, Field(min_length=1, max_length=254)]
    password: Annotated[str, Field(min_length=1, max_length=256, repr=False)]


class Refresh(Body):
    refresh_token: Annotated[str, Field(min_length=1, max_length=256, repr=False)]


def user_json(user: User) -> dict[str, Any]:
    """Render a user; the password's hash has no place here."""
    return {"id": user.id, "email": user.email, "role": user.role, "name": user.name}


def tokens_json(tokens: Tokens) -> dict[str, str]:
    """Render what a login hands out."""
    return {"accessToken": tokens.access, "refreshToken": tokens.refresh}


async def create(request: web.Request) -> web.Response:
    """POST /api/admin/users"""
    who(request, Role.ADMIN)
    body = await parse(request, NewUser)
    user = await request.app[SERVICES].accounts.create(
        email=body.email, password=body.password, role=body.role, name=body.name
    )
    return ok({"user": user_json(user)}, status=201)


async def login(request: web.Request) -> web.Response:
    """POST /api/auth/login"""
    body = await parse(request, Login)
    user, tokens = await request.app[SERVICES].accounts.login(body.email, body.password)
    return ok({"tokens": tokens_json(tokens), "user": user_json(user)})


async def refresh(request: web.Request) -> web.Response:
    """POST /api/auth/refresh-token"""
    body = await parse(request, Refresh)
    return ok({"tokens": tokens_json(await request.app[SERVICES].accounts.refresh(body.refresh_token))})


async def me(request: web.Request) -> web.Response:
    """GET /api/auth/me"""
    return ok({"user": user_json(await request.app[SERVICES].accounts.me(who(request)))})
