"""HTTP to one Tron service: the key in its header, never faster than allowed, and every error in our own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from chains.endpoints import Endpoint, Unserved
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rates import TokenBucket
from chains.tron.refusals import asked_to_wait, is_busy

KEY_HEADER = "TRON-PRO-API-KEY"
RATE_WITH_KEY = 15.0  # requests a second
RATE_WITHOUT_KEY = 5.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_OK = 200
_TOO_LARGE = 413
_NOT_SERVED = {404, 405, 410, 501}
_FORBIDDEN = {401, 402, 403}
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)


class TimedOut(ChainUnavailable):
    """The endpoint did not answer in time; a smaller question may help."""


class TooLarge(ChainUnavailable):
    """The answer is larger than we read; only a smaller question helps."""


class Http:
    """Asks the endpoints of one chain; a bucket for every host keeps us below its limit."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        timeout_s: float,
        api_key: str | None = None,
        per_second: float | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
        bucket: Callable[[float], TokenBucket] = TokenBucket,
    ) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._headers = {"Accept": "application/json"} | ({KEY_HEADER: api_key} if api_key else {})
        self._key = api_key
        self._rate = per_second or (RATE_WITH_KEY if api_key else RATE_WITHOUT_KEY)
        self._max_bytes = max_bytes
        self._new_bucket = bucket
        self._buckets: dict[str, TokenBucket] = {}

    async def get(self, endpoint: Endpoint, path: str, params: Mapping[str, str]) -> Any:
        """
        Ask with the parameters in the address.

        Raises:
            ChainUnavailable: no answer, or the service wants to be left alone.
            ChainProtocolError: an answer that is no JSON.
            ChainMisconfigured: it refuses us; `Unserved` when it only lacks this route.
        """
        return await self._ask(endpoint, "GET", path, params=dict(params))

    async def post(self, endpoint: Endpoint, path: str, body: Any) -> Any:
        """Ask with a JSON body; raises what `get` raises."""
        return await self._ask(endpoint, "POST", path, data=orjson.dumps(body))

    async def _ask(self, endpoint: Endpoint, verb: str, path: str, **question: Any) -> Any:
        bucket = self._bucket(endpoint)
        if bucket.suspended_s > 0:
            raise ChainUnavailable("suspended for asking too often", retry_after=bucket.suspended_s)
        await bucket.take()
        headers = self._headers | ({"Content-Type": "application/json"} if "data" in question else {})
        try:
            async with self._session.request(
                verb, endpoint.url + path, headers=headers, timeout=self._timeout, allow_redirects=False, **question
            ) as response:
                body = await self._read(response)
        except TRANSPORT_ERRORS as exc:
            raise _translate(exc) from None  # the library's own text may quote the URL
        return self._checked(endpoint, bucket, response.status, body)

    def _bucket(self, endpoint: Endpoint) -> TokenBucket:
        host = urlsplit(endpoint.url).netloc
        if host not in self._buckets:
            self._buckets[host] = self._new_bucket(self._rate)
        return self._buckets[host]

    async def _read(self, response: aiohttp.ClientResponse) -> bytearray:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._max_bytes:
                response.close()
                raise TooLarge(f"the answer is larger than {self._max_bytes} bytes")
        return body

    def _checked(self, endpoint: Endpoint, bucket: TokenBucket, status: int, body: bytearray) -> Any:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        said = _complaint(answer)
        if status != _OK or said is not None:
            self._refused(endpoint, bucket, status, said or body[:300].decode(errors="replace"))
        if answer is None:
            raise ChainProtocolError(f"the answer is not JSON: {self._quoted(endpoint, body[:80].decode('latin-1'))!r}")
        return answer

    def _refused(self, endpoint: Endpoint, bucket: TokenBucket, status: int, said: str) -> None:
        """Raise what a refusal means; the front names a suspension in its text alone, with several statuses."""
        shown = self._quoted(endpoint, f"HTTP {status}: {said}")
        wait = asked_to_wait(said, status=status)
        if wait is not None:
            bucket.suspend(wait)
            raise ChainUnavailable(shown, retry_after=wait)
        if is_busy(said) or status in _SERVER_ERRORS:
            raise ChainUnavailable(shown)
        if status == _TOO_LARGE:
            raise TooLarge(shown)
        if status in _NOT_SERVED:
            raise Unserved(shown)
        if status in _FORBIDDEN or status in _REDIRECTS:
            raise ChainMisconfigured(f"{shown}: check the URL and its key")
        raise ChainProtocolError(shown)

    def _quoted(self, endpoint: Endpoint, text: str) -> str:
        return endpoint.quote(text.replace(self._key, "***") if self._key else text)


def _complaint(answer: Any) -> str | None:
    """Return what the front says instead of an answer: with status 200 as well, and outside any envelope."""
    if isinstance(answer, dict):
        said = answer.get("Error")
        if said is None and answer.get("success") is False:
            said = answer.get("error", "no success")
        return None if said is None else str(said)
    return None


TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""Everything a request may raise; aiohttp's `InvalidURL` is a ValueError."""

_TABLE: tuple[tuple[tuple[type[Exception], ...], type[ChainError], str], ...] = (
    ((TimeoutError,), TimedOut, "no answer in time"),
    ((aiohttp.InvalidURL,), ChainMisconfigured, "the URL is not valid"),
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch),
        ChainMisconfigured,
        "its TLS certificate is not trusted",
    ),
    ((aiohttp.ClientConnectorError,), ChainUnavailable, "cannot connect"),
    ((aiohttp.ClientPayloadError,), ChainUnavailable, "the answer broke off"),
    ((aiohttp.ClientError, OSError), ChainUnavailable, "the connection failed"),
)


def _translate(error: Exception) -> ChainError:
    for foreign, ours, what in _TABLE:
        if isinstance(error, foreign):
            return ours(f"{what} ({type(error).__name__})")
    return ChainProtocolError(f"the answer makes no sense ({type(error).__name__})")
