"""Sends what the outbox holds: each receiver in a queue of its own, every outcome written down."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from kernel.clock import Clock
from kernel.errors import Collision, UnknownOutcome
from kernel.logging import fields
from kernel.store.database import Database, Tx
from kernel.store.leases import LANE, Leases
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.wakeup import Wakeup
from scanner.cluster import chain_lock
from scanner.model import EventType, OutboxEvent, Priority
from scanner.store import outbox
from scanner.store.errors import StoreError
from scanner.store.outbox import AttemptRecord, Saturated
from scanner.upkeep.metrics import OUTCOMES, Metrics
from webhooks.http_sender import Attempt, HttpSender
from webhooks.schedule import RetrySchedule
from webhooks.signing import headers_for

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 32  # deliveries under way to one healthy receiver
MAX_IN_FLIGHT_FAILING = 4
BATCH = 1024  # events taken from the outbox at once
LOW_WATER = 512  # a queue with fewer waiting is given more: enough to send while they are fetched
MAX_WRITTEN = 1024  # outcomes in one transaction
LONGEST_WAIT_S = 60.0
OTHERS_S = 0.5  # how often is looked for what other processes queued
IDLE_LANES_MS = 5_000
LOCKED_LANES_MS = 2_000
STORE_PAUSE_S = 5.0


@dataclass(slots=True)
class ReceiverQueue:
    """One receiver's queue: however slow it is, it delays nobody else."""

    waiting: dict[Priority, deque[OutboxEvent]] = field(default_factory=lambda: {each: deque() for each in Priority})
    active: set[str] = field(default_factory=set)  # being sent, or sent and being written down
    watches: dict[str, deque[OutboxEvent]] = field(default_factory=dict)  # being told of, and what is told of them next
    sending: int = 0
    failing: bool = False

    @property
    def width(self) -> int:
        return MAX_IN_FLIGHT_FAILING if self.failing else MAX_IN_FLIGHT

    def take(self) -> OutboxEvent | None:
        """Return the next event to send; None when there is none, or enough is under way."""
        while self.sending < self.width:
            queue = next(filter(None, self.waiting.values()), None)  # the most urgent first
            if queue is None:
                return None
            event = queue.popleft()
            if event.subject_kind == outbox.WATCH and event.subject_id in self.watches:
                # An older balance that arrives behind a newer one is the last thing its backend hears.
                self.watches[event.subject_id].append(event)
                continue
            if event.subject_kind == outbox.WATCH:
                self.watches[event.subject_id] = deque()
            self.active.add(event.event_id)
            self.sending += 1
            return event
        return None

    def sent(self, event: OutboxEvent) -> None:
        """Make room; what else there is to tell of the same watch comes next."""
        self.sending -= 1
        if event.subject_kind == outbox.WATCH:
            for following in reversed(self.watches.pop(event.subject_id)):
                self.waiting[Priority(following.priority)].appendleft(following)

    @property
    def in_flight(self) -> set[str]:
        """What must not be taken once more; of a priority that is full nothing is taken at all."""
        saturated = self.saturated
        waiting = (queue for priority, queue in self.waiting.items() if priority not in saturated)
        held = itertools.chain(self.watches.values(), waiting)
        return self.active | {event.event_id for queue in held for event in queue}

    @property
    def empty(self) -> bool:
        return not self.active and not any(self.waiting.values()) and not any(self.watches.values())

    @property
    def saturated(self) -> Collection[Priority]:
        """
        The priorities of which enough is waiting: as much of the same or more urgent.

        Thousands of lesser events must not keep a payment out of the queue it would lead.
        """
        ahead = itertools.accumulate(len(queue) for queue in self.waiting.values())
        return [priority for priority, count in zip(self.waiting, ahead, strict=True) if count >= LOW_WATER]


