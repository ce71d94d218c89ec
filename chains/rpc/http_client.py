"""The one HTTP client of all families: its limits, and every error of its library in our own words."""

from __future__ import annotations

import email.utils
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp

from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from protocol.http_limits import HEADER_LIMITS

MAX_ANSWER_BYTES = 64 * 1024 * 1024
KEEP_ALIVE_S = 30

OK = 200
_SUCCESSES = range(200, 300)  # a front that answered everything with 201 was never read
TOO_MANY_REQUESTS = 429


class TimedOut(ChainUnavailable):
    """The endpoint did not answer in time; a smaller question may help."""


class TooLarge(ChainUnavailable):
    """The answer is larger than we read; only a smaller question helps."""


class CutOff(ChainUnavailable):
    """The connection was closed in the middle; some do that to a question that is too large."""


class Garbled(ChainProtocolError):
    """An answer that is none, with a status of success; some give it to a question that is too large."""


class Overasked(ChainUnavailable):
    """An HTTP status without a word of explanation that some give to a question that is too large."""


class ServerError(Overasked):
    """One that the server is to blame for: a balancer may have a better one."""


class Overpriced(ChainMisconfigured):
    """The plan does not cover this question; a smaller one may be covered."""


class Forbidden(ChainMisconfigured):
    """An HTTP status that says we may not ask; some give it to one shape of a question alone."""


class HttpAnswer(NamedTuple):
    """What came back, whatever its status."""

    status: int
    body: bytearray
    retry_after: float | None  # seconds; None when the answer does not say


class HttpClient:
    """
    Makes one request at a time for whoever asks, and never follows a redirect.

    Opened with `open_http`. Labels, keys, rates and what a status means are the callers' affair.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        timeout_s: float,
        max_bytes: int = MAX_ANSWER_BYTES,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._max_bytes = max_bytes
        self._wall = wall

    @property
    def session(self) -> aiohttp.ClientSession:
        """What sockets are opened with (`chains.rpc.websocket`)."""
        return self._session

    @property
    def timeout_s(self) -> float:
        """How long one answer is waited for."""
        return self._timeout.total or 0.0

    def now(self) -> float:
        """Return what time it is, in unix seconds."""
        return self._wall()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Sequence[tuple[str, str]] | Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpAnswer:
        """
        Return the answer.

        Raises:
            TimedOut: none in time.
            TooLarge: more than we read.
            CutOff: it broke off.
            ChainUnavailable: no connection.
            ChainMisconfigured: the URL or the certificate is wrong.
            ChainProtocolError: it is not HTTP.
        """
        try:
            async with self._session.request(
                method, url, params=params, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                read = await self._read(response)
        except TRANSPORT_ERRORS as exc:
            raise translate_transport(exc) from None  # the library's own text may quote the URL
        status = OK if response.status in _SUCCESSES else response.status
        return HttpAnswer(status, read, retry_after(response.headers, now=self._wall()))

    async def _read(self, response: aiohttp.ClientResponse) -> bytearray:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._max_bytes:
                response.close()
                raise TooLarge(f"the answer is larger than {self._max_bytes} bytes")
        return body


@asynccontextmanager
async def open_http(
    *, timeout_s: float, max_bytes: int = MAX_ANSWER_BYTES, wall: Callable[[], float] = time.time
) -> AsyncIterator[HttpClient]:
    """Open the client of one chain; `timeout_s` bounds a whole request, however slowly the answer drips."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[_without_redirects()],
        **HEADER_LIMITS,
    ) as session:
        yield HttpClient(session, timeout_s=timeout_s, max_bytes=max_bytes, wall=wall)


def _without_redirects() -> aiohttp.TraceConfig:
    """Return what refuses redirects where the library knows no other way: it follows them to open a WebSocket."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    trace.freeze()
    return trace


async def _refuse_redirect(*_: object) -> None:
    raise Forbidden("it redirects elsewhere: name that place in the settings, if it is meant")


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds an answer wants us to wait: its header holds them, or a date."""
    header = headers.get("Retry-After", "").strip()
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - now)
    except (ValueError, OverflowError):
        return None


TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""Everything a request may raise. aiohttp's `InvalidURL` and `orjson.JSONDecodeError` are ValueErrors."""

_TRANSPORT_TABLE: tuple[tuple[tuple[type[Exception], ...], type[ChainError], str], ...] = (
    ((TimeoutError,), TimedOut, "no answer in time"),
    ((aiohttp.InvalidURL,), ChainMisconfigured, "the URL is not valid"),
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch),
        ChainMisconfigured,
        "its TLS certificate is not trusted",
    ),
    ((aiohttp.ClientConnectorError,), ChainUnavailable, "cannot connect"),
    # Of a connection that stood: whoever closes without having read all of a large batch resets it, and a batch that
    # was reset was asked for again and again as large as it was.
    ((aiohttp.ClientOSError,), CutOff, "the connection was closed"),
    ((aiohttp.ClientPayloadError,), CutOff, "the answer broke off"),
    ((aiohttp.ServerDisconnectedError, ConnectionError), CutOff, "the connection was closed"),
    ((aiohttp.ClientError, OSError), ChainUnavailable, "the connection failed"),
)


def translate_transport(error: Exception) -> ChainError:
    """
    Return our error for one of `TRANSPORT_ERRORS`.

    Its own text stays out of the message, for it may quote the URL and the key within.
    """
    for foreign, ours, what in _TRANSPORT_TABLE:
        if isinstance(error, foreign):
            return ours(f"{what} ({type(error).__name__})")
    return ChainProtocolError(f"the answer makes no sense ({type(error).__name__})")
