"""The endpoints of one chain: which one is asked, and how long a failing one is left alone."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from chains.base import Telemetry
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.types import EndpointReport, EndpointState

log = logging.getLogger(__name__)

FIRST_COOL_DOWN_S = 1.0
LONGEST_COOL_DOWN_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0  # nobody may send us away for longer
MISCONFIGURED_COOL_DOWN_S = 300.0

_URL = re.compile(r"\b\w+://\S+")
_MIN_SECRET = 8  # shorter parts of a URL are words such as "v3" or "mainnet"
_MAX_REASON = 200

T = TypeVar("T")
Reasons = list[tuple["Endpoint", ChainError]]


class Unserved(ChainMisconfigured):
    """The endpoint does not serve this one call. It stays in use for others; the next one is tried."""


@dataclass(slots=True, eq=False)
class Endpoint:
    """One URL, and what we know of it. Only `label` may be shown: the URL may carry a key."""

    url: str = field(repr=False)
    label: str
    checked: bool = False  # seen to serve the right chain since it last failed
    failures: int = 0  # in a row
    cool_down_until: float = 0.0
    last_error: str = ""

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
    doubles with every failure in a row. `clock` counts monotonic seconds.
    """

    def __init__(
        self, urls: Sequence[str], *, telemetry: Telemetry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not urls:
            raise ChainMisconfigured("no endpoint is configured")
        self.endpoints = tuple(Endpoint(url, _label(url, index)) for index, url in enumerate(urls, 1))
        self._telemetry = telemetry
        self._clock = clock
        self._preferred = self.endpoints[0]

    @property
    def preferred(self) -> Endpoint:
        """The endpoint that served last."""
        return self._preferred

    def reports(self) -> tuple[EndpointReport, ...]:
        """Return what is known of every endpoint, for people."""
        return tuple(map(self._report, self.endpoints))

    def _report(self, endpoint: Endpoint) -> EndpointReport:
        state = EndpointState.OK
        if endpoint.cool_down_until > self._clock():
            state = EndpointState.RESTING
        elif endpoint.last_error:
            state = EndpointState.FAILING
        return EndpointReport(endpoint.label, state, last_error=endpoint.last_error or None)

    async def run(self, method: str, call: Callable[[Endpoint], Awaitable[T]]) -> T:
        """
        Return the first answer any usable endpoint gives; `method` names the call in metrics.

        Raises:
            ChainUnavailable: none served and some may later, or all are cooling down.
            ChainProtocolError: every endpoint answered nonsense.
            ChainMisconfigured: no endpoint will serve this until an operator acts.
        """
        failed: Reasons = []
        for endpoint in self._usable():
            try:
                answer = await self._timed(endpoint, method, call)
            except (ChainUnavailable, ChainProtocolError, ChainMisconfigured) as exc:
                self._failed(endpoint, exc)
                failed.append((endpoint, exc))
            else:
                self._served(endpoint)
                return answer
        raise _refusal(failed)

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
        for endpoint in self._usable():
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
                self._served(first)
                return answer
        said = "".join(f"; {endpoint.label}: {error}" for endpoint, error in failed)
        raise ChainUnavailable(f"only {len(answers)} of the {quorum} endpoints that must agree answered{said}")

    def _usable(self) -> list[Endpoint]:
        """Return the endpoints to try, the preferred one first."""
        now = self._clock()
        usable = [endpoint for endpoint in self.endpoints if endpoint.cool_down_until <= now]
        if not usable:
            raise self._all_cooling_down(now)
        return sorted(usable, key=lambda endpoint: endpoint is not self._preferred)

    def _all_cooling_down(self, now: float) -> ChainUnavailable:
        soonest = min(endpoint.cool_down_until for endpoint in self.endpoints) - now
        reasons = "; ".join(f"{endpoint.label}: {endpoint.last_error}" for endpoint in self.endpoints)
        return ChainUnavailable(
            f"every endpoint failed and is left alone for {soonest:.0f} s more: {reasons}", retry_after=soonest
        )

    async def _timed(self, endpoint: Endpoint, method: str, call: Callable[[Endpoint], Awaitable[T]]) -> T:
        started = self._clock()
        error: str | None = None
        try:
            return await call(endpoint)
        except ChainError as exc:
            error = type(exc).__name__
            raise
        finally:
            self._telemetry.rpc_call(endpoint.label, method, self._clock() - started, error)

    def _served(self, endpoint: Endpoint) -> None:
        if endpoint is not self._preferred:
            log.debug("endpoint %s takes over from %s", endpoint.label, self._preferred.label)
        endpoint.failures = 0
        endpoint.last_error = ""
        self._preferred = endpoint

    def _failed(self, endpoint: Endpoint, error: ChainError) -> None:
        endpoint.last_error = str(error)
        log.debug("endpoint %s: %s", endpoint.label, error)
        if isinstance(error, Unserved):
            return
        endpoint.checked = False
        endpoint.failures += 1
        endpoint.cool_down_until = self._clock() + _cool_down(error, endpoint.failures)


def _cool_down(error: ChainError, failures: int) -> float:
    if isinstance(error, ChainMisconfigured):
        return MISCONFIGURED_COOL_DOWN_S
    doubled = FIRST_COOL_DOWN_S * (1 << min(failures - 1, 10))
    asked = error.retry_after if isinstance(error, ChainUnavailable) else None
    return max(min(LONGEST_COOL_DOWN_S, doubled), min(LONGEST_RETRY_AFTER_S, asked or 0.0))


def _refusal(failed: Reasons) -> ChainError:
    """Name every endpoint and its reason; the class says what the caller can hope for."""
    message = "; ".join(f"{endpoint.label}: {error}" for endpoint, error in failed)
    errors = [error for _, error in failed]
    if all(isinstance(error, ChainMisconfigured) for error in errors):
        return ChainMisconfigured(message)
    if all(isinstance(error, ChainProtocolError) for error in errors):
        return ChainProtocolError(message)
    waits = [e.retry_after for e in errors if isinstance(e, ChainUnavailable) and e.retry_after is not None]
    return ChainUnavailable(message, retry_after=min(waits, default=None))
