"""The deliverer with a real store, a real receiver and a clock that moves when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from devnet.receiver import Receiver
from kernel.clock import SystemClock
from kernel.errors import UnknownOutcome
from kernel.store.database import Database, open_database
from scanner import events
from scanner.model import DeliveryStatus, EventType, Intent, IntentStatus, OutboxEvent, Priority
from scanner.store import intents, outbox, tables
from scanner.store.errors import StoreError
from scanner.upkeep.metrics import Metrics
from tests.harness import SECRET, FakeClock, empty_store
from tests.scanner.facts import NOW, a_hash, an_intent, stored
from webhooks import dispatcher as dispatcher_module
from webhooks.dispatcher import MAX_IN_FLIGHT, MAX_IN_FLIGHT_FAILING, ReceiverQueue, WebhookDispatcher
from webhooks.http_sender import open_sender
from webhooks.schedule import RetrySchedule
from webhooks.signing import verify_standard
from webhooks.ssrf_guard import SsrfGuard

PAUSES = (5.0, 30.0, 120.0)
HOUR_S = 3600


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    (tmp_path / "scanner.db").write_bytes(empty_store())
    async with open_database(tmp_path / "scanner.db") as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


class DispatcherBench:
    """A deliverer that runs, and what the store says of its events."""

    def __init__(self, db: Database, clock: Any, dispatcher: WebhookDispatcher, metrics: Metrics) -> None:
        self.db = db
        self.clock = clock
        self.dispatcher = dispatcher
        self.metrics = metrics
        self.task: asyncio.Task[None] | None = None

    async def queue(self, *new: Intent) -> list[str]:
        """Store confirmed intents with their events, as confirming does."""
        now = self.clock.now_ms()
        async with self.db.write() as tx:
            await intents.add_many(tx, new)
            rows = [events.confirmed(intent, [], now) for intent in new]
            await outbox.add(tx, rows)
        self.dispatcher.wakeup.wake()
        return [row["event_id"] for row in rows]

    async def add(self, new: Sequence[Intent], rows: Sequence[dict[str, Any]]) -> None:
        """Store intents and what there is to tell of them."""
        async with self.db.write() as tx:
            await intents.add_many(tx, new)
            await outbox.add(tx, rows)
        self.dispatcher.wakeup.wake()

    async def intent(self, intent_id: str = "order-1") -> Intent:
        async with self.db.read() as tx:
            found = await intents.get(tx, intent_id)
        assert found is not None
        return found

    async def row(self, event_id: str) -> Any:
        async with self.db.read() as tx:
            return (await tx.execute(select(tables.events).where(tables.events.c.event_id == event_id))).one()

    async def tries(self, intent_id: str = "order-1") -> list[dict[str, Any]]:
        async with self.db.read() as tx:
            return [each for event in await outbox.history(tx, outbox.INTENT, intent_id) for each in event["tries"]]

    async def until(self, condition: Callable[[Any], bool], event_id: str) -> Any:
        """Wait until a row of the outbox is as a test wants it: the store is where others would see it."""
        async with asyncio.timeout(10):
            while not condition(row := await self.row(event_id)):  # noqa: ASYNC110 - seen in the store
                await asyncio.sleep(0.005)
        return row

    async def tried(self, event_id: str, times: int) -> Any:
        return await self.until(
            lambda row: row.attempts == times or row.status in {DeliveryStatus.DELIVERED, DeliveryStatus.FAILED},
            event_id,
        )

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.dispatcher.wakeup.wake()

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"amn_scanner_{name}", labels) or 0.0


@asynccontextmanager
async def delivering(
    db: Database, clock: Any, *, rand: float = 0.5, pauses: tuple[float, ...] = PAUSES
) -> AsyncIterator[DispatcherBench]:
    metrics = Metrics()
    async with open_sender(SsrfGuard(frozenset(), production=False), timeout_s=10) as client:
        dispatcher = WebhookDispatcher(
            db=db, client=client, schedule=RetrySchedule(pauses), clock=clock, metrics=metrics, rand=lambda: rand
        )
        bench = DispatcherBench(db, clock, dispatcher, metrics)
        bench.task = asyncio.create_task(dispatcher.run())
        try:
            yield bench
        finally:
            dispatcher.stop()
            bench.task.cancel()
            await asyncio.wait([bench.task])


@pytest.fixture
async def bench(db: Database, clock: FakeClock) -> AsyncIterator[DispatcherBench]:
    async with delivering(db, clock) as found:
        yield found


def paid(url: str, intent_id: str = "order-1", **fields: Any) -> Intent:
    """Return a confirmed intent nobody was notified of."""
    values: dict[str, Any] = {
        "callback_url": url,
        "callback_secret": SECRET,
        "receiver": url.partition("/hook")[0],
        "status": IntentStatus.CONFIRMED,
        "confirmed_at": NOW,
        "tx_hash": a_hash("tx"),
        "block_number": 100,
        "confirmations": 5,
    }
    return an_intent(intent_id, **(values | fields))


async def test_a_delivery_is_written_down_with_its_attempt_and_its_intent(
    bench: DispatcherBench, hooks: Receiver
) -> None:
    (event_id,) = await bench.queue(paid(hooks.url()))

    row = await bench.tried(event_id, 1)

    assert (row.status, row.delivered_at) == (DeliveryStatus.DELIVERED, NOW)
    assert (await bench.intent()).webhook_delivered_at == NOW
    (attempt,) = await bench.tries()
    assert (attempt["ok"], attempt["status"], attempt["round"], attempt["number"]) == (True, 200, 1, 1)
    assert bench.value("webhook_attempts_total", outcome="delivered") == 1


@pytest.mark.parametrize(("rand", "factor"), [(0.0, 0.9), (0.5, 1.0), (0.75, 1.05)])
async def test_retries_follow_the_schedule_with_jitter_and_then_end(
    db: Database, clock: FakeClock, hooks: Receiver, rand: float, factor: float
) -> None:
    hooks.behave(statuses=[500])
    async with delivering(db, clock, rand=rand) as bench:
        (event_id,) = await bench.queue(paid(hooks.url()))
        for made, pause in enumerate(PAUSES, start=1):
            row = await bench.tried(event_id, made)
            assert row.next_attempt_at - clock.now_ms() == round(pause * factor * 1000)
            bench.later(pause * factor)
        row = await bench.tried(event_id, len(PAUSES) + 1)

        assert (row.status, row.failed_at) == (DeliveryStatus.FAILED, clock.now_ms())
        assert (await bench.intent()).status is IntentStatus.WEBHOOK_FAILED
        assert len(hooks.deliveries) == len(PAUSES) + 1
        assert [each["number"] for each in await bench.tries()] == [1, 2, 3, 4]
        assert bench.value("webhook_attempts_total", outcome="retried") == len(PAUSES)
        assert bench.value("webhook_attempts_total", outcome="exhausted") == 1


async def test_no_attempt_is_made_before_its_time(bench: DispatcherBench, hooks: Receiver) -> None:
    hooks.behave(statuses=[500])
    (event_id,) = await bench.queue(paid(hooks.url()))
    await bench.tried(event_id, 1)

    bench.later(PAUSES[0] - 0.001)
    (other,) = await bench.queue(paid(hooks.url("/hook/other"), "order-2"))
    await bench.until(lambda row: row.status == DeliveryStatus.DELIVERED, other)  # the outbox was looked at since

    assert len(hooks.of("/hook")) == 1
    bench.later(0.001)
    await bench.tried(event_id, 2)
    assert len(hooks.of("/hook")) == 2


@pytest.mark.parametrize(
    ("header", "pause_s"), [("77", 77), ("1", 5), ("0", 5), ("99999999", 24 * HOUR_S), ("-3", 5), ("soon", 5)]
)
async def test_a_receiver_may_ask_for_more_time_but_not_for_less(
    bench: DispatcherBench, hooks: Receiver, header: str, pause_s: int
) -> None:
    hooks.behave(statuses=[503], headers={"Retry-After": header})
    (event_id,) = await bench.queue(paid(hooks.url()))

    row = await bench.tried(event_id, 1)

    assert row.next_attempt_at - NOW == pause_s * 1000


async def test_gone_ends_the_round_and_a_new_round_starts_from_the_first_pause(
    bench: DispatcherBench, hooks: Receiver
) -> None:
    hooks.behave(statuses=[410, 500, 200])
    (event_id,) = await bench.queue(paid(hooks.url()))
    row = await bench.tried(event_id, 1)
    assert row.status == DeliveryStatus.FAILED

    bench.later(60)
    async with bench.db.write() as tx:
        assert await outbox.requeue_failed(tx, bench.clock.now_ms(), failed_before=bench.clock.now_ms()) == 1
    bench.dispatcher.wakeup.wake()
    row = await bench.until(lambda row: row.round == 2 and row.attempts == 1, event_id)
    assert row.next_attempt_at - bench.clock.now_ms() == PAUSES[0] * 1000
    bench.later(PAUSES[0])
    await bench.until(lambda row: row.status == DeliveryStatus.DELIVERED, event_id)

    assert [(each["round"], each["number"]) for each in await bench.tries()] == [(1, 1), (2, 1), (2, 2)]
    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    assert len(hooks.distinct) == 1


async def test_a_receiver_that_hangs_delays_no_other_and_takes_no_more_than_its_queue(
    bench: DispatcherBench, hooks: Receiver
) -> None:
    hooks.behave("/hook/dead", hang=True)
    dead = hooks.url("/hook/dead").replace("127.0.0.1", "localhost")  # another receiver, by name
    await bench.queue(*(paid(dead, f"dead-{i}") for i in range(MAX_IN_FLIGHT * 3)))
    await hooks.wait_until(lambda: len(hooks.of("/hook/dead")) >= MAX_IN_FLIGHT)

    alive = await bench.queue(*(paid(hooks.url(), f"alive-{i}") for i in range(50)))
    for event_id in alive:
        await bench.until(lambda row: row.status == DeliveryStatus.DELIVERED, event_id)

    assert len(hooks.of("/hook/dead")) == MAX_IN_FLIGHT


async def test_the_outbox_is_looked_at_once_for_each_bell(
    db: Database, clock: FakeClock, hooks: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    look = outbox.due

    async def counted(*asked: Any, **how: Any) -> list[OutboxEvent]:
        found = await look(*asked, **how)
        looks.append(len(found))
        return found

    monkeypatch.setattr(outbox, "due", counted)
    async with delivering(db, clock) as bench:
        for number in range(3):
            (event_id,) = await bench.queue(paid(hooks.url(), f"order-{number}"))
            await bench.tried(event_id, 1)

    assert sum(looks) == 3
    assert len(looks) <= 1 + 3, "one at the start, and one each time that something was queued"


async def test_a_queue_is_emptied_however_long_it_is(
    bench: DispatcherBench, hooks: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "BATCH", 16)
    monkeypatch.setattr(dispatcher_module, "LOW_WATER", 8)
    hooks.behave(pause_s=0.1)  # long enough for the queue to be full and the claims to rest
    queued = await bench.queue(*(paid(hooks.url(), f"order-{i}") for i in range(MAX_IN_FLIGHT * 5)))

    for event_id in queued:
        await bench.until(lambda row: row.status == DeliveryStatus.DELIVERED, event_id)

    assert len(hooks.deliveries) == len(hooks.distinct) == MAX_IN_FLIGHT * 5


@pytest.mark.parametrize("limits", [(16, 8), (1024, 512), (4, 7)])
async def test_what_is_urgent_goes_before_what_waits_already(
    bench: DispatcherBench, hooks: Receiver, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]
) -> None:
    monkeypatch.setattr(dispatcher_module, "BATCH", limits[0])
    monkeypatch.setattr(dispatcher_module, "LOW_WATER", limits[1])
    answered = asyncio.Event()
    hooks.behave(hold=answered)
    noticed = [paid(hooks.url(), f"notice-{i}") for i in range(MAX_IN_FLIGHT * 3)]
    await bench.add(noticed, [events.expired(intent, NOW) for intent in noticed])
    await hooks.wait_until(lambda: len(hooks.deliveries) >= MAX_IN_FLIGHT)

    gone = [paid(hooks.url(), f"gone-{i}") for i in range(3)]
    await bench.add(gone, [events.about_transfer(intent, EventType.REORGED, stored(), NOW) for intent in gone])
    await bench.queue(*(paid(hooks.url(), f"paid-{i}") for i in range(3)))
    async with asyncio.timeout(10):
        while urgent(bench) < 6:  # noqa: ASYNC110 - seen from inside only
            await asyncio.sleep(0.001)
    hooks.behave()
    answered.set()
    await hooks.wait_until(lambda: len(hooks.distinct) == len(noticed) + 6)

    order = [delivery.json["intentId"].partition("-")[0] for delivery in hooks.deliveries]
    assert order[:MAX_IN_FLIGHT] == ["notice"] * MAX_IN_FLIGHT
    assert order[MAX_IN_FLIGHT : MAX_IN_FLIGHT + 6] == ["paid"] * 3 + ["gone"] * 3


def urgent(bench: DispatcherBench) -> int:
    """Count what waits in the dispatcher's hands before the least urgent."""
    queues = bench.dispatcher._queues.values()
    return sum(len(queue.waiting[each]) for queue in queues for each in Priority if each is not max(Priority))


