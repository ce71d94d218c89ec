"""Signing in and out."""

from __future__ import annotations

from aiohttp import web
from pydantic import ValidationError

from kernel.web.forms import read_form
from marketplace.errors import Refused
from marketplace.web.accounts import Login, credentials
from marketplace.web.bodies import validated
from marketplace.web.pages.guard import Guard
from marketplace.web.pages.meaning import Meaning, meaning
from marketplace.web.pages.view import show

GUARD = web.AppKey("guard of the pages", Guard)


async def page(request: web.Request) -> web.Response:
    """GET /admin/login"""
    return _page(request)


async def sign_in(request: web.Request) -> web.Response:
    """POST /admin/login"""
    given = await read_form(request, "email", "password", "code")
    try:
        wanted = validated({name: value for name, value in given.items() if value}, Login)
        return await request.app[GUARD].sign_in(request, credentials(request, wanted))
    except (Refused, ValidationError) as exc:
        return _page(request, meaning(exc))


async def sign_out(request: web.Request) -> web.Response:
    """POST /admin/logout"""
    await read_form(request)
    return await request.app[GUARD].sign_out(request)


def _page(request: web.Request, refused: Meaning | None = None) -> web.Response:
    cookies = request.app[GUARD].cookies
    token, made = cookies.form_of(request)
    status = 200 if refused is None else refused.status
    why = None if refused is None else refused.why
    response = show(request, "admin_login.html", status=status, form_token=token, refused=why)
    return cookies.keep_form(request, response, made)
