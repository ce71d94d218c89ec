"""Who may see the pages: a session in a cookie, a role for each page, a token in every form, failures as pages."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from kernel.pages.kit import redirect
from kernel.web.browser_sessions import BrowserCookies, form_token
from kernel.web.connections import prove
from kernel.web.forms import FORM_TOKEN, ForeignForm
from marketplace.errors import Refused, forbidden
from marketplace.identity.lockout import Credentials
from marketplace.model import Actor, Role, User
from marketplace.web.middlewares import PAGES, REQUEST_ID, count, is_page, route_of
from marketplace.web.pages.meaning import meaning, of_refusal
from marketplace.web.pages.view import SIGNED_IN, show
from marketplace.web.state import SERVICES

log = logging.getLogger(__name__)

COOKIE: Final = "amn_admin"
LOGIN: Final = f"{PAGES}/login"
LINK: Final = f"{PAGES}/links/{{token}}"
ACCOUNT: Final = f"{PAGES}/account"
FOR_ALL: Final = {LOGIN, LINK, f"{PAGES}/links/done"}  # without a session


def actor_of(request: web.Request) -> Actor:
    """Return who asks for a page."""
    user = request[SIGNED_IN]
    return Actor(user.id, user.role)


class Guard:
    """Signs browsers in and out, and lets nobody see what is not for their role."""

    def __init__(self, roles: Mapping[tuple[str, str], frozenset[Role]], cookies: BrowserCookies) -> None:
        self._roles = roles
        self.cookies = cookies

    async def sign_in(self, request: web.Request, given: Credentials) -> web.Response:
        """Open a session for whoever has an account's credentials."""
        sessions = request.app[SERVICES].admin_sessions
        token = await sessions.open(given)
        # Whoever has a copy of the session that is replaced would keep it for hours, and nobody could end it.
        await sessions.close(self.cookies.token(request))
        response = redirect(request, PAGES)
        self.cookies.sign_in(request, response, token)
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session of this browser."""
        await request.app[SERVICES].admin_sessions.close(self.cookies.token(request))
        response = redirect(request, LOGIN)
        self.cookies.sign_out(response)
        return response

    def middleware(self) -> Middleware:
        """Return what stands before every page; failures of a page are a page as well."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not is_page(request.path):
                return await handler(request)
            try:
                refusal = await self._admit(request)
                return await handler(request) if refusal is None else refusal
            except Exception as exc:  # noqa: BLE001 - as `errors` does, in the shape of a page
                return failed(request, exc)

        return middleware

    async def _admit(self, request: web.Request) -> web.StreamResponse | None:
        """Let whoever is signed in pass where their role may be; send whoever is not to the form to sign in."""
        if route_of(request) in FOR_ALL:
            count(request, "all", *(["login"] if request.method == hdrs.METH_POST else []))
            request[FORM_TOKEN] = self.cookies.form_of(request)[0]
            return None
        user = await self._holds(request)
        if user is None:
            count(request, "all")
            if request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
                return redirect(request, LOGIN)
            raise Refused("unauthorized", "You are signed out. Sign in and do it again.")
        prove(request)
        if not await self._has_enough(request, user):
            return redirect(request, ACCOUNT)
        request[SIGNED_IN], request[FORM_TOKEN] = user, form_token(self.cookies.token(request))
        method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
        roles = self._roles.get((method, route_of(request)))
        if roles is not None and user.role not in roles:  # what is no page is refused as such behind this
            raise forbidden(f"this is for {' and '.join(sorted(roles))} only")
        return None

    async def _has_enough(self, request: web.Request, user: User) -> bool:
        """Say whether somebody has the second factor their role has to have, or is about to add it, or to leave."""
        services, path = request.app[SERVICES], request.path
        if user.role not in services.second_factors.required or path in {f"{PAGES}/logout", ACCOUNT}:
            return True
        standing = await services.standings.of(user.id)
        return path.startswith(f"{ACCOUNT}/") or (standing is not None and standing.second_factor)

    async def still_signed_in(self, request: web.Request) -> bool:
        """Say whether the session of a request that is being answered for long is not over yet."""
        now = await self._holds(request)
        return now is not None and now.role == request[SIGNED_IN].role

    async def _holds(self, request: web.Request) -> User | None:
        return await request.app[SERVICES].admin_sessions.of(self.cookies.token(request))


def failed(request: web.Request, exc: Exception) -> web.StreamResponse:
    """Return the page of a failure; a bug is logged and told as such, without its insides."""
    if isinstance(exc, web.HTTPRedirection):
        raise exc
    if isinstance(exc, ForeignForm):
        return show(request, "back_office_error.html", status=403, title=HTTPStatus.FORBIDDEN.phrase, why=str(exc))
    known = meaning(exc)
    if known is None:
        where = (request.method, route_of(request), request[REQUEST_ID])
        log.error("[admin] %s %s failed (request %s)", *where, exc_info=exc)
        known = of_refusal(Refused("internal", "something went wrong here; it was logged"))
    title = HTTPStatus(known.status).phrase
    response = show(request, "back_office_error.html", status=known.status, title=title, why=known.why)
    response.headers.update(known.headers)
    return response