def test_what_is_urgent_never_runs_out_before_more_of_it_is_fetched() -> None:
    """Every delivery under way may end at once: with fewer in hand, less urgent events would go before the rest."""
    assert dispatcher_module.LOW_WATER > MAX_IN_FLIGHT
    assert dispatcher_module.BATCH >= dispatcher_module.LOW_WATER


def a_change(event_id: str, watch_id: str) -> OutboxEvent:
    """Return what is told of a balance."""
    return OutboxEvent(
        event_id, outbox.WATCH, watch_id, "balance_changed", 97, b"", "shop", "http://shop.test", (), 1, 0, 0, 0
    )


def test_of_one_watch_one_balance_is_told_at_a_time_and_the_older_first() -> None:
    queue = ReceiverQueue()
    older, newer, other = a_change("older", "watch-1"), a_change("newer", "watch-1"), a_change("other", "watch-2")
    queue.waiting[Priority.REST].extend((older, newer, other))

    assert (queue.take(), queue.take(), queue.take()) == (older, other, None)
    assert queue.in_flight == {"older", "newer", "other"}
    queue.active.clear()  # what came of them is written down
    assert not queue.empty
    queue.sent(older)
    assert queue.take() == newer
    queue.sent(newer)
    queue.sent(other)
    queue.active.clear()
    assert queue.empty
    assert queue.sending == 0


