"""One HTTP call to a receiver: guarded, bounded, and never an exception for what the receiver does."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver

from protocol.http_limits import HEADER_LIMITS
from webhooks.errors import DeliveryError, Forbidden, Gone
from webhooks.schedule import parse_retry_after
from webhooks.ssrf_guard import BlockedTarget, SsrfGuard

RETAINED = 1024  # bytes of an answer
GONE = 410
USER_AGENT = "AMN-Pay-Scanner"


class Attempt(NamedTuple):
    """What one call came to."""

    ok: bool
    status: int | None
    latency_ms: int
    response: str  # the first KB of the answer
    error: str | None  # a few words without the URL, which may hold a token
    retry_after: float | None  # seconds
    gone: bool  # the receiver says it will never take this again


class HttpSender:
    """Calls receivers. Open with `open_client`."""

    def __init__(self, session: aiohttp.ClientSession, guard: SsrfGuard) -> None:
        self._session = session
        self._guard = guard

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Post a body; whatever goes wrong is in the answer."""
        started = time.perf_counter()
        status, text, error = await self._post(url, body, headers)
        return Attempt(
            ok=error is None,
            status=status,
            latency_ms=round((time.perf_counter() - started) * 1000),
            response=text,
            error=None if error is None else str(error),
            retry_after=None if error is None else error.retry_after,
            gone=isinstance(error, Gone),
        )

    async def _post(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int | None, str, DeliveryError | None]:
        try:
            self._guard.check_url(url)  # the policy may have changed since the intent was registered
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return response.status, await _first_kb(response), _refusal(response)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return None, "", _translated(exc)


async def _first_kb(response: aiohttp.ClientResponse) -> str:
    if response.content.at_eof():
        return ""
    kept = b""
    try:
        async for chunk in response.content.iter_any():
            kept += chunk
            if len(kept) > RETAINED:
                response.close()  # the rest is of no interest; the connection is not worth keeping for it
                break
    except (aiohttp.ClientError, OSError) as exc:
        response.close()  # the status has been said; an answer that breaks off afterwards does not take it back
        kept += f" [{type(exc).__name__}]".encode()
    # PostgreSQL keeps no NUL in a text: a receiver must not be able to make an attempt unwritable.
    return kept[:RETAINED].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _refusal(response: aiohttp.ClientResponse) -> DeliveryError | None:
    """Return what an answer other than 2xx means."""
    status = response.status
    retry_after = parse_retry_after(response.headers.get("Retry-After"), now=time.time())
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP
        return None
    if status == GONE:
        return Gone(f"HTTP {status}")
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP
        return DeliveryError(f"HTTP {status}: redirect not followed", retry_after=retry_after)
    return DeliveryError(f"HTTP {status}", retry_after=retry_after)


def _translated(exc: Exception) -> DeliveryError:
    match exc:
        case BlockedTarget():
            return _forbidden(exc)
        case aiohttp.ClientConnectorError(os_error=Forbidden() as forbidden):
            return forbidden
        case _:
            return DeliveryError(_reason(exc))


def _forbidden(exc: BlockedTarget) -> Forbidden:
    return Forbidden(f"forbidden target: {exc}")


def _reason(exc: Exception) -> str:  # noqa: PLR0911 - one line a case
    match exc:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorDNSError():
            return "the host name does not resolve"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "TLS failed"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=errno.ECONNREFUSED)):
            return "connection refused"
        case aiohttp.ClientConnectorError():
            return "unreachable"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return "the connection was closed"
        case _:
            return type(exc).__name__


@asynccontextmanager
async def open_sender(
    guard: SsrfGuard, *, timeout_s: float, resolver: AbstractResolver | None = None
) -> AsyncIterator[HttpSender]:
    """Open the client; `timeout_s` bounds a whole call, however slowly the answer drips."""

    def dial(info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        # The last moment before connecting, with the very address: a name that changed its mind is caught here.
        family, kind, protocol, _, address = info
        try:
            guard.check_address(str(address[0]))
        except BlockedTarget as exc:
            raise _forbidden(exc) from exc
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=10, socket_factory=dial, resolver=resolver)
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        headers={"User-Agent": USER_AGENT},
        skip_auto_headers=("Accept-Encoding",),
        **HEADER_LIMITS,
    )
    try:
        yield HttpSender(session, guard)
    finally:
        await session.close()
        await asyncio.sleep(0)  # let transports finish closing
