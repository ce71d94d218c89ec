"""Who may see the console: a session in a cookie, a token in every form, failures as pages."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from api.console.view import CSRF, SESSION, redirect, show
from api.errors import ApiError, translate
from api.keys import SERVICES
from api.middlewares import ASKED_BY, CONSOLE, NOBODY, is_console, route_of
from config.settings import HttpSettings
from kernel.web.clients import client_ip
from kernel.web.connections import prove
from scanner.console_sessions import LIFE_MS, TOKEN_LENGTH, Session, form_token

log = logging.getLogger(__name__)

LOGIN: Final = "/console/login"
COOKIE: Final = "amn_console"  # who is signed in
FORM_COOKIE: Final = "amn_console_form"  # whose the form to sign in is
FIELD: Final = "csrf"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
UTF_8: Final = "utf-8"
MAX_KEY: Final = 1_000


class ForeignForm(Exception):
    """A form that carries no token of this browser's."""

    def __init__(self) -> None:
        super().__init__("This form is too old, or not ours. Go back, load the page again, and repeat.")


class Guard:
    """Signs browsers in and out, and lets nobody else see anything."""

    def __init__(self, settings: HttpSettings) -> None:
        self._keys = [key.get_secret_value() for key in settings.api_keys]
        self._hops = settings.trusted_hops
        public = urlsplit(settings.public_url or "")
        self._public_tls = public.scheme == "https"
        self._path = f"{public.path.rstrip('/')}{CONSOLE}"

    @property
    def asks_for_key(self) -> bool:
        return bool(self._keys)

    def client(self, request: web.Request) -> str:
        """Return the address that asks."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        return client_ip(request.remote or "", forwarded, self._hops)

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
        services.sessions.count_try(self.client(request))
        slot = self.slot_of(key) if len(key) <= MAX_KEY else None
        if slot is None:
            raise ApiError("unauthorized", "That is not an API key of this scanner.")
        token = await services.sessions.open(key if self._keys else "", slot)
        response = redirect(request, CONSOLE)
        self._keep(request, response, COOKIE, token, path=self._path)
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session of this browser."""
        await request.app[SERVICES].sessions.close(request.cookies.get(COOKIE, ""))
        response = redirect(request, LOGIN)
        response.del_cookie(COOKIE, path=self._path, httponly=True, samesite="Strict")
        return response

    def form_of(self, request: web.Request) -> tuple[str, str | None]:
        """Return the token of the form to sign in, and a secret that this browser has to keep for it."""
        held = request.cookies.get(FORM_COOKIE, "")
        if len(held) == TOKEN_LENGTH and held.isascii():
            return form_token(held), None
        made = secrets.token_urlsafe(32)
        return form_token(made), made

    def keep_form(self, request: web.Request, response: web.Response, made: str | None) -> web.Response:
        """Let the browser keep the secret of its form."""
        if made is not None:
            self._keep(request, response, FORM_COOKIE, made, path=self._path)
        return response

    def _keep(self, request: web.Request, response: web.Response, name: str, value: str, *, path: str) -> None:
        response.set_cookie(
            name,
            value,
            path=path,
            max_age=LIFE_MS // 1000,
            httponly=True,
            samesite="Strict",
            secure=self._behind_tls(request),
        )

    def _behind_tls(self, request: web.Request) -> bool:
        if self._public_tls or request.secure:
            return True
        # What anybody else says of itself proves nothing; our own proxy's word is the last one.
        said = request.headers.getall("X-Forwarded-Proto", [])
        return self._hops > 0 and bool(said) and said[-1].rpartition(",")[2].strip().lower() == "https"

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
            request[CSRF] = self.form_of(request)[0]
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
            request[CSRF] = form_token(request.cookies[COOKIE])
        return found

    async def still_signed_in(self, request: web.Request) -> bool:
        """Say whether the session of a request that is being answered for long is not over yet."""
        return await self._holds(request) is not None

    async def _holds(self, request: web.Request) -> Session | None:
        return await request.app[SERVICES].sessions.of(request.cookies.get(COOKIE, ""), self._keys or [""])


async def form(request: web.Request, *names: str) -> Mapping[str, str]:
    """
    Return the fields of a form of ours; what is missing is empty.

    Raises:
        ApiError: it is no form of ours.
    """
    # Read as anything else, bytes could become text that cannot be written down again.
    if request.content_type != FORM_TYPE or (request.charset or UTF_8).lower() != UTF_8:
        raise ApiError("invalid_request", f"a form is sent as {FORM_TYPE} in {UTF_8}")
    try:
        sent = await request.post()
    except UnicodeDecodeError as exc:
        raise ApiError("invalid_request", f"the form is not {UTF_8}") from exc
    given = sent.get(FIELD, "")
    # A page of somebody else's could send a form here with the cookie of this browser.
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), request[CSRF].encode()):
        raise ForeignForm
    return {name: _text(sent.get(name)) for name in names}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def failed(request: web.Request, exc: Exception) -> web.StreamResponse:
    """Return the page of a failure; a bug is logged and told as such, without its insides."""
    if isinstance(exc, web.HTTPRedirection):
        raise exc
    if isinstance(exc, ForeignForm):
        return show(request, "console_error.html", status=403, title=HTTPStatus.FORBIDDEN.phrase, why=str(exc))
    known = translate(exc)
    if known is None:
        log.error("[api] %s %s failed", request.method, route_of(request), exc_info=exc)
        known = ApiError("internal", "something went wrong here; it was logged")
    response = show(request, "console_error.html", status=known.status, title=_title(known), why=str(known))
    response.headers.update(known.headers)
    return response


def _title(error: ApiError) -> str:
    return HTTPStatus(error.status).phrase
