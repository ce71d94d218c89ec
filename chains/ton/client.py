"""TonCenter v3 over HTTP: one session, one rate for each endpoint, answers checked before they are believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import aiohttp
import orjson

from chains.endpoints import Endpoint
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rates import TokenBucket
from chains.ton.decode import Json, Tip, parse_block
from chains.ton.sizes import ListSize

MAINNET, TESTNET = -239, -3
WITH_KEY_RPS, WITHOUT_KEY_RPS = 10.0, 1.0
LONGEST_STANDSTILL_S = 600  # between the newest block and now
SUSPENDED_S = 1.0  # after a 429 that does not say for how long
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_OK, _NOT_FOUND, _RATE = 200, 404, 429
_TOO_LONG = {400, 413, 414, 431}
_WRONG = {401, 402, 403, 405, 410}
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)
_ROOT = "/api/v3"

T = TypeVar("T")
Params = Sequence[tuple[str, str]]


class TooLong(ChainUnavailable):
    """The endpoint refused the question, as it does when it is too long; a shorter one may be served."""


class TonClient:
    """
    Asks the endpoints of one network.

    Every method takes the endpoint to ask and raises a `ChainError` that says what is wrong with it.
    No answer is trusted before the endpoint was seen to serve this network.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        testnet: bool,
        timeout_s: float,
        api_key: str | None = None,
        per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._network = TESTNET if testnet else MAINNET
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._headers = {"Accept": "application/json"} | ({"X-API-Key": api_key} if api_key else {})
        self._secret = api_key or ""
        self._per_second = per_second or (WITH_KEY_RPS if api_key else WITHOUT_KEY_RPS)
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._buckets: dict[Endpoint, TokenBucket] = {}
        self._sizes: dict[Endpoint, ListSize] = {}

    async def tip(self, endpoint: Endpoint) -> Tip:
        """
        Return the newest masterchain block an endpoint has indexed.

        Raises:
            ChainMisconfigured: it serves another network.
            ChainUnavailable: it stands still. What it would list is no picture of the present.
        """
        answer = await self._request(endpoint, "GET", "masterchainInfo")
        tip = parse_block(answer.get("last"))
        if tip.network != self._network:
            raise ChainMisconfigured(f"{endpoint.label} serves network {tip.network}, expected network {self._network}")
        age = self._wall() - tip.time
        if abs(age) > LONGEST_STANDSTILL_S:
            raise ChainUnavailable(
                f"its newest block is {age:.0f} s old: the index stands still, or this clock is wrong"
            )
        endpoint.checked = True
        return tip

    async def get(self, endpoint: Endpoint, route: str, params: Params, *, may_miss: bool = False) -> Json:
        """
        Ask one question. With `may_miss`, "not found" is an empty answer.

        Raises:
            TooLong: a shorter question may be served.
            ChainError: what is wrong with the endpoint.
        """
        await self._check(endpoint)
        return await self._request(endpoint, "GET", route, params=params, may_miss=may_miss)

    async def run(self, endpoint: Endpoint, contract: str, method: str, stack: Sequence[Json]) -> list[Json] | None:
        """Run a get-method; return its stack, or None when the contract refuses or does not exist."""
        await self._check(endpoint)
        question = {"address": contract, "method": method, "stack": list(stack)}
        answer = await self._request(endpoint, "POST", "runGetMethod", body=orjson.dumps(question))
        found = answer.get("stack")
        if not isinstance(answer.get("exit_code"), int) or not isinstance(found, list):
            raise ChainProtocolError(f"{method} was not answered with a stack")
        return found if answer["exit_code"] == 0 else None

    async def in_parts(
        self, endpoint: Endpoint, addresses: Sequence[str], ask: Callable[[Sequence[str]], Awaitable[T]]
    ) -> list[T]:
        """Ask about many addresses, with as many in a question as the endpoint accepts."""
        size = self._sizes.setdefault(endpoint, ListSize())
        answers: list[T] = []
        rest = list(addresses)
        while rest:
            part = rest[: size.size]
            try:
                answers.append(await ask(part))
            except TooLong:
                if len(part) == 1:
                    raise
                size.refused(len(part))
                continue
            size.served(len(part))
            rest = rest[len(part) :]
        return answers

    async def _check(self, endpoint: Endpoint) -> None:
        if not endpoint.checked:
            await self.tip(endpoint)

    async def _request(
        self,
        endpoint: Endpoint,
        method: str,
        route: str,
        *,
        params: Params = (),
        body: bytes | None = None,
        may_miss: bool = False,
    ) -> Json:
        await self._wait_turn(endpoint)
        headers = self._headers if body is None else self._headers | {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method,
                _url(endpoint.url, route),
                params=params,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                raw = await _read(response)
        except TRANSPORT_ERRORS as exc:
            raise translate_transport(exc) from None  # the library's own text may quote the URL
        answer = _loads(raw)
        if may_miss and response.status == _NOT_FOUND and answer is not None:
            return {}
        self._check_status(endpoint, response, answer)
        if answer is None:
            raise ChainProtocolError("the answer is not a JSON object")
        return answer

    async def _wait_turn(self, endpoint: Endpoint) -> None:
        bucket = self._bucket(endpoint)
        if bucket.suspended_s > 0:
            raise ChainUnavailable("asked to be left alone", retry_after=bucket.suspended_s)
        await bucket.take()

    def _bucket(self, endpoint: Endpoint) -> TokenBucket:
        if endpoint not in self._buckets:
            self._buckets[endpoint] = TokenBucket(self._per_second, clock=self._clock, sleep=self._sleep)
        return self._buckets[endpoint]

    def _check_status(self, endpoint: Endpoint, response: aiohttp.ClientResponse, answer: Json | None) -> None:
        """Raise what a refusal means; some come with HTTP status 200 and the real one inside."""
        status = response.status
        if status == _OK and answer is not None and (answer.get("ok") is False or "error" in answer):
            code = answer.get("code")
            status = code if isinstance(code, int) else 500
        if status == _OK:
            return
        if status == _RATE:
            wait = _retry_after(response) or SUSPENDED_S
            self._bucket(endpoint).suspend(wait)
            raise ChainUnavailable("HTTP 429: too many requests", retry_after=wait)
        raise _refusal(status, self._said(endpoint, answer))

    def _said(self, endpoint: Endpoint, answer: Json | None) -> str:
        """Return the endpoint's own words, without a secret."""
        words = (answer or {}).get("error") or (answer or {}).get("result") or ""
        if not isinstance(words, str) or not words:
            return ""
        return ": " + endpoint.quote(words.replace(self._secret, "***") if self._secret else words)


def _refusal(status: int, said: str) -> ChainError:
    if status in _TOO_LONG:
        return TooLong(f"HTTP {status}{said}")
    if status in _WRONG or status in _REDIRECTS or status == _NOT_FOUND:
        return ChainMisconfigured(f"HTTP {status}{said}: check the URL and its key")
    if status in _SERVER_ERRORS:
        return ChainUnavailable(f"HTTP {status}{said}")
    return ChainProtocolError(f"HTTP {status}{said}")


def _url(base: str, route: str) -> str:
    """Return the address of a route; a base that already ends in /api/v3 is accepted."""
    return f"{base.rstrip('/').removesuffix(_ROOT)}{_ROOT}/{route}"


async def _read(response: aiohttp.ClientResponse) -> bytearray:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            response.close()
            raise ChainUnavailable(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    return body


def _loads(raw: bytearray) -> Json | None:
    try:
        answer: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    header = response.headers.get("Retry-After", "").strip()
    return float(header[:9]) if header.isascii() and header.isdigit() else None


TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""Everything a request may raise. aiohttp's `InvalidURL` is a ValueError."""

_TRANSPORT_TABLE: tuple[tuple[tuple[type[Exception], ...], type[ChainError], str], ...] = (
    ((TimeoutError,), ChainUnavailable, "no answer in time"),
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


def translate_transport(error: Exception) -> ChainError:
    """
    Return our error for one of `TRANSPORT_ERRORS`.

    Its own text stays out of the message, for it may quote the URL and the key within.
    """
    for foreign, ours, what in _TRANSPORT_TABLE:
        if isinstance(error, foreign):
            return ours(f"{what} ({type(error).__name__})")
    return ChainProtocolError(f"the answer makes no sense ({type(error).__name__})")
