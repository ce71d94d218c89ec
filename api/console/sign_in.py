"""Signing in and out."""

from __future__ import annotations

from aiohttp import web

from api.console.guard import Guard
from api.console.view import show
from api.errors import ApiError, translate
from kernel.web.forms import read_form
from kernel.web.http_errors import HttpError
from scanner.errors import RateLimited

GUARD = web.AppKey("console guard", Guard)


async def page(request: web.Request) -> web.Response:
    """GET /console/login"""
    return _page(request)


async def sign_in(request: web.Request) -> web.Response:
    """POST /console/login"""
    guard = request.app[GUARD]
    try:
        given = await read_form(request, "key")
        return await guard.sign_in(request, given["key"])
    except (ApiError, HttpError, RateLimited) as exc:
        return _page(request, refused=translate(exc))


async def sign_out(request: web.Request) -> web.Response:
    """POST /console/logout"""
    await read_form(request)
    return await request.app[GUARD].sign_out(request)


def _page(request: web.Request, refused: ApiError | None = None) -> web.Response:
    guard = request.app[GUARD]
    token, made = guard.cookies.form_of(request)
    response = show(
        request,
        "console_login.html",
        status=200 if refused is None else refused.status,
        form_token=token,
        asks_for_key=guard.asks_for_key,
        refused=None if refused is None else str(refused),
    )
    if refused is not None:
        response.headers.update(refused.headers)
    return guard.cookies.keep_form(request, response, made)
