"""TonCenter v3 over HTTP: one rate for each endpoint, answers checked before they are believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import orjson

from chains.errors import ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rpc.endpoint import MAX_SOLE_RETRY_AFTER_S, Endpoint
from chains.rpc.http_client import OK, HttpAnswer, HttpClient
from chains.rpc.lenient_json import loads
from chains.rpc.token_bucket import TokenBucket
from chains.ton.decode import Tip, parse_block, time_of_block
from chains.ton.toncenter.address_batches import AddressBatches, AsksTooMuch
from chains.ton.toncenter.provider_errors import NOT_FOUND, error_of, is_rate, status_of
from chains.ton.toncenter.row_limits import RowLimits
from chains.ton.values import Json, rows_of

MAINNET, TESTNET = -239, -3
WITH_KEY_RPS, WITHOUT_KEY_RPS = 10.0, 1.0
SUSPENDED_S = 1.0  # after a 429 that does not say for how long

_ROOT = "/api/v3"
_LISTS = {"accountStates": "accounts", "jetton/wallets": "jetton_wallets"}  # what an answer calls its rows

Params = Sequence[tuple[str, str]]


class Listed(NamedTuple):
    """Rows of one answer; when it is `full` there may be more."""

    rows: list[Json]
    full: bool


class TonClient:
    """
    Asks the endpoints of one network.

    Every method takes the endpoint to ask and raises a `ChainError` that says what is wrong with it.
    No answer is trusted before the endpoint was seen to serve this network.
    """

    def __init__(
        self,
        http: HttpClient,
        *,
        testnet: bool,
        api_key: str | None = None,
        per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        share: float | None = None,
        buckets: dict[Endpoint, TokenBucket] | None = None,
    ) -> None:
        self._http = http
        self._network = TESTNET if testnet else MAINNET
        self._headers = {"Accept": "application/json"} | ({"X-API-Key": api_key} if api_key else {})
        self._secret = api_key or ""
        self._per_second = per_second or (WITH_KEY_RPS if api_key else WITHOUT_KEY_RPS)
        self._clock = clock
        self._sleep = sleep
        self._buckets = {} if buckets is None else buckets
        self._share = share  # the part of the rate that may be used; None: all of it
        self._shares: dict[Endpoint, TokenBucket] = {}
        self._tips: dict[Endpoint, Tip] = {}
        self._begins: dict[Endpoint, int | None] = {}
        self.row_limits = RowLimits(clock=clock)
        self.address_batches = AddressBatches(self.tip)

    def paced(self, share: float) -> TonClient:
        """Return a client for work that has time: with at most this share of each endpoint's rate."""
        return TonClient(
            self._http,
            testnet=self._network == TESTNET,
            api_key=self._secret or None,
            per_second=self._per_second,
            clock=self._clock,
            sleep=self._sleep,
            share=share,
            buckets=self._buckets,
        )

    async def tip(self, endpoint: Endpoint) -> Tip:
        """
        Return the newest masterchain block an endpoint has indexed.

        Raises:
            ChainMisconfigured: it serves another network.
        """
        answer = await self._request(endpoint, "GET", "masterchainInfo")
        tip = parse_block(answer.get("last"))
        if tip.network != self._network:
            raise ChainMisconfigured(f"{endpoint.label} serves network {tip.network}, expected network {self._network}")
        endpoint.checked = True
        self._tips[endpoint] = tip
        self._begins[endpoint] = time_of_block(answer.get("first"))
        return tip

    def begins(self, endpoint: Endpoint) -> int | None:
        """Return the time of the oldest block an endpoint says it has; None where it does not say."""
        return self._begins.get(endpoint)

    def known_time(self, endpoint: Endpoint) -> int | None:
        """Return the time of the newest block an endpoint was seen to have; None before it was asked."""
        tip = self._tips.get(endpoint)
        return None if tip is None else tip.time

    async def get(self, endpoint: Endpoint, route: str, params: Params, *, may_miss: bool = False) -> Json:
        """
        Ask one question. With `may_miss`, "not found" is an empty answer.

        Raises:
            AsksTooMuch: a smaller question may be served; `address_batches.RETRY_SMALLER` has other such errors.
            ChainError: what is wrong with the endpoint.
        """
        await self._check(endpoint)
        return await self._request(endpoint, "GET", route, params=params, may_miss=may_miss)

    async def rows(self, endpoint: Endpoint, route: str, params: Params) -> Listed:
        """Ask for a list, which is as long as the endpoint shows; raises what `get` raises."""
        limit, refused = self.row_limits.of(endpoint, route), False
        size = limit.size
        while True:
            try:
                answer = await self.get(endpoint, route, [*params, ("limit", str(size))])
            except AsksTooMuch as exc:
                fewer = self.row_limits.fewer(endpoint, route, size, exc)
                if fewer is None:
                    raise
                size, refused = fewer, True
                continue
            if refused:
                limit.refused(size * 2)
            limit.served(size)
            found = rows_of(answer, _LISTS.get(route, route))
            return Listed(found, len(found) >= size)

    async def run(self, endpoint: Endpoint, contract: str, method: str, stack: Sequence[Json]) -> list[Json] | None:
        """Run a get-method; return its stack, or None when the contract refuses or does not exist."""
        await self._check(endpoint)
        question = {"address": contract, "method": method, "stack": list(stack)}
        answer = await self._request(endpoint, "POST", "runGetMethod", body=orjson.dumps(question))
        found = answer.get("stack")
        if not isinstance(answer.get("exit_code"), int) or not isinstance(found, list):
            raise ChainProtocolError(f"{method} was not answered with a stack")
        return found if answer["exit_code"] == 0 else None

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
        raw = await self._http.request(method, _url(endpoint.url, route), headers=headers, params=params, body=body)
        answer = _loads(raw.body)
        if may_miss and raw.status == NOT_FOUND and answer is not None:
            return {}
        self._check_status(endpoint, route, raw, answer)
        if answer is None:
            raise ChainProtocolError("the answer is not a JSON object")
        return answer

    async def _wait_turn(self, endpoint: Endpoint) -> None:
        bucket = self._bucket(endpoint)
        if bucket.paused_s > 0:
            raise ChainUnavailable("asked to be left alone", retry_after=bucket.paused_s)
        if self._share is not None:
            await self._of(self._shares, endpoint, self._per_second * self._share).acquire()
        await bucket.acquire()

    def _bucket(self, endpoint: Endpoint) -> TokenBucket:
        return self._of(self._buckets, endpoint, self._per_second)

    def _of(self, buckets: dict[Endpoint, TokenBucket], endpoint: Endpoint, per_second: float) -> TokenBucket:
        if endpoint not in buckets:
            buckets[endpoint] = TokenBucket(per_second, clock=self._clock, sleep=self._sleep)
        return buckets[endpoint]

    def _check_status(self, endpoint: Endpoint, route: str, raw: HttpAnswer, answer: Json | None) -> None:
        """Raise what a refusal means."""
        status = status_of(raw.status, answer)
        if status == OK:
            return
        said, wait = self._said(endpoint, answer), raw.retry_after
        if is_rate(status, said, named=wait is not None):
            wait = wait or SUSPENDED_S
            self._bucket(endpoint).pause_for(min(wait, MAX_SOLE_RETRY_AFTER_S))  # the pool may leave it alone longer
            raise ChainUnavailable(f"HTTP {status}: too many requests{said}", retry_after=wait)
        raise error_of(route, status, said)

    def _said(self, endpoint: Endpoint, answer: Json | None) -> str:
        """Return the endpoint's own words, without a secret."""
        words = (answer or {}).get("error") or (answer or {}).get("result") or ""
        if not isinstance(words, str) or not words:
            return ""
        return ": " + endpoint.redact(words.replace(self._secret, "***") if self._secret else words)


def _url(base: str, route: str) -> str:
    """Return the address of a route; a base that already ends in /api/v3 is accepted."""
    return f"{base.rstrip('/').removesuffix(_ROOT)}{_ROOT}/{route}"


def _loads(raw: bytearray) -> Json | None:
    try:
        answer: Any = loads(raw)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
