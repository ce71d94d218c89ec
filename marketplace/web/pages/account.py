"""One's own account at the pages: a new password, and a second factor."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kernel.pages.qr import qr_image
from kernel.web.forms import read_form
from marketplace.model import Channel
from marketplace.notifications.channels import CATEGORIES
from marketplace.web import second_factors as api
from marketplace.web.accounts import ChangePassword, client
from marketplace.web.pages import forms
from marketplace.web.pages.guard import ACCOUNT, actor_of
from marketplace.web.pages.sign_in import GUARD
from marketplace.web.pages.view import SIGNED_IN, show
from marketplace.web.state import SERVICES


async def page(request: web.Request) -> web.Response:
    """GET /admin/account"""
    return await _page(request)


async def _page(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    services, user = request.app[SERVICES], request[SIGNED_IN]
    context.setdefault("code", None)
    standing = await services.standings.of(user.id)
    pending = await services.second_factors.pending(actor_of(request))
    return show(
        request,
        "admin_account.html",
        status=status,
        user=user,
        enrolled=standing is not None and standing.second_factor,
        required=user.role in services.second_factors.required,
        pending=pending,
        chosen=await services.channels.show(actor_of(request)),
        categories=CATEGORIES,
        qr=None if pending is None else qr_image(pending.uri),
        **context,
    )


async def choose(request: web.Request) -> web.Response:
    """POST /admin/account/channels"""

    async def action() -> None:
        boxes = {f"{channel}-{category}": (channel, category) for channel in Channel for category in CATEGORIES}
        given = await read_form(request, *boxes)
        wanted = [boxes[name] for name, value in given.items() if value]
        await request.app[SERVICES].channels.choose(actor_of(request), wanted)

    return await forms.attempt(request, action, _page, ACCOUNT)


async def link(request: web.Request) -> web.Response:
    """POST /admin/account/telegram"""
    codes: list[str] = []

    async def action() -> None:
        await read_form(request)
        codes.append((await request.app[SERVICES].channels.start_link(actor_of(request)))[0])

    response = await forms.attempt(request, action, _page, ACCOUNT)
    return await _page(request, code=codes[0]) if codes else response


async def unlink(request: web.Request) -> web.Response:
    """POST /admin/account/telegram/unlink"""

    async def action() -> None:
        await read_form(request)
        await request.app[SERVICES].channels.unlink(actor_of(request))

    return await forms.attempt(request, action, _page, ACCOUNT)


async def change_password(request: web.Request) -> web.Response:
    """POST /admin/account/password"""
    tokens: list[str] = []

    async def action() -> None:
        body = await forms.read(request, ChangePassword)
        sessions = request.app[SERVICES].admin_sessions
        given = (body.current_password, body.new_password, client(request))
        tokens.append(await sessions.change_password(actor_of(request), *given))

    response = await forms.attempt(request, action, _page, ACCOUNT)
    if tokens:
        request.app[GUARD].cookies.sign_in(request, response, tokens[0])
    return response


async def start(request: web.Request) -> web.Response:
    """POST /admin/account/second-factor"""

    async def action() -> None:
        body = await forms.read(request, api.Start)
        await request.app[SERVICES].second_factors.start(actor_of(request), body.password)

    return await forms.attempt(request, action, _page, ACCOUNT)


async def confirm(request: web.Request) -> web.Response:
    """POST /admin/account/second-factor/confirm"""
    codes: list[str] = []

    async def action() -> None:
        body = await forms.read(request, api.Confirm)
        codes.extend(await request.app[SERVICES].second_factors.confirm(actor_of(request), body.code))

    response = await forms.attempt(request, action, _page, ACCOUNT)
    return show(request, "admin_recovery_codes.html", codes=codes) if codes else response


async def remove(request: web.Request) -> web.Response:
    """POST /admin/account/second-factor/remove"""

    async def action() -> None:
        body = await forms.read(request, api.Remove)
        await request.app[SERVICES].second_factors.remove(actor_of(request), body.password, body.code)

    return await forms.attempt(request, action, _page, ACCOUNT)
