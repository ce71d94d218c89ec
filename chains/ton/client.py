"""TonCenter v3 over HTTP: one rate for each endpoint, answers checked before they are believed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import orjson

from chains.endpoints import LONGEST_BLIND_AS_ASKED_S, Endpoint, Unserved
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.limits import TRY_LARGER_S, Limit
from chains.loose_json import loads
from chains.rates import TokenBucket
from chains.ton.decode import Tip, parse_block, time_of_block
from chains.ton.parts import AsksTooMuch, Parts
from chains.ton.values import Json, rows_of
from chains.transport import OK, TOO_MANY_REQUESTS, HttpAnswer, HttpClient

MAINNET, TESTNET = -239, -3
WITH_KEY_RPS, WITHOUT_KEY_RPS = 10.0, 1.0
MOST_ROWS = 1_000  # of one answer: TonCenter's own limit; others show fewer
STEP_DOWN = 8  # so much fewer are asked for after a refusal
SUSPENDED_S = 1.0  # after a 429 that does not say for how long

_NOT_FOUND = 404
# Every status that was seen to mean "ask for less": a proxy's, the service's own, and its database's time-out.
_ASKS_TOO_MUCH = {400, 402, 413, 414, 422, 429, 431}
_WRONG = {401, 403}
_NOT_SERVED = {_NOT_FOUND, 405, 410, 501}
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)
_ROOT = "/api/v3"
_RATE_WORDS = re.compile(
    r"rate.?limit|too many requests|too often|frequency|quota|daily (?:usage|limit|request)", re.IGNORECASE
)
_MAY_BE_A_RATE = {402, 403, 503}  # some say with these, in words, that they are asked too often

_ROW_LIMIT = re.compile(r"\blimit\b.{0,80}?(\d+)(?:\D+(\d+))?", re.IGNORECASE)

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
        self._row_limits: dict[tuple[Endpoint, str], Limit] = {}
        self._not_the_rows: dict[tuple[Endpoint, str], float] = {}  # until when fewer rows are not worth a question
        self.parts = Parts(self.tip)

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
            AsksTooMuch: a smaller question may be served; `parts.SMALLER_MAY_DO` has other such errors.
            ChainError: what is wrong with the endpoint.
        """
        await self._check(endpoint)
        return await self._request(endpoint, "GET", route, params=params, may_miss=may_miss)

    async def rows(self, endpoint: Endpoint, route: str, params: Params) -> Listed:
        """Ask for a list, which is as long as the endpoint shows; raises what `get` raises."""
        limit, refused = self.row_limit(endpoint, route), False
        size = limit.size
        while True:
            try:
                answer = await self.get(endpoint, route, [*params, ("limit", str(size))])
            except AsksTooMuch as exc:
                fewer = self.fewer_rows(endpoint, route, size, exc)
                if fewer is None:
                    raise
                size, refused = fewer, True
                continue
            if refused:
                limit.refused(size * 2)
            limit.served(size)
            found = rows_of(answer, _LISTS.get(route, route))
            return Listed(found, len(found) >= size)

    def row_limit(self, endpoint: Endpoint, route: str, *, most: int = MOST_ROWS) -> Limit:
        """Return how many rows of one answer an endpoint is asked for, at most so many."""
        return self._row_limits.setdefault((endpoint, route), Limit(most, clock=self._clock))

    def fewer_rows(self, endpoint: Endpoint, route: str, size: int, refused: ChainError) -> int | None:
        """
        Return how many rows to ask for after a refusal; None when it is about something else.

        A refusal that names no limit is tried with fewer rows twice: a service that shows fewer than we ask for
        once looked as if it took one address at a time. What fewer rows did not help is not tried for a while.
        """
        key = (endpoint, route)
        named = _ROW_LIMIT.search(str(refused))
        allowed = [int(number) for number in (named.groups() if named else ()) if number and 0 < int(number) < size]
        if allowed:
            return max(allowed)
        if size < self.row_limit(endpoint, route).size // STEP_DOWN:  # very few were asked for already
            self._not_the_rows[key] = self._clock() + TRY_LARGER_S
            return None
        waiting = self._clock() < self._not_the_rows.get(key, 0.0)
        return None if waiting or size <= STEP_DOWN else size // STEP_DOWN

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
        raw = await self._http.ask(method, _url(endpoint.url, route), headers=headers, params=params, body=body)
        answer = _loads(raw.body)
        if may_miss and raw.status == _NOT_FOUND and answer is not None:
            return {}
        self._check_status(endpoint, route, raw, answer)
        if answer is None:
            raise ChainProtocolError("the answer is not a JSON object")
        return answer

    async def _wait_turn(self, endpoint: Endpoint) -> None:
        bucket = self._bucket(endpoint)
        if bucket.suspended_s > 0:
            raise ChainUnavailable("asked to be left alone", retry_after=bucket.suspended_s)
        if self._share is not None:
            await self._of(self._shares, endpoint, self._per_second * self._share).take()
        await bucket.take()

    def _bucket(self, endpoint: Endpoint) -> TokenBucket:
        return self._of(self._buckets, endpoint, self._per_second)

    def _of(self, buckets: dict[Endpoint, TokenBucket], endpoint: Endpoint, per_second: float) -> TokenBucket:
        if endpoint not in buckets:
            buckets[endpoint] = TokenBucket(per_second, clock=self._clock, sleep=self._sleep)
        return buckets[endpoint]

    def _check_status(self, endpoint: Endpoint, route: str, raw: HttpAnswer, answer: Json | None) -> None:
        """Raise what a refusal means; some come with HTTP status 200 and the real one inside."""
        status = raw.status
        if status == OK and answer is not None and (answer.get("ok") is False or "error" in answer):
            code = answer.get("code")
            status = code if isinstance(code, int) else 500
        if status == OK:
            return
        said, wait = self._said(endpoint, answer), raw.retry_after
        # A service that counts addresses or rows answers 429 as well; what does not speak of a rate is asked for less.
        rate = _RATE_WORDS.search(said) is not None
        limited = status == TOO_MANY_REQUESTS and (wait is not None or not said or rate)
        if limited or (status in _MAY_BE_A_RATE and rate):
            wait = wait or SUSPENDED_S
            self._bucket(endpoint).suspend(min(wait, LONGEST_BLIND_AS_ASKED_S))  # the pool may leave it alone longer
            raise ChainUnavailable(f"HTTP {status}: too many requests{said}", retry_after=wait)
        raise _refusal(route, status, said)

    def _said(self, endpoint: Endpoint, answer: Json | None) -> str:
        """Return the endpoint's own words, without a secret."""
        words = (answer or {}).get("error") or (answer or {}).get("result") or ""
        if not isinstance(words, str) or not words:
            return ""
        return ": " + endpoint.quote(words.replace(self._secret, "***") if self._secret else words)


def _refusal(route: str, status: int, said: str) -> ChainError:
    if status in _ASKS_TOO_MUCH or (status in _SERVER_ERRORS and status not in _NOT_SERVED):
        return AsksTooMuch(f"HTTP {status}{said}")
    if status in _NOT_SERVED:
        return Unserved(f"{route} is not served, HTTP {status}{said}: check the URL and its key")
    if status in _WRONG or status in _REDIRECTS:
        return ChainMisconfigured(f"HTTP {status}{said}: check the URL and its key")
    return ChainProtocolError(f"HTTP {status}{said}")


def _url(base: str, route: str) -> str:
    """Return the address of a route; a base that already ends in /api/v3 is accepted."""
    return f"{base.rstrip('/').removesuffix(_ROOT)}{_ROOT}/{route}"


def _loads(raw: bytearray) -> Json | None:
    try:
        answer: Any = loads(raw)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