async def test_nothing_is_kept_of_a_receiver_nobody_waits_for(bench: DispatcherBench, hooks: Receiver) -> None:
    hooks.behave(statuses=[500])
    (event_id,) = await bench.queue(paid(hooks.url()))
    await bench.tried(event_id, 1)

    async with asyncio.timeout(5):
        while bench.dispatcher._queues:  # noqa: ASYNC110 - seen from inside only
            await asyncio.sleep(0.001)


async def test_each_attempt_is_signed_anew_under_the_same_id(bench: DispatcherBench, hooks: Receiver) -> None:
    hooks.behave(statuses=[500, 200])
    (event_id,) = await bench.queue(paid(hooks.url()))
    await bench.tried(event_id, 1)
    bench.later(5)
    await bench.until(lambda row: row.status == DeliveryStatus.DELIVERED, event_id)

    stamps = [int(d.headers["webhook-timestamp"]) for d in hooks.deliveries]
    assert stamps == [NOW // 1000, NOW // 1000 + 5]
    assert {d.headers["webhook-id"] for d in hooks.deliveries} == {event_id}
    assert all(verify_standard(d.headers, d.body, SECRET, now=s) for d, s in zip(hooks.deliveries, stamps, strict=True))


async def test_what_is_under_way_is_finished_and_written_down_before_it_stops(
    bench: DispatcherBench, hooks: Receiver
) -> None:
    hooks.behave(pause_s=0.2)
    queued = await bench.queue(*(paid(hooks.url(), f"order-{i}") for i in range(MAX_IN_FLIGHT + 20)))
    await hooks.wait_for(MAX_IN_FLIGHT)

    bench.dispatcher.stop()
    assert bench.task is not None
    async with asyncio.timeout(10):
        await bench.task

    states = [(await bench.row(event_id)).status for event_id in queued]
    assert states.count(DeliveryStatus.DELIVERED) == len(hooks.deliveries) == MAX_IN_FLIGHT
    assert states.count(DeliveryStatus.PENDING) == 20
    assert await bench.tries("order-0") != []


@pytest.mark.parametrize(
    ("refusal", "written"), [(StoreError("database is locked"), 1), (UnknownOutcome("the connection was lost"), 0)]
)
async def test_what_cannot_be_written_at_the_end_is_written_at_the_second_try(
    bench: DispatcherBench, hooks: Receiver, monkeypatch: pytest.MonkeyPatch, refusal: StoreError, written: int
) -> None:
    hooks.behave(hold=(answers := asyncio.Event()))
    (event_id,) = await bench.queue(paid(hooks.url()))
    await hooks.wait_for(1)
    write = outbox.record
    refusals = iter([refusal])

    async def fails_once(*args: Any) -> None:
        for each in refusals:
            raise each
        await write(*args)

    monkeypatch.setattr(outbox, "record", fails_once)
    bench.dispatcher.stop()
    answers.set()
    assert bench.task is not None
    async with asyncio.timeout(10):
        await bench.task

    # What may have been written is not written twice: it is sent again under its id.
    told = DeliveryStatus.DELIVERED if written else DeliveryStatus.PENDING
    assert ((await bench.row(event_id)).status, len(await bench.tries())) == (told, written)


async def test_what_was_sent_but_not_written_is_sent_again_with_the_same_id(
    bench: DispatcherBench, hooks: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        async def fails(*_: Any) -> None:
            raise StoreError("disk full")

        patch.setattr(outbox, "record", fails)
        (event_id,) = await bench.queue(paid(hooks.url()))
        await hooks.wait_for(1)
        async with asyncio.timeout(5):
            while not bench.clock._sleepers:  # noqa: ASYNC110 - it pauses before it tries again
                await asyncio.sleep(0.005)
        assert (await bench.row(event_id)).attempts == 0

    bench.later(6)
    await bench.until(lambda row: row.status == DeliveryStatus.DELIVERED, event_id)

    assert [d.event_id for d in hooks.deliveries] == [event_id] * 2
    assert len(await bench.tries()) == 1


async def test_a_store_that_cannot_be_read_is_asked_again(
    bench: DispatcherBench, hooks: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.Event()

    async def fails(*_: Any, **__: Any) -> Any:
        asked.set()
        raise StoreError("disk gone")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "due", fails)
        (event_id,) = await bench.queue(paid(hooks.url()))
        await asked.wait()
    bench.dispatcher.wakeup.wake()

    await bench.until(lambda row: row.status == DeliveryStatus.DELIVERED, event_id)
    assert "[webhook] cannot use the store: disk gone" in caplog.text


async def test_a_retry_comes_at_its_time_although_nobody_rings(db: Database, hooks: Receiver) -> None:
    hooks.behave(statuses=[500, 200])
    async with delivering(db, SystemClock(), pauses=(0.05,)) as bench:
        (event_id,) = await bench.queue(paid(hooks.url()))

        await bench.until(lambda row: row.status == DeliveryStatus.DELIVERED, event_id)

    assert len(hooks.deliveries) == 2


async def test_a_signature_tells_the_time_of_the_wall(bench: DispatcherBench, hooks: Receiver) -> None:
    """Receivers compare it with theirs; what waits goes by a time that passes evenly until the store has moved it."""
    bench.clock.set(-1200)
    await bench.queue(paid(hooks.url()))

    (delivery,) = await hooks.wait_for(1)
    assert int(delivery.headers["webhook-timestamp"]) * 1000 == bench.clock.now_ms() - 1_200_000


async def test_opt_in_events_do_not_mark_the_intent_as_delivered(bench: DispatcherBench, hooks: Receiver) -> None:
    hooks.behave(statuses=[410])
    intent = paid(hooks.url(), events=(EventType.EXPIRED,))
    async with bench.db.write() as tx:
        await intents.add_many(tx, [intent])
        row = events.expired(intent, NOW)
        await outbox.add(tx, [row])
    bench.dispatcher.wakeup.wake()

    await bench.until(lambda row: row.status == DeliveryStatus.FAILED, row["event_id"])

    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    assert (await bench.intent()).webhook_delivered_at is None


async def test_a_failing_receiver_gets_few_calls_at_once(bench: DispatcherBench, hooks: Receiver) -> None:
    hooks.behave("/hook", statuses=[500], pause_s=0.2)
    await bench.queue(*(paid(hooks.url(), f"order-{i}") for i in range(MAX_IN_FLIGHT * 3)))
    await hooks.wait_until(lambda: len(hooks.deliveries) == MAX_IN_FLIGHT)
    hooks.behave("/hook", hang=True)  # whatever comes after those that fail stays under way
    (queue,) = bench.dispatcher._queues.values()

    async with asyncio.timeout(5):
        while queue.sending != MAX_IN_FLIGHT_FAILING:  # noqa: ASYNC110 - seen from inside only
            await asyncio.sleep(0.001)
    assert queue.failing
    await hooks.wait_until(lambda: len(hooks.deliveries) == MAX_IN_FLIGHT + MAX_IN_FLIGHT_FAILING)
