"""Signing in and out."""

from __future__ import annotations

from aiohttp import web

from api.console.guard import Guard, form
from api.console.view import show
from api.errors import ApiError, translate
from scanner.errors import RateLimited

GUARD = web.AppKey("console guard", Guard)


async def page(request: web.Request) -> web.Response:
    """GET /console/login"""
    return _page(request)


async def sign_in(request: web.Request) -> web.Response:
    """POST /console/login"""
    guard = request.app[GUARD]
    try:
        given = await form(request, "key")
        return await guard.sign_in(request, given["key"])
    except (ApiError, RateLimited) as exc:
        return _page(request, refused=translate(exc))


async def sign_out(request: web.Request) -> web.Response:
    """POST /console/logout"""
    await form(request)
    return await request.app[GUARD].sign_out(request)


def _page(request: web.Request, refused: ApiError | None = None) -> web.Response:
    guard = request.app[GUARD]
    token, made = guard.form_of(request)
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
    return guard.keep_form(request, response, made)
