"""The endpoints of one chain: which one is asked, and how long a failing one is left alone."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from chains.base import Telemetry
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rpc.endpoint_limits import EndpointMemory
from chains.types import EndpointReport, EndpointState

log = logging.getLogger(__name__)

FIRST_COOL_DOWN_S = 1.0
LONGEST_COOL_DOWN_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0  # nobody may send us away for longer
MISCONFIGURED_COOL_DOWN_S = 300.0
# When every endpoint rests the chain is blind: one second of nonsense once cost five minutes (docs/rules.md, C).
LONGEST_BLIND_S = 10.0
LONGEST_BLIND_AS_ASKED_S = 30.0  # where the endpoint named a time

_URL = re.compile(r"\b\w+://\S+")
_MIN_SECRET = 8  # shorter parts of a URL are words such as "v3" or "mainnet"
_MAX_REASON = 200

T = TypeVar("T")
Reasons = list[tuple["Endpoint", ChainError]]


class Unserved(ChainMisconfigured):
    """The endpoint does not serve this one call. It stays in use for others; the next one is tried."""


class Behind(Unserved):
    """The endpoint does not serve the newest of this yet; `time`: unix seconds of the newest that was served."""

    def __init__(self, message: str, *, time: int | None) -> None:
        super().__init__(message)
        self.time = time


@dataclass(slots=True, eq=False)
class Endpoint:
    """One URL, and what we know of it. Only `label` may be shown: the URL may carry a key."""

    url: str = field(repr=False)
    label: str
    checked: bool = False  # seen to serve the right chain since it last failed
    failures: int = 0  # in a row
    cool_down_until: float = 0.0  # while another endpoint is there to be asked
    blind_until: float = 0.0  # even when none is
    last_error: str = ""
    latency_s: float | None = None  # of the last answer
    memory: EndpointMemory = field(default_factory=EndpointMemory, repr=False)

    def quote(self, text: str) -> str:
        """Return what the endpoint said as one short line that carries no part of its URL's secrets."""
        line = _URL.sub("<url>", " ".join(text.split()))
        for secret in _secrets(self.url):
            line = line.replace(secret, "***")
        return line[:_MAX_REASON]


def _secrets(url: str) -> list[str]:
    parts = urlsplit(url)
    found = [*parts.path.split("/"), *re.split(r"[=&]", parts.query), parts.username or "", parts.password or ""]
    return sorted((text for text in found if len(text) >= _MIN_SECRET), key=len, reverse=True)


def _label(url: str, index: int) -> str:
    """Return host:port#n: never the scheme, path, query or user info, which may carry a key."""
    return f"{urlsplit(url).netloc.rpartition('@')[2]}#{index}"


