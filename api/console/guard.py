"""Who may see the console: a session in a cookie, a token in every form, failures as pages."""

from __future__ import annotations

import hmac
import logging
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from api.console.view import SESSION, show
from api.errors import ApiError, translate
from api.keys import SERVICES
from api.middlewares import ASKED_BY, CONSOLE, NOBODY, is_console, route_of
from config.settings import HttpSettings
from kernel.pages.kit import redirect
from kernel.web.browser_sessions import BrowserCookies, form_token
from kernel.web.connections import prove
from kernel.web.forms import FORM_TOKEN, ForeignForm
from scanner.console_sessions import Session

log = logging.getLogger(__name__)

LOGIN: Final = "/console/login"
COOKIE: Final = "amn_console"
MAX_KEY: Final = 1_000


class Guard:
    """Signs browsers in and out, and lets nobody else see anything."""

    def __init__(self, settings: HttpSettings) -> None:
        self._keys = [key.get_secret_value() for key in settings.api_keys]
        self.cookies = BrowserCookies(
            COOKIE, CONSOLE, public_url=settings.public_url, trusted_hops=settings.trusted_hops
        )

    @property
    def asks_for_key(self) -> bool:
        return bool(self._keys)

    def slot_of(self, key: str) -> str | None:
        """Return which key this is; None when it is none."""
        if not self._keys:
            return NOBODY
        right = [hmac.compare_digest(key.encode(), each.encode()) for each in self._keys]  # all: the time tells nothing
        return str(right.index(True) + 1) if any(right) else None

    async def sign_in(self, request: web.Request, key: str) -> web.Response:
        """
        Open a session for whoever shows a key.

        Raises:
            RateLimited: this address tried too often.
            ApiError: the key is none.
        """
        services = request.app[SERVICES]
        services.sessions.count_try(self.cookies.client(request))
        slot = self.slot_of(key) if len(key) <= MAX_KEY else None
        if slot is None:
            raise ApiError("unauthorized", "That is not an API key of this scanner.")
        # Whoever has a copy of the session that is replaced would keep it for hours, and nobody could end it.
        await services.sessions.close(self.cookies.token(request))
        token = await services.sessions.open(key if self._keys else "", slot)
        response = redirect(request, CONSOLE)
        self.cookies.sign_in(request, response, token)
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session of this browser."""
        await request.app[SERVICES].sessions.close(self.cookies.token(request))
        response = redirect(request, LOGIN)
        self.cookies.sign_out(response)
        return response

    def middleware(self) -> Middleware:
        """Return what stands before every page; failures of a page are a page as well."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not is_console(request.path):
                return await handler(request)
            try:
                refusal = await self._admit(request)
                return await handler(request) if refusal is None else refusal
            except Exception as exc:  # noqa: BLE001 - as `errors` does, in the shape of a page
                return failed(request, exc)

        return middleware

    async def _admit(self, request: web.Request) -> web.StreamResponse | None:
        """Let whoever is signed in pass; send whoever is not to the form to sign in."""
        if request.path == LOGIN:
            request[FORM_TOKEN] = self.cookies.form_of(request)[0]
            return None
        session = await self._session(request)
        if session is None:
            if request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
                return redirect(request, LOGIN)
            raise ApiError("unauthorized", "You are signed out. Sign in and do it again.")
        return None

    async def _session(self, request: web.Request) -> Session | None:
        found = await self._holds(request)
        if found is not None:
            prove(request)
            request[SESSION], request[ASKED_BY] = found, found.name
            request[FORM_TOKEN] = form_token(self.cookies.token(request))
        return found

    async def still_signed_in(self, request: web.Request) -> bool:
        """Say whether the session of a request that is being answered for long is not over yet."""
        return await self._holds(request) is not None

    async def _holds(self, request: web.Request) -> Session | None:
        return await request.app[SERVICES].sessions.of(self.cookies.token(request), self._keys or [""])


def failed(request: web.Request, exc: Exception) -> web.StreamResponse:
    """Return the page of a failure; a bug is logged and told as such, without its insides."""
    if isinstance(exc, web.HTTPRedirection):
        raise exc
    if isinstance(exc, ForeignForm):
        return show(request, "back_office_error.html", status=403, title=HTTPStatus.FORBIDDEN.phrase, why=str(exc))
    known = translate(exc)
    if known is None:
        log.error("[api] %s %s failed", request.method, route_of(request), exc_info=exc)
        known = ApiError("internal", "something went wrong here; it was logged")
    response = show(request, "back_office_error.html", status=known.status, title=_title(known), why=str(known))
    response.headers.update(known.headers)
    return response


def _title(error: ApiError) -> str:
    return HTTPStatus(error.status).phrase
