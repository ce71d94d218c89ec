"""One HTTP call to a receiver: guarded, bounded, and never an exception for what the receiver does."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver

from webhooks.guard import CallbackGuard, ForbiddenTarget
from webhooks.schedule import parse_retry_after

KEPT = 1024  # bytes of an answer
GONE = 410
USER_AGENT = "AMN-Pay-Scanner"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one call came to."""

    ok: bool
    status: int | None
    latency_ms: int
    response: str  # the first KB of the answer
    error: str | None
    retry_after: float | None  # seconds
    gone: bool  # the receiver says it will never take this again


class WebhookClient:
    """Calls receivers. Open with `open_client`."""

    def __init__(self, session: aiohttp.ClientSession, guard: CallbackGuard) -> None:
        self._session = session
        self._guard = guard

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Post a body; whatever goes wrong is in the answer."""
        started = time.perf_counter()
        try:
            self._guard.check_url(url)  # the policy may have changed since the intent was registered
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                text = await _first_kb(response)
                return _answered(response, text, _since(started))
        except (aiohttp.ClientError, ForbiddenTarget, OSError, ValueError) as exc:
            return Attempt(False, None, _since(started), "", _reason(exc), None, gone=False)


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)


async def _first_kb(response: aiohttp.ClientResponse) -> str:
    kept = b""
    try:
        async for chunk in response.content.iter_any():
            kept += chunk
            if len(kept) > KEPT:
                response.close()  # the rest is of no interest; the connection is not worth keeping for it
                break
    except (aiohttp.ClientError, OSError) as exc:
        response.close()  # the status has been said; an answer that breaks off afterwards does not take it back
        kept += f" [{type(exc).__name__}]".encode()
    return kept[:KEPT].decode("utf-8", "replace")


def _answered(response: aiohttp.ClientResponse, text: str, latency_ms: int) -> Attempt:
    status = response.status
    ok = 200 <= status < 300  # noqa: PLR2004 - HTTP
    error = None if ok else f"HTTP {status}"
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP
        error = f"HTTP {status}: redirects are not followed"
    retry_after = parse_retry_after(response.headers.get("Retry-After"), now=time.time())
    return Attempt(ok, status, latency_ms, text, error, None if ok else retry_after, gone=status == GONE)


def _reason(exc: BaseException) -> str:  # noqa: PLR0911 - one line a case
    """Return a short text without the URL, which may hold a token."""
    forbidden = _forbidden(exc)
    if forbidden is not None:
        return f"forbidden target: {forbidden}"
    match exc:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorDNSError():
            return "the host name does not resolve"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "TLS failed"
        case aiohttp.ClientConnectorError():
            return "connection refused or unreachable"
        case aiohttp.ServerDisconnectedError() | ConnectionError():
            return "the connection was closed"
        case _:
            return type(exc).__name__


def _forbidden(exc: BaseException | None) -> ForbiddenTarget | None:
    """Find the guard's refusal: the connector may wrap it."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        if isinstance(exc, ForbiddenTarget):
            return exc
        if isinstance(exc, _Refused):
            return exc.refusal
        seen.add(id(exc))
        inner = getattr(exc, "os_error", None)
        exc = inner if isinstance(inner, _Refused) else exc.__cause__ or exc.__context__
    return None


class _Refused(OSError):
    """The guard's refusal in the shape the connector expects of a socket that cannot be made."""

    def __init__(self, refusal: ForbiddenTarget) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@asynccontextmanager
async def open_client(
    guard: CallbackGuard, *, timeout_s: float, resolver: AbstractResolver | None = None
) -> AsyncIterator[WebhookClient]:
    """Open the client; `timeout_s` bounds a whole call, however slowly the answer drips."""

    def dial(info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        # The last moment before connecting, with the very address: a name that changed its mind is caught here.
        family, kind, protocol, _, address = info
        try:
            guard.check_address(str(address[0]))
        except ForbiddenTarget as exc:
            raise _Refused(exc) from exc
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        return sock

    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=10, socket_factory=dial, resolver=resolver)
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        headers={"User-Agent": USER_AGENT},
        skip_auto_headers=("Accept-Encoding",),
    )
    try:
        yield WebhookClient(session, guard)
    finally:
        await session.close()
        await asyncio.sleep(0)  # let transports finish closing