class WebhookDispatcher:
    """
    The one sender of webhooks.

    Crash-safe: what is in hand is only in memory and still `pending` in the outbox; an attempt whose
    outcome was not written is made again with the same event id.
    """

    def __init__(
        self,
        *,
        db: Database,
        client: HttpSender,
        schedule: RetrySchedule,
        clock: Clock,
        metrics: Metrics,
        open_secret: Callable[[str], str] = str,
        lanes: Leases | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.wakeup = Wakeup()
        self._lanes = lanes  # where several processes deliver
        self._claimed: set[str] = set()  # lanes, as far as nobody took them since
        self._locked: dict[str, int] = {}  # lanes that are free and cannot be claimed, and since when
        self._dropped_at = 0
        self._db = db
        self._client = client
        self._schedule = schedule
        self._clock = clock
        self._metrics = metrics
        self._attempts = {outcome: metrics.attempts.labels(outcome) for outcome in OUTCOMES}
        self._acknowledged = functools.cache(metrics.acknowledged.labels)  # by type, of which there are a few
        self._rand = rand
        self._open = open_secret
        self._queues: dict[str, ReceiverQueue] = {}
        self._outcomes: deque[AttemptRecord] = deque()  # sent, and not written down yet
        self._outcome = Wakeup()
        self._stopping = False
        self._sent_all = False
        self._more = False  # the outbox may hold more for a queue that had no room
        self._outage = FailureLog(log, "[webhook] cannot use the store")

    async def run(self) -> None:
        """Deliver until `stop`; then finish what is under way and return."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._record(), name="webhook outcomes")
            async with asyncio.TaskGroup() as senders:
                await self._claim(senders)
            self._sent_all = True
            self._outcome.wake()

    def stop(self) -> None:
        """Start nothing new."""
        self._stopping = True
        for receiver_queue in self._queues.values():
            for queue in (*receiver_queue.waiting.values(), *receiver_queue.watches.values()):
                queue.clear()
        self.wakeup.wake()

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        while not self._stopping:
            try:
                nap_s = await self._claim_once(group)
                self._outage.recovered()
            except StoreError as exc:
                self._outage.failed(str(exc))
                nap_s = STORE_PAUSE_S
            if nap_s > 0:
                await self.wakeup.wait(nap_s)

    async def _claim_once(self, group: asyncio.TaskGroup) -> float:
        """Hand due events to their queues; return how long to wait for more."""
        now = self._clock.now_ms()
        saturated: dict[Priority, list[str]] = {}
        for receiver, receiver_queue in self._queues.items():
            for priority in receiver_queue.saturated:
                saturated.setdefault(priority, []).append(receiver)
        in_flight = {event_id for receiver_queue in self._queues.values() for event_id in receiver_queue.in_flight}
        self._more = False
        async with self._db.read() as tx:
            wanted = await self._unclaimed(tx, now)
            due, later = ([], None) if wanted else await self._due(tx, now, in_flight, saturated)
        if self._lanes is not None:
            await self._claim_lanes(self._lanes, wanted, now)
        if wanted:  # what is due in lanes that were nobody's is ours only now
            async with self._db.read() as tx:
                due, later = await self._due(tx, now, in_flight, saturated)
        self._more = bool(saturated)
        receivers = {event.receiver for event in due}
        for receiver in receivers - self._queues.keys():
            self._queues[receiver] = ReceiverQueue()
        for event in due:
            self._queues[event.receiver].waiting[Priority(event.priority)].append(event)
        for receiver in receivers:
            self._fill(group, self._queues[receiver])
        if self._lanes is not None:
            await self._drop_lanes(self._lanes, wanted, now)  # what was just found to be due is in a queue by now
        if len(due) == BATCH or self._has_room(saturated):
            return 0.0
        # What others queue rings no bell here.
        longest_s = LONGEST_WAIT_S if self._lanes is None else OTHERS_S
        return longest_s if later is None else min(longest_s, max(0.0, (later - now) / 1000))

    async def _due(
        self, tx: Tx, now: int, in_flight: Collection[str], saturated: Saturated
    ) -> tuple[list[OutboxEvent], int | None]:
        """Return what is to be sent now, and when the next wants to be, of the same snapshot."""
        me = None if self._lanes is None else self._lanes.incarnation
        due = await outbox.due(tx, now, in_flight=in_flight, saturated=saturated, limit=BATCH, me=me)
        if len(due) == BATCH:  # as many as were asked for: there may be more
            return due, None
        taken = {*in_flight, *(event.event_id for event in due)}
        return due, await outbox.next_due(tx, in_flight=taken, saturated=saturated, me=me)

    async def _unclaimed(self, tx: Tx, now: int) -> set[str]:
        """Return receivers to whom something is due in lanes that nobody has."""
        if self._lanes is None:
            return set()
        me, alive_since = self._lanes.incarnation, now - self._lanes.lease_ms
        return await outbox.unclaimed(tx, now, me=me, alive_since=alive_since, limit=BATCH)

    async def _claim_lanes(self, lanes: Leases, wanted: set[str], now: int) -> None:
        """Take the lanes of receivers to whom something is due."""
        claimed = await lanes.claim(wanted) if wanted else set()
        # Free, and locked all the same: by a process that was stopped while it wrote, and is gone by now.
        self._locked = {receiver: self._locked.get(receiver, now) for receiver in wanted - claimed}
        for receiver in [each for each, since in self._locked.items() if now - since >= LOCKED_LANES_MS]:
            if await lanes.take(LANE + receiver):
                claimed.add(receiver)
        self._claimed |= claimed

    async def _drop_lanes(self, lanes: Leases, wanted: set[str], now: int) -> None:
        """Give up lanes in which nothing is left."""
        idle = self._claimed - self._queues.keys() - wanted
        if idle and now - self._dropped_at >= IDLE_LANES_MS:
            self._dropped_at = now
            await lanes.drop(idle)
            self._claimed -= idle

    def _has_room(self, saturated: Mapping[Priority, Collection[str]]) -> bool:
        """Say whether a queue that had enough of something has room for it by now."""
        return any(
            receiver not in self._queues or priority not in self._queues[receiver].saturated
            for priority, receivers in saturated.items()
            for receiver in receivers
        )

    def _fill(self, group: asyncio.TaskGroup, receiver_queue: ReceiverQueue) -> None:
        while (event := receiver_queue.take()) is not None:
            group.create_task(self._send(group, receiver_queue, event), name=f"webhooks to {event.receiver}")
        if self._more and not receiver_queue.saturated:
            self.wakeup.wake()

    async def _send(self, group: asyncio.TaskGroup, receiver_queue: ReceiverQueue, first: OutboxEvent) -> None:
        """Send one event after the other while the queue has any; what came of them is written down meanwhile."""
        event: OutboxEvent | None = first
        while event is not None:
            record = await self._attempt(event)
            receiver_queue.sent(event)
            receiver_queue.failing = not record.ok
            self._outcomes.append(record)
            self._outcome.wake()
            event = receiver_queue.take()
            self._fill(group, receiver_queue)

    async def _record(self) -> None:
        """Write outcomes down, as many at once as have come in meanwhile, until all is sent and written."""
        while self._outcomes or not self._sent_all:
            await self._outcome.wait()
            while self._outcomes:
                records = [self._outcomes.popleft() for _ in range(min(MAX_WRITTEN, len(self._outcomes)))]
                written = await self._write(records)
                self._release(records)
                if not written or any(record.retry_at is not None for record in records):
                    self.wakeup.wake()  # when to come back is known only now

    async def _write(self, records: Sequence[AttemptRecord]) -> bool:
        try:
            await self._record_once(records)
            return True
        except Collision:
            return await self._write_again(records)
        except StoreError as exc:
            # Sent but not written down: it will be sent again with the same id, after a pause.
            self._outage.failed(str(exc))
            # The next start would send all of it again: worth one more try, unless it may have been written.
            if self._stopping and not isinstance(exc, UnknownOutcome):
                return await self._write_again(records)
            if not self._stopping:
                await self._clock.sleep(STORE_PAUSE_S)
            return False

    async def _record_once(self, records: Sequence[AttemptRecord]) -> None:
        async with self._db.write() as tx:
            if self._lanes is not None:
                # What was sent for a receiver that another process took over meanwhile is that one's to tell again,
                # also where its lane has come back since: by then it may have been told.
                kept = await self._lanes.keep(tx, {record.event.receiver for record in records})
                records = [r for r in records if r.event.receiver in kept and kept[r.event.receiver] == r.event.lane]
                # These change intents and watches, about which the chain's leader decides as well.
                await self._db.lock(tx, *{chain_lock(r.event.chain_id) for r in records if _changes_more(r)})
            if records:
                await outbox.record(tx, records)

    async def _write_again(self, records: Sequence[AttemptRecord]) -> bool:
        try:
            await self._record_once(records)
        except StoreError as exc:
            self._outage.failed(str(exc))
            return False
        return True

    def _release(self, records: Sequence[AttemptRecord]) -> None:
        for receiver, of_receiver in groupby(records, key=lambda record: record.event.receiver):
            receiver_queue = self._queues[receiver]
            receiver_queue.active.difference_update(record.event.event_id for record in of_receiver)
            if receiver_queue.empty:
                del self._queues[receiver]

    async def _attempt(self, event: OutboxEvent) -> AttemptRecord:
        try:
            secrets = [self._open(secret) for secret in event.secrets]
        except StoreError as exc:
            attempt = Attempt(
                ok=False, status=None, latency_ms=0, response="", error=str(exc), retry_after=None, gone=False
            )
        else:
            attempt = await self._client.send(event.callback_url, event.body, self._headers(event, secrets))
        now = self._clock.now_ms()
        record = AttemptRecord(
            event=event,
            at=now,
            ok=attempt.ok,
            status=attempt.status,
            latency_ms=attempt.latency_ms,
            response=attempt.response,
            error=attempt.error,
            retry_at=self._retry_at(event, attempt, now),
        )
        self._report(record)
        return record

    def _headers(self, event: OutboxEvent, secrets: Sequence[str]) -> dict[str, str]:
        return headers_for(
            event_id=event.event_id,
            event_type=event.event_type,
            delivery_id=event.subject_id,
            body=event.body,
            secret=secrets[0],
            former=next(iter(secrets[1:]), None),
            timestamp=self._clock.wall_ms() // 1000,
        )

    def _retry_at(self, event: OutboxEvent, attempt: Attempt, now: int) -> int | None:
        if attempt.ok or attempt.gone:  # 410: asking again will not help; an operator or the sweep may
            return None
        delay = self._schedule.next_delay(event.attempts + 1, retry_after=attempt.retry_after, rand=self._rand())
        return None if delay is None else now + int(delay * 1000)

    def _report(self, record: AttemptRecord) -> None:
        event = record.event
        self._metrics.attempt_seconds.observe(record.latency_ms / 1000)
        outcome = "delivered" if record.ok else ("exhausted" if record.retry_at is None else "retried")
        self._attempts[outcome].inc()
        said = fields(
            event=event.event_id,
            type=event.event_type,
            subject=event.subject_id,
            status=record.status,
            error=record.error,
        )
        prefix = "[balance-watch-webhook]" if event.subject_kind == outbox.WATCH else "[webhook]"
        if record.ok:
            self._acknowledged(event.event_type).inc()
            self._metrics.delivery_seconds.observe(max(0, record.at - event.created_at) / 1000)
            log.info("%s delivered", prefix, extra=said)
        elif record.retry_at is None:
            log.error("[webhook] all retries exhausted", extra=said)
        else:
            log.info("%s non-2xx response", prefix, extra=said)


def _changes_more(record: AttemptRecord) -> bool:
    """Say whether an outcome changes more than its event: an intent that was confirmed, or a watch."""
    return record.event.event_type == EventType.CONFIRMED or record.event.subject_kind == outbox.WATCH
