"""What happens around every request: authentication, errors in one shape, measurements."""

from __future__ import annotations

import functools
import hmac
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import SecretStr

from api.errors import ApiError, from_http, render, translate
from kernel.web.connections import prove
from kernel.web.http_errors import HttpError
from protocol.routes import PAGES, ROUTES
from scanner.upkeep.metrics import Metrics

log = logging.getLogger(__name__)

NO_ROUTE = ("any", "unknown")  # method and route, as labels: a stranger chooses neither
ASKED_BY = web.RequestKey("asked_by", str)  # of a request: the slot of the key it showed
NOBODY = "0"  # where no key is configured
OPEN_ROUTES = frozenset(route.path for route in (*ROUTES, *PAGES) if route.is_open)
CONSOLE = "/console"
NOT_LOOPBACK = (
    "without SCANNER_API_KEY only requests whose Host, and Origin if there is one, is this machine (localhost, "
    "127.0.0.1, [::1]) are answered: set SCANNER_API_KEY"
)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]{1,5})?")


def route_of(request: web.Request) -> str:
    """Return the route's pattern: a label with few values, unlike the path."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else NO_ROUTE[1]


def measure(metrics: Metrics) -> Middleware:
    """Count and time every request by route."""
    # Looked up once for each of a few labels: a stranger chooses none.
    requests, seconds = functools.cache(metrics.http_requests.labels), functools.cache(metrics.http_seconds.labels)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        response = await handler(request)
        route = route_of(request)
        method = request.method if route != NO_ROUTE[1] else NO_ROUTE[0]
        requests(method, route, response.status).inc()
        seconds(method, route).observe(time.perf_counter() - started)
        return response

    return middleware


def unrouted(metrics: Metrics) -> Callable[[HttpError], web.Response]:
    """Render, and count, what no route had a part in."""

    def answer(error: HttpError) -> web.Response:
        response = render(from_http(error))
        metrics.http_requests.labels(*NO_ROUTE, response.status).inc()
        return response

    return answer


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Render every failure in the one shape; a bug is logged and told as such, without its insides."""
    try:
        return await handler(request)
    except Exception as exc:
        known = translate(exc)
        if known is None:
            log.exception("[api] %s %s failed", request.method, route_of(request))
            known = ApiError("internal", "something went wrong here; it was logged")
        return render(known)


def authenticate(keys: Sequence[SecretStr]) -> Middleware:
    """
    Ask for one of the API keys on every route but the open ones.

    Without any key the API is for this machine alone, and `Host` has to say so: a page in a browser here
    would otherwise reach it by a name that its owner lets resolve to 127.0.0.1 (DNS rebinding). `Origin` as well:
    a page may send a body to 127.0.0.1 itself, as long as it does not ask to read the answer.
    """
    expected = [f"Bearer {key.get_secret_value()}".encode() for key in keys]

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[ASKED_BY] = NOBODY
        if not expected and not all(is_loopback(host) for host in _named(request)):
            raise ApiError("forbidden_host", NOT_LOOPBACK)
        if is_console(request.path):  # it asks by itself, with a page
            return await handler(request)
        is_open = route_of(request) in OPEN_ROUTES
        if expected and not is_open:
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            right = [hmac.compare_digest(given, key) for key in expected]  # all of them: the time tells nothing
            if not any(right):
                raise ApiError("unauthorized", "a valid Authorization: Bearer <SCANNER_API_KEY> header is required")
            request[ASKED_BY] = str(right.index(True) + 1)
        if not is_open:
            prove(request)
        return await handler(request)

    return middleware


def is_console(path: str) -> bool:
    """Say whether a path is the console's."""
    return path == CONSOLE or path.startswith(f"{CONSOLE}/")


def _named(request: web.Request) -> list[str]:
    """Return the hosts a request names: `Host`, that of an absolute target, and whose page it comes from."""
    named = [request.headers.get("Host", "")]
    if not request.raw_path.startswith(("/", "*")):
        named.append(request.url.raw_authority)
    if "Origin" in request.headers:
        named.append(request.headers["Origin"].partition("://")[2])
    return named


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Say whether a Host header names this machine itself, with or without a port."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = (found["v6"] or found["name"]).lower().removesuffix(".")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
