"""The endpoints of one chain: which one is asked, and what their failures together mean."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from chains.base import Telemetry
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable, ProvenLie
from chains.rpc.endpoint import Endpoint, Unserved, backoff_s, label_of, sole_backoff_s
from chains.rpc.endpoint_limits import LearnedLimits
from chains.types import EndpointReport, EndpointState

log = logging.getLogger(__name__)


T = TypeVar("T")
Failures = list[tuple[Endpoint, ChainError]]


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
            Endpoint(url, label_of(url, index), limits=LearnedLimits(clock)) for index, url in enumerate(urls, 1)
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
        lies = endpoint.lying_until > self._clock()
        if lies:
            state = EndpointState.LYING
        elif endpoint not in self._usable_at(self._clock()):
            state = EndpointState.RESTING
        elif endpoint.last_error:
            state = EndpointState.FAILING
        latency = endpoint.latency_s
        return EndpointReport(
            endpoint.label,
            state,
            latency_ms=None if latency is None else round(latency * 1000),
            last_error=(endpoint.lie if lies else endpoint.last_error) or None,
            limits=endpoint.limits.report(),
        )

    async def call(
        self,
        method: str,
        call: Callable[[Endpoint], Awaitable[T]],
        *,
        avoiding: Collection[Endpoint] = (),
        is_answered: Callable[[Endpoint], bool] = lambda _: False,
    ) -> T:
        """
        Return the first answer any usable endpoint gives; `method` names the call in metrics.

        Endpoints to avoid are asked last: for a rescan, or for what they could not answer before.
        What `is_answered` already, by another request, is neither counted nor timed.

        Raises:
            ChainUnavailable: none served and some may later, or all are backing off.
            ChainProtocolError: every endpoint answered nonsense.
            ChainMisconfigured: no endpoint will serve this until an operator acts.
        """
        failed: Failures = []
        for endpoint in sorted(self.usable(), key=lambda endpoint: endpoint in avoiding):
            try:
                answer = await (call(endpoint) if is_answered(endpoint) else self._timed(endpoint, method, call))
            except (ChainUnavailable, ChainProtocolError, ChainMisconfigured) as exc:
                self._failed(endpoint, exc)
                failed.append((endpoint, exc))
            else:
                self._served(endpoint, preferred=not avoiding)
                return answer
        raise combined_error(failed)

    async def call_all(
        self, method: str, call: Callable[[Endpoint], Awaitable[T]], *, excluding: Collection[Endpoint] = ()
    ) -> list[tuple[Endpoint, T]]:
        """
        Ask all endpoints at once, without those excluded; return the answers they gave.

        Those backing off are asked only when all are. Endpoints that fail are left out: nothing is raised.
        """
        # Where all had been seen to lie, nobody bore out for an hour what one of them said again.
        usable = self._usable_at(self._clock())
        asked = [endpoint for endpoint in usable if endpoint not in excluding]
        answers = await asyncio.gather(*(self._call_quietly(endpoint, method, call) for endpoint in asked))
        return [answer for answer in answers if answer is not None]

    async def _call_quietly(
        self, endpoint: Endpoint, method: str, call: Callable[[Endpoint], Awaitable[T]]
    ) -> tuple[Endpoint, T] | None:
        try:
            answer = await self._timed(endpoint, method, call)
        except (ChainUnavailable, ChainProtocolError, ChainMisconfigured) as exc:
            self._failed(endpoint, exc)
            return None
        self._served(endpoint, preferred=False)
        return endpoint, answer

    async def call_with_quorum(self, method: str, call: Callable[[Endpoint], Awaitable[T]], *, quorum: int) -> T:
        """
        Return the answer that `quorum` endpoints give alike.

        Raises:
            ChainProtocolError: two endpoints contradict each other.
            ChainUnavailable: too few answered.
        """
        if quorum == 1:
            return await self.call(method, call)
        answers: list[tuple[Endpoint, T]] = []
        failed: Failures = []
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

    async def call_one(self, endpoint: Endpoint, method: str, call: Callable[[Endpoint], Awaitable[T]]) -> T:
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
        Return the endpoints to try, the preferred one first; those backing off only when all are.

        Raises:
            ChainUnavailable: all are left alone for a while.
        """
        now = self._clock()
        usable = self._usable_at(now)
        if not usable:
            raise self._all_backing_off(now)
        return sorted(usable, key=lambda endpoint: endpoint is not self._preferred)

    def others(self, endpoint: Endpoint) -> list[Endpoint]:
        """Return all endpoints but one; those that are left alone for a while come last."""
        now = self._clock()
        return sorted((each for each in self.endpoints if each is not endpoint), key=lambda e: e.backoff_until > now)

    def _usable_at(self, now: float) -> list[Endpoint]:
        ready = [endpoint for endpoint in self.endpoints if endpoint.backoff_until <= now]
        return ready or [endpoint for endpoint in self.endpoints if endpoint.sole_backoff_until <= now]

    def _all_backing_off(self, now: float) -> ChainUnavailable:
        soonest = min(endpoint.sole_backoff_until for endpoint in self.endpoints) - now
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
            error = type(exc).__name__  # a label of a public metric: renaming these classes renames it
            raise
        else:
            endpoint.latency_s = self._clock() - started
            return answer
        finally:
            self._telemetry.rpc_call(endpoint.label, method, self._clock() - started, error)

    def _served(self, endpoint: Endpoint, *, preferred: bool) -> None:
        endpoint.failures = 0
        endpoint.last_error = ""
        endpoint.sole_backoff_until = 0.0
        endpoint.backoff_until = endpoint.lying_until  # a liar that has to be asked is not believed for that
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
        endpoint.backoff_until = now + backoff_s(error, endpoint.failures)
        if isinstance(error, ProvenLie):
            log.warning("endpoint %s: %s", endpoint.label, error)
            endpoint.lie, endpoint.lying_until = str(error), endpoint.backoff_until
        endpoint.backoff_until = max(endpoint.backoff_until, endpoint.lying_until)
        endpoint.sole_backoff_until = now + sole_backoff_s(error, endpoint.failures)


def combined_error(failed: Failures) -> ChainError:
    """Name every endpoint and its reason; the class says what the caller can hope for."""
    message = "; ".join(f"{endpoint.label}: {error}" for endpoint, error in failed)
    errors = [error for _, error in failed]
    if all(isinstance(error, ChainMisconfigured) for error in errors):
        return ChainMisconfigured(message)
    if all(isinstance(error, ChainProtocolError) for error in errors):
        return ChainProtocolError(message)
    waits = [e.retry_after for e in errors if isinstance(e, ChainUnavailable) and e.retry_after is not None]
    return ChainUnavailable(message, retry_after=min(waits, default=None))
