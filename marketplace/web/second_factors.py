"""Second factors over HTTP."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from marketplace.model import Role
from marketplace.web import account_shapes as shapes
from marketplace.web.accounts import Password
from marketplace.web.answers import success
from marketplace.web.bodies import Body, current_actor, parse, path_uuid
from marketplace.web.state import SERVICES

Code = Annotated[str, Field(min_length=1, max_length=64, repr=False)]


class Start(Body):
    password: Password


class Confirm(Body):
    code: Code


class Remove(Body):
    password: Password
    code: Code


async def start(request: web.Request) -> web.Response:
    """POST /api/auth/second-factor"""
    actor = current_actor(request, Role.ADMIN, Role.RESOLVER)
    body = await parse(request, Start)
    made = await request.app[SERVICES].second_factors.start(actor, body.password)
    return success(shapes.Enrolment(secret=made.secret, uri=made.uri), status=201)


async def confirm(request: web.Request) -> web.Response:
    """POST /api/auth/second-factor/confirm"""
    actor = current_actor(request, Role.ADMIN, Role.RESOLVER)
    body = await parse(request, Confirm)
    codes = await request.app[SERVICES].second_factors.confirm(actor, body.code)
    return success(shapes.RecoveryCodes(recovery_codes=tuple(codes)))


async def remove(request: web.Request) -> web.Response:
    """POST /api/auth/second-factor/remove"""
    actor = current_actor(request, Role.ADMIN, Role.RESOLVER)
    body = await parse(request, Remove)
    await request.app[SERVICES].second_factors.remove(actor, body.password, body.code)
    return success(shapes.Done(done=True))


async def remove_of(request: web.Request) -> web.Response:
    """POST /api/admin/users/{id}/remove-second-factor"""
    actor = current_actor(request, Role.ADMIN)
    await request.app[SERVICES].second_factors.remove_of(actor, path_uuid(request, "user"))
    return success(shapes.Done(done=True))
