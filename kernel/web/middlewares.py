"""What happens around every request, whatever the service: its body arrives in time, its client is counted."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from kernel.web.connections import Connection

BODY_S = 10.0  # for 64 KB


class BodyTooSlow(web.HTTPRequestTimeout):
    """The body did not arrive in time."""


class BrokenBody(web.HTTPBadRequest):
    """The body cannot be read; a stranger's mistake, and none of ours."""


@web.middleware
async def whole_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the body before anybody waits for it: one that drips is given up, in every handler there is."""
    if request.body_exists and request.match_info.http_exception is None:
        connection = request.protocol if isinstance(request.protocol, Connection) else None
        if connection is not None:
            connection.awaits_body()
        try:
            async with asyncio.timeout(BODY_S):
                await request.read()  # kept by the request; bounded by the application's `client_max_size`
        except (web.RequestPayloadError, ConnectionError) as exc:  # hanging up halfway is no failure of ours
            raise BrokenBody(reason="the body breaks off, or is not compressed as Content-Encoding says") from exc
        except TimeoutError as exc:
            raise BodyTooSlow(reason=f"the body did not arrive within {BODY_S:g} s") from exc
        finally:
            if connection is not None:
                connection.body_arrived()
    return await handler(request)


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count a request that came through our own proxies against the client they saw."""
    if isinstance(request.protocol, Connection):
        request.protocol.count(request)
    return await handler(request)
