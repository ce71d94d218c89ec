"""What happens around every request, whatever the service: its body is one of ours and arrives, its client counts."""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from kernel.web.connections import Connection
from kernel.web.expectations import CONTINUE, EXPECTATION
from kernel.web.http_errors import HttpError, unsupported_encoding

BODY_S = 10.0  # for 64 KB
KNOWN_ENCODINGS = frozenset({"gzip", "deflate", "identity", ""})


@web.middleware
async def whole_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """
    Read the body before anybody waits for it: one that drips is given up, in every handler there is.

    Stands behind whoever asks for a key: nobody else is invited to send one (`100 Continue`), or has one read.
    """
    if request.match_info.http_exception is None:
        check_framing(request)
        if request.body_exists:
            await _invite(request)
            await _read(request)
    return await handler(request)


def check_framing(request: web.Request) -> None:
    """
    Refuse what says of itself that it is to be read in another way than we do.

    Raises:
        HttpError: it does.
    """
    if request.version not in {HttpVersion10, HttpVersion11}:
        raise HttpError("bad_http", "only HTTP/1.0 and HTTP/1.1 are supported")
    expected = request.get(EXPECTATION, "")
    if expected.lower() not in {"", CONTINUE}:
        raise HttpError("expectation_failed", f"Expect may be {CONTINUE} and nothing else")
    # The last coding frames a body; the library reads what is inside of another one as if it were not there.
    if request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").strip().lower() != "chunked":
        raise HttpError("bad_http", "Transfer-Encoding may be chunked and nothing else")
    if ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ())).strip().lower() not in KNOWN_ENCODINGS:
        raise unsupported_encoding()
    if (request.content_length or 0) > request.client_max_size:
        raise _too_large(request)


async def _invite(request: web.Request) -> None:
    """Tell a client that asked first that its body is wanted."""
    if request.get(EXPECTATION) and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def _read(request: web.Request) -> None:
    try:
        if request.content.is_eof():  # it came with its header, as most do: nobody is waited for
            await request.read()  # kept by the request; bounded by the application's `client_max_size`
        else:
            await _wait_for(request)
    except web.HTTPRequestEntityTooLarge as exc:
        raise _too_large(request) from exc
    except (web.RequestPayloadError, ConnectionError) as exc:  # hanging up halfway is no failure of ours
        raise HttpError("bad_http", "the body breaks off, or is not compressed as Content-Encoding says") from exc
    except TimeoutError as exc:
        raise HttpError("request_timeout", f"the body did not arrive within {BODY_S:g} s") from exc


async def _wait_for(request: web.Request) -> None:
    connection = request.protocol if isinstance(request.protocol, Connection) else None
    if connection is not None:
        connection.awaits_body()
    try:
        async with asyncio.timeout(BODY_S):
            await request.read()
    finally:
        if connection is not None:
            connection.body_arrived()


def _too_large(request: web.Request) -> HttpError:
    return HttpError("payload_too_large", f"the body is larger than {request.client_max_size // 1024} KB")


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count a request that came through our own proxies against the client they saw."""
    if isinstance(request.protocol, Connection):
        request.protocol.count(request)
    return await handler(request)
