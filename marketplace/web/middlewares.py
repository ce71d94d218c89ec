"""What happens around every request: its id, and failures in the one envelope."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid

from aiohttp import web
from aiohttp.typedefs import Handler

from kernel.errors import Collision
from kernel.web.clients import client_of
from kernel.web.http_errors import HttpError
from marketplace.errors import Refused
from marketplace.store.errors import Taken
from marketplace.web.answers import answer_to, http_refusal, refusal
from marketplace.web.bodies import bearer_token, look_up_session
from marketplace.web.state import SERVICES

log = logging.getLogger(__name__)

EXEMPT = frozenset(
    {
        ("GET", "/health"),  # whoever watches over us asks often
        ("GET", "/metrics"),
        ("GET", "/api/payment/{id}"),
        ("POST", "/api/payment/amn-scanner/webhook"),
        ("POST", "/api/payment/shkeeper/webhook"),
        ("POST", "/api/payment/request-network/webhook"),
    }
)

GUESSED = frozenset(  # where passwords, links and codes can be tried, or accounts made
    {
        "/api/auth/login",
        "/api/auth/password",
        "/api/auth/join",
        "/api/auth/reset-password",
        "/api/auth/register",
        "/api/auth/second-factor",
        "/api/auth/second-factor/remove",
    }
)

PAGES = "/admin"  # below which the pages of admins and resolvers are
MADE_OF = ("/assets/", "/favicon.ico")  # what pages are made of: a few files in memory
AGAIN_S = (0.01, 0.05, 0.2)

REQUEST_ID = web.RequestKey("request_id", str)
_CHOSEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def route_of(request: web.Request) -> str:
    """Return the route's pattern: unlike the path it holds nothing of a person."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def is_page(path: str) -> bool:
    """Say whether a path is one of the pages."""
    return path == PAGES or path.startswith(f"{PAGES}/")


@web.middleware
async def request_id(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every answer an id that a caller may choose."""
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if _CHOSEN.fullmatch(given) else uuid.uuid4().hex
    response = await handler(request)
    if not response.prepared:  # a stream sends its own
        response.headers["X-Request-Id"] = request[REQUEST_ID]
    return response


def unrouted(error: HttpError) -> web.Response:
    """Answer what no route had a part in, with an id of its own like everything else."""
    response = http_refusal(error)
    response.headers["X-Request-Id"] = uuid.uuid4().hex
    return response


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Render every failure in the one shape; a bug is logged and told as such, without its insides."""
    try:
        return await handler(request)
    except Exception as exc:
        answer = answer_to(exc)
        if answer is None:
            log.exception("[api] %s %s failed (request %s)", request.method, route_of(request), request[REQUEST_ID])
            answer = refusal(Refused("internal", "something went wrong here; it was logged"))
        return answer


@web.middleware
async def sessions(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Look up whether the session of a token was ended before its time: by a suspension, or with a password."""
    if bearer_token(request):
        await look_up_session(request)
    return await handler(request)


@web.middleware
async def again(request: web.Request, handler: Handler) -> web.StreamResponse:
    """
    Ask once more where another process wrote the same at the same time: what it wrote is seen now.

    Such a transaction was undone whole, and the request is answered as if it had come a moment later.
    """
    shared = request.app[SERVICES].units.db.shared
    for pause_s in AGAIN_S if shared else ():
        try:
            return await handler(request)
        except (Collision, Taken):
            await asyncio.sleep(pause_s)
    return await handler(request)


@web.middleware
async def limits(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let each client ask so often and no more; what the scanner sends and what pages poll is exempt."""
    route = (request.method, route_of(request))
    # The pages know who is signed in, and count everybody else.
    if route not in EXEMPT and not is_page(request.path) and not request.path.startswith(MADE_OF):
        count(request, *_counted_as(route[1]))
    return await handler(request)


def count(request: web.Request, *names: str) -> None:
    """
    Count a request of a client under some limits.

    Raises:
        Refused: there were enough.
    """
    services = request.app[SERVICES]
    ip = client_of(request, services.trusted_hops)
    for name in names:
        wait_s = services.limiter.take(name, ip)
        if wait_s:
            raise Refused("rate_limited", f"too many requests: try again in {wait_s} s", retryAfter=wait_s)


def _counted_as(route: str) -> tuple[str, ...]:
    if route in GUESSED:
        return ("all", "login")
    return ("all", "payment") if route.startswith("/api/payment/") else ("all",)