class EndpointPool:
    """
    Tries the endpoints of one chain in turn.

    The endpoint that served last is asked first. One that failed is left alone for a while that
    doubles with every failure in a row, and much shorter when nobody else is left to ask.
    `clock` counts monotonic seconds.
    """

    def __init__(
        self, urls: Sequence[str], *, telemetry: Telemetry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not urls:
            raise ChainMisconfigured("no endpoint is configured")
        self.endpoints = tuple(
            Endpoint(url, _label(url, index), memory=EndpointMemory(clock)) for index, url in enumerate(urls, 1)
        )
        self._telemetry = telemetry
        self._clock = clock
        self._preferred = self.endpoints[0]

    @property
    def preferred(self) -> Endpoint:
        """The endpoint that served last."""
        return self._preferred

    def prefer(self, endpoint: Endpoint) -> None:
        """Ask this endpoint first from now on."""
        self._preferred = endpoint

    def report(self, endpoint: Endpoint) -> EndpointReport:
        """Return what is known of an endpoint, for people."""
        state = EndpointState.OK
        if endpoint not in self._usable_at(self._clock()):
            state = EndpointState.RESTING
        elif endpoint.last_error:
            state = EndpointState.FAILING
        latency = endpoint.latency_s
        return EndpointReport(
            endpoint.label,
            state,
            latency_ms=None if latency is None else round(latency * 1000),
            last_error=endpoint.last_error or None,
            limits=endpoint.memory.report(),
        )

    async def run(
        self,
        method: str,
        call: Callable[[Endpoint], Awaitable[T]],
        *,
        avoiding: Collection[Endpoint] = (),
    ) -> T:
        """
        Return the first answer any usable endpoint gives; `method` names the call in metrics.

        Endpoints to avoid are asked last: for a second look, or for what they could not answer before.

        Raises:
            ChainUnavailable: none served and some may later, or all are cooling down.
            ChainProtocolError: every endpoint answered nonsense.
            ChainMisconfigured: no endpoint will serve this until an operator acts.
        """
        failed: Reasons = []
        for endpoint in sorted(self.usable(), key=lambda endpoint: endpoint in avoiding):
            try:
                answer = await self._timed(endpoint, method, call)
            except (ChainUnavailable, ChainProtocolError, ChainMisconfigured) as exc:
                self._failed(endpoint, exc)
                failed.append((endpoint, exc))
            else:
                self._served(endpoint, preferred=not avoiding)
                return answer
        raise refusal_of(failed)

    async def survey(
        self, method: str, call: Callable[[Endpoint], Awaitable[T]], *, but: Collection[Endpoint] = ()
    ) -> list[tuple[Endpoint, T]]:
        """Ask every usable endpoint at once but some; return the answers of those that served. Raises nothing."""
        asked = [endpoint for endpoint in self.endpoints if endpoint not in but and self._rested(endpoint)]
        answers = await asyncio.gather(*(self._surveyed(endpoint, method, call) for endpoint in asked))
        return [answer for answer in answers if answer is not None]

    async def _surveyed(
        self, endpoint: Endpoint, method: str, call: Callable[[Endpoint], Awaitable[T]]
    ) -> tuple[Endpoint, T] | None:
        try:
            answer = await self._timed(endpoint, method, call)
        except (ChainUnavailable, ChainProtocolError, ChainMisconfigured) as exc:
            self._failed(endpoint, exc)
            return None
        self._served(endpoint, preferred=False)
        return endpoint, answer

    async def agreed(self, method: str, call: Callable[[Endpoint], Awaitable[T]], *, quorum: int) -> T:
        """
        Return the answer that `quorum` endpoints give alike.

        Raises:
            ChainProtocolError: two endpoints contradict each other.
            ChainUnavailable: too few answered.
        """
        if quorum == 1:
            return await self.run(method, call)
        answers: list[tuple[Endpoint, T]] = []
        failed: Reasons = []
        for endpoint in self.usable():
            try:
                answer = await self._timed(endpoint, method, call)
            except (ChainUnavailable, ChainProtocolError, ChainMisconfigured) as exc:
                self._failed(endpoint, exc)
                failed.append((endpoint, exc))
                continue
            answers.append((endpoint, answer))
            first, expected = answers[0]
            if answer != expected:
                raise ChainProtocolError(f"{first.label} and {endpoint.label} contradict each other about {method}")
            if len(answers) == quorum:
                self._served(first, preferred=True)
                return answer
        said = "".join(f"; {endpoint.label}: {error}" for endpoint, error in failed)
        raise ChainUnavailable(f"only {len(answers)} of the {quorum} endpoints that must agree answered{said}")

    async def ask(self, endpoint: Endpoint, method: str, call: Callable[[Endpoint], Awaitable[T]]) -> T:
        """
        Return what one endpoint answers, and note whether it served.

        Raises:
            ChainError: what is wrong with it.
        """
        try:
            answer = await self._timed(endpoint, method, call)
        except (ChainUnavailable, ChainProtocolError, ChainMisconfigured) as exc:
            self._failed(endpoint, exc)
            raise
        self._served(endpoint, preferred=False)
        return answer

    def usable(self) -> list[Endpoint]:
        """
        Return the endpoints to try, the preferred one first; one that rests only when all do.

        Raises:
            ChainUnavailable: all are left alone for a while.
        """
        now = self._clock()
        usable = self._usable_at(now)
        if not usable:
            raise self._all_cooling_down(now)
        return sorted(usable, key=lambda endpoint: endpoint is not self._preferred)

    def _usable_at(self, now: float) -> list[Endpoint]:
        rested = [endpoint for endpoint in self.endpoints if endpoint.cool_down_until <= now]
        return rested or [endpoint for endpoint in self.endpoints if endpoint.blind_until <= now]

    def _rested(self, endpoint: Endpoint) -> bool:
        return endpoint.cool_down_until <= self._clock()

    def _all_cooling_down(self, now: float) -> ChainUnavailable:
        soonest = min(endpoint.blind_until for endpoint in self.endpoints) - now
        reasons = "; ".join(f"{endpoint.label}: {endpoint.last_error}" for endpoint in self.endpoints)
        return ChainUnavailable(
            f"every endpoint failed and is left alone for {soonest:.0f} s more: {reasons}", retry_after=soonest
        )

    async def _timed(self, endpoint: Endpoint, method: str, call: Callable[[Endpoint], Awaitable[T]]) -> T:
        started = self._clock()
        error: str | None = None
        try:
            answer = await call(endpoint)
        except ChainError as exc:
            error = type(exc).__name__
            raise
        else:
            endpoint.latency_s = self._clock() - started
            return answer
        finally:
            self._telemetry.rpc_call(endpoint.label, method, self._clock() - started, error)

    def _served(self, endpoint: Endpoint, *, preferred: bool) -> None:
        endpoint.failures = 0
        endpoint.last_error = ""
        endpoint.cool_down_until = endpoint.blind_until = 0.0
        if preferred and endpoint is not self._preferred:
            log.debug("endpoint %s takes over from %s", endpoint.label, self._preferred.label)
            self._preferred = endpoint

    def _failed(self, endpoint: Endpoint, error: ChainError) -> None:
        endpoint.last_error = str(error)
        log.debug("endpoint %s: %s", endpoint.label, error)
        if isinstance(error, Unserved):
            return
        endpoint.checked = False
        endpoint.failures += 1
        now = self._clock()
        endpoint.cool_down_until = now + _cool_down(error, endpoint.failures)
        endpoint.blind_until = now + _blind(error, endpoint.failures)


def _cool_down(error: ChainError, failures: int) -> float:
    """Return how long to leave an endpoint alone while another one serves."""
    if isinstance(error, ChainMisconfigured):
        return MISCONFIGURED_COOL_DOWN_S
    return max(min(LONGEST_COOL_DOWN_S, _doubled(failures)), min(LONGEST_RETRY_AFTER_S, _asked(error)))


def _blind(error: ChainError, failures: int) -> float:
    """Return how long to leave an endpoint alone although nobody else is there to ask."""
    return max(min(LONGEST_BLIND_S, _doubled(failures)), min(LONGEST_BLIND_AS_ASKED_S, _asked(error)))


def _doubled(failures: int) -> float:
    return FIRST_COOL_DOWN_S * (1 << min(failures - 1, 10))


def _asked(error: ChainError) -> float:
    """Return the seconds the endpoint itself wants to be left alone."""
    return (error.retry_after or 0.0) if isinstance(error, ChainUnavailable) else 0.0


def refusal_of(failed: Reasons) -> ChainError:
    """Name every endpoint and its reason; the class says what the caller can hope for."""
    message = "; ".join(f"{endpoint.label}: {error}" for endpoint, error in failed)
    errors = [error for _, error in failed]
    if all(isinstance(error, ChainMisconfigured) for error in errors):
        return ChainMisconfigured(message)
    if all(isinstance(error, ChainProtocolError) for error in errors):
        return ChainProtocolError(message)
    waits = [e.retry_after for e in errors if isinstance(e, ChainUnavailable) and e.retry_after is not None]
    return ChainUnavailable(message, retry_after=min(waits, default=None))
