"""The headers of every answer: what a browser may do with it, and pages of which other sites may read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from marketplace.web.middlewares import is_page

# Answers hold tokens, addresses and names: no browser or proxy keeps them, none shows one as a page of its own.
EVERYWHERE: Final[Mapping[str, str]] = {
    hdrs.CACHE_CONTROL: "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HSTS: Final = "max-age=31536000"
SENT: Final = "Authorization, Content-Type, Last-Event-ID, X-Request-Id"
READ: Final = "Retry-After, X-Request-Id"
PREFLIGHT_S: Final = "600"
NO_CONTENT: Final = 204


def secured(response: web.StreamResponse) -> None:
    """Put the headers on an answer; what a page or a file says of itself stays."""
    for name, value in EVERYWHERE.items():
        response.headers.setdefault(name, value)


class CrossOrigin:
    """
    Lets pages of exactly these origins read what the API answers.

    Cookies never count: they open the pages of admins alone, and those are shown to no other origin.
    """

    def __init__(self, origins: tuple[str, ...], *, public_url: str | None) -> None:
        self._origins = frozenset(origins)
        self._tls = urlsplit(public_url or "").scheme == "https"

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Complete an answer just before it is sent: a stream and a failure as well."""
        secured(response)
        if self._tls:
            response.headers.setdefault("Strict-Transport-Security", HSTS)
        if not self._origins or is_page(request.path):
            return
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)  # a cache would hand one origin's answer to another
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in self._origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = READ

    def middleware(self) -> Middleware:
        """Return what answers a browser that asks first; it changes nothing, and is not counted."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
            known = request.headers.get(hdrs.ORIGIN) in self._origins and not is_page(request.path)
            if request.method != hdrs.METH_OPTIONS or asked is None or not known:
                return await handler(request)
            methods = _methods(request)
            if asked not in methods:
                return await handler(request)
            allowed = {
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(methods)),
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: SENT,
                hdrs.ACCESS_CONTROL_MAX_AGE: PREFLIGHT_S,
            }
            return web.Response(status=NO_CONTENT, headers=allowed)

        return middleware


def _methods(request: web.Request) -> set[str]:
    """Return the methods that the path asked for has."""
    failure = request.match_info.http_exception
    return set(failure.allowed_methods) if isinstance(failure, web.HTTPMethodNotAllowed) else set()
