"""The webhook log: what was told to whom, what came back, sending again, and sending a test."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kernel.clock import Clock
from kernel.store.database import Database
from kernel.store.horizon import Horizon
from kernel.web.rate_limiter import Limit, RateLimiter
from scanner.errors import RateLimited
from scanner.model import DeliveryStatus, EventType
from scanner.registration.callbacks import CallbackPolicy
from scanner.sample_event import sample_body
from scanner.store import webhook_log
from scanner.store.errors import Conflict, NotFound
from scanner.store.webhook_log import LoggedEvent, LoggedPage

TESTS = Limit(10, 60)  # whoever has a key must not make of us a means to flood somebody
_TEST = "webhook tests"
_ALL = "all"  # they are counted together


class Answer(Protocol):
    """What came of a call to a receiver."""

    @property
    def status(self) -> int | None: ...
    @property
    def latency_ms(self) -> int: ...
    @property
    def response(self) -> str: ...
    @property
    def error(self) -> str | None: ...


class SampleSender(Protocol):
    """Sends a test event, signed and guarded as real ones are."""

    async def send(self, url: str, secret: str, *, event_id: str, event_type: str, body: bytes) -> Answer:
        """Send now, once; whatever goes wrong is in the answer."""


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One event with what is sent and every try, the oldest first."""

    event: LoggedEvent
    body: str
    tries: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class TestResult:
    """What a receiver answered to a test event."""

    event_id: str
    status: int | None
    latency_ms: int
    response: str
    error: str | None


class Deliveries:
    """What operators ask of the webhook log."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        callbacks: CallbackPolicy,
        sender: SampleSender,
        on_events: Callable[[], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._callbacks = callbacks
        self._sender = sender
        self._on_events = on_events
        self._numbers = Horizon(db, "events", "number")
        self.limiter = RateLimiter({_TEST: TESTS}, clock.elapsed_ms)

    async def page(self, *, status: DeliveryStatus | None, receiver: str | None, after: int, limit: int) -> LoggedPage:
        """Return a page of webhooks in the order they were queued."""
        last = await self._numbers.settled()
        async with self._db.read() as tx:
            return await webhook_log.page(tx, status=status, receiver=receiver, after=after, limit=limit, last=last)

    async def get(self, event_id: str) -> DeliveryView:
        """
        Return one webhook with its body and its tries.

        Raises:
            NotFound: there is no such event.
        """
        async with self._db.read() as tx:
            found = await webhook_log.get(tx, event_id)
        if found is None:
            raise NotFound(f"webhook {event_id} does not exist")
        return DeliveryView(*found)

    async def redeliver(self, event_id: str) -> DeliveryView:
        """
        Send an event again under its id, a delivered one too.

        Raises:
            NotFound: there is no such event.
            Conflict: it was superseded.
        """
        async with self._db.write() as tx:
            queued = await webhook_log.send_again(tx, event_id, self._clock.now_ms())
        view = await self.get(event_id)
        if not queued:
            raise Conflict(f"webhook {event_id} was superseded: what it told is no longer so", field="status")
        self._on_events()
        return view

    async def redeliver_failed(self, receiver: str) -> int:
        """Start a new round for all that failed of a receiver (`host:port`); return how many events that is."""
        async with self._db.write() as tx:
            queued = await webhook_log.send_failed_again(tx, receiver, self._clock.now_ms())
        self._on_events()
        return queued

    async def test(self, url: str, secret: str, event_type: EventType) -> TestResult:
        """
        Send a made-up event now, and return what came.

        Raises:
            InvalidRequest: the callback could never be called.
            RateLimited: there were enough in the last minute.
        """
        self._callbacks.check_callback(url, secret)
        self._count_test()
        event_id = f"evt_test_{secrets.token_hex(12)}"
        body = sample_body(event_id, event_type, self._clock.now_ms())
        answer = await self._sender.send(url, secret, event_id=event_id, event_type=event_type, body=body)
        return TestResult(event_id, answer.status, answer.latency_ms, answer.response, answer.error)

    def _count_test(self) -> None:
        if wait_s := self.limiter.take(_TEST, _ALL):
            raise RateLimited(f"at most {TESTS.count} test events a minute", retry_after_s=wait_s)
