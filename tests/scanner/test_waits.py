"""What the scanner waits for goes on waiting as long as it would have, whatever the host's clock is set to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from kernel.store.clock_follower import AGAIN_MS, ClockFollower
from kernel.store.database import Database, open_database
from kernel.tasks.wakeup import Wakeup
from scanner import events
from scanner.balance_watcher import BalanceWatcher
from scanner.model import ChainTime, EventType, Priority, Reason, WatchStatus
from scanner.native_deposits import NativeDepositDetector
from scanner.reading.folding import Judged
from scanner.redelivery import Redelivery
from scanner.store import intents, outbox, summaries, tables, transfers, watches
from scanner.store.outbox import AttemptRecord
from scanner.store.waits import ScannerWaits
from scanner.upkeep.metrics import Metrics
from scanner.upkeep.summaries import INTERVAL_MS, Told
from scanner.upkeep.watch_schedule import LONGEST_MS as LONGEST_WATCH_MS
from tests.harness import FakeClock, empty_store
from tests.scanner.facts import NOW, a_transfer, an_intent, steady, stored
from tests.scanner.fake_chain import FakeChain, a_chain
from tests.scanner.test_watch_week import DAY_MS, MINUTE_MS, a_watch

LONGEST_MS = DAY_MS
BACK_S, FORWARD_S = -1200.0, 1200.0
STEPS_S = [BACK_S, FORWARD_S, -365 * 86_400.0, 365 * 86_400.0]


@pytest.fixture
def follower(clock: FakeClock, db: Database) -> ClockFollower:
    return ClockFollower(clock, db, ScannerWaits(LONGEST_MS))


async def tried(db: Database, clock: FakeClock, wait_s: float | None, *, name: str = "order-1") -> str:
    """Queue an event and let it fail once; return its id. It is given up when there is nothing to wait for."""
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent(name)])
        await outbox.add(tx, [events.confirmed(an_intent(name), [], clock.now_ms())])
        due = await outbox.due(tx, clock.now_ms(), in_flight=[], limit=10)
        event = next(each for each in due if each.subject_id == name)
        retry_at = None if wait_s is None else clock.now_ms() + round(wait_s * 1000)
        record = AttemptRecord(
            event, clock.now_ms(), ok=False, status=500, latency_ms=1, response="", error=None, retry_at=retry_at
        )
        await outbox.record(tx, [record])
    return event.event_id


async def row(db: Database, event_id: str) -> Any:
    async with db.read() as tx:
        return (await tx.execute(select(tables.events).where(tables.events.c.event_id == event_id))).one()


async def is_due(db: Database, clock: FakeClock) -> bool:
    async with db.read() as tx:
        return bool(await outbox.due(tx, clock.now_ms(), in_flight=[], limit=10))


@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize("wait_s", [5, 1800, 86_400])
async def test_a_webhook_waits_as_long_as_it_would_have(
    db: Database, clock: FakeClock, follower: ClockFollower, step_s: float, wait_s: float
) -> None:
    await tried(db, clock, wait_s)
    clock.advance(2)
    clock.set(step_s)
    await follower.look()

    clock.advance(wait_s - 2.001)
    assert not await is_due(db, clock)
    clock.advance(0.001)
    assert await is_due(db, clock)


@pytest.mark.parametrize("priority", list(Priority))
async def test_of_every_priority(db: Database, clock: FakeClock, follower: ClockFollower, priority: Priority) -> None:
    event = events.confirmed(an_intent(), [], NOW) | {"priority": priority.value, "next_attempt_at": NOW + 5000}
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent()])
        await outbox.add(tx, [event | {"attempts": 1}])
    clock.set(BACK_S)
    await follower.look()
    clock.advance(5)

    assert await is_due(db, clock)


async def test_what_was_due_stays_due(db: Database, clock: FakeClock, follower: ClockFollower) -> None:
    await tried(db, clock, 5)
    clock.advance(6)
    clock.set(BACK_S)
    await follower.look()

    assert await is_due(db, clock)


@hypothesis.settings(steady, max_examples=25)
@given(
    parts=st.lists(st.tuples(st.sampled_from([0, -60, 60, -1200, 1200, -(10**7), 10**7]), st.integers(0, 300))),
    wait_s=st.integers(1, 1000),
)
async def test_however_often_it_is_set(
    parts: Sequence[tuple[int, int]], wait_s: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clock, passed_s = FakeClock(NOW), 0
    store = tmp_path_factory.mktemp("waits") / "scanner.db"
    store.write_bytes(empty_store())
    async with open_database(store) as db:
        await tried(db, clock, wait_s)
        for step_s, pause_s in parts:
            clock.set(step_s)
            await ClockFollower(clock, db, ScannerWaits(LONGEST_MS)).look()
            clock.advance(pause_s)
            passed_s += pause_s

            assert await is_due(db, clock) is (passed_s >= wait_s)


async def test_what_is_written_by_the_old_time_meanwhile_waits_no_longer_either(
    db: Database, clock: FakeClock, follower: ClockFollower
) -> None:
    """Whoever asked for the time, and writes after the clock was set."""
    clock.set(BACK_S)
    await follower.look()
    clock.follow(1200_000)
    await tried(db, clock, 5)
    async with db.write() as tx:
        await outbox.add(tx, [events.confirmed(an_intent("order-2"), [], clock.now_ms())])
    clock.follow(-1200_000)
    clock.advance(AGAIN_MS / 1000)
    await follower.look()

    async with db.read() as tx:
        assert [e.subject_id for e in await outbox.due(tx, clock.now_ms(), in_flight=[], limit=9)] == ["order-2"]
        assert len(await outbox.due(tx, clock.now_ms() + 5000, in_flight=[], limit=9)) == 2


@pytest.mark.parametrize("again_s", [FORWARD_S, 2 * FORWARD_S, BACK_S])
async def test_nor_where_the_clock_is_set_again_before_anybody_looked(
    db: Database, clock: FakeClock, follower: ClockFollower, again_s: float
) -> None:
    clock.set(BACK_S)
    await follower.look()
    clock.follow(1200_000)
    await tried(db, clock, 5)
    clock.follow(-1200_000)
    clock.advance(6)
    clock.set(again_s)
    await follower.look()

    assert not await is_due(db, clock)
    clock.advance(5)
    assert await is_due(db, clock)


@pytest.mark.parametrize("wait_s", [5, 1800])
@pytest.mark.parametrize("back_s", [1200, 365 * 86_400])
async def test_after_a_start_by_a_clock_that_was_set_back_a_wait_begins_once_more(
    db: Database, clock: FakeClock, wait_s: int, back_s: int
) -> None:
    await tried(db, clock, wait_s)
    clock = FakeClock(NOW - back_s * 1000)
    await ClockFollower(clock, db, ScannerWaits(LONGEST_MS)).doubt()

    assert not await is_due(db, clock)
    clock.advance(wait_s)
    assert await is_due(db, clock)


async def test_and_what_was_never_tried_is_due(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent()])
        await outbox.add(tx, [events.confirmed(an_intent(), [], NOW)])
    clock = FakeClock(NOW - 1200_000)
    await ClockFollower(clock, db, ScannerWaits(LONGEST_MS)).doubt()

    assert await is_due(db, clock)


async def test_nor_what_was_not_tried_in_its_new_round(db: Database, clock: FakeClock) -> None:
    await tried(db, clock, None)
    clock.advance(6 * 3600)
    async with db.write() as tx:
        await outbox.requeue_failed(tx, clock.now_ms(), failed_before=clock.now_ms())
    clock = FakeClock(clock.now_ms() - 1200_000)
    await ClockFollower(clock, db, ScannerWaits(LONGEST_MS)).doubt()

    assert await is_due(db, clock)


@pytest.mark.parametrize(("ahead_ms", "left_ms"), [(LONGEST_MS, LONGEST_MS), (LONGEST_MS + 1, 0)])
async def test_a_wait_that_is_longer_than_any_cannot_be_true(
    db: Database, clock: FakeClock, ahead_ms: int, left_ms: int
) -> None:
    event_id = await tried(db, clock, ahead_ms / 1000)
    await ClockFollower(clock, db, ScannerWaits(LONGEST_MS)).doubt()

    assert (await row(db, event_id)).next_attempt_at - NOW == left_ms


async def test_a_start_by_a_right_clock_shortens_nothing(
    db: Database, clock: FakeClock, follower: ClockFollower, caplog: pytest.LogCaptureFixture
) -> None:
    event_id = await tried(db, clock, 1800)
    async with db.write() as tx:
        await watches.add(tx, a_watch(next_check_at=NOW + 40 * MINUTE_MS))
    await follower.doubt()

    assert (await row(db, event_id)).next_attempt_at == NOW + 1800_000
    async with db.read() as tx:
        assert await watches.due(tx, 97, NOW + 40 * MINUTE_MS - 1, limit=9) == []
    assert caplog.messages == []


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("back_s", [1200, 365 * 86_400])
async def test_what_was_given_up_is_swept_in_time(db: Database, clock: FakeClock, restart: bool, back_s: int) -> None:
    await tried(db, clock, None)
    clock = await set_back(db, clock, back_s, restart=restart)
    sweep = Redelivery(db, clock, retry_hours=0.25, on_events=lambda: None).sweep

    clock.advance(899)
    assert await sweep() == 0
    clock.advance(1)
    assert await sweep() == 1


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("back_s", [1200, 365 * 86_400])
async def test_what_is_summarised_is_reported_in_time(
    db: Database, clock: FakeClock, restart: bool, back_s: int
) -> None:
    reported = Told(an_intent(events=(EventType.ANOMALY,)), EventType.ANOMALY, stored(1), Reason.WRONG_TOKEN, 100)
    async with db.write() as tx:
        await intents.add_many(tx, [reported.intent])
        kept = Judged(a_transfer(reported.intent), reported.intent.intent_id, Reason.WRONG_TOKEN, 200)
        await transfers.add_many(tx, [kept], now=NOW)  # what is summarised is reported while it is so
        for _ in range(2):
            await outbox.add(tx, await summaries.limited(tx, [reported], now=NOW))
    clock = await set_back(db, clock, back_s, restart=restart)
    tell_together = Redelivery(db, clock, retry_hours=0, on_events=lambda: None).tell_together

    clock.advance(INTERVAL_MS / 1000 - 1)
    assert await tell_together() == 0
    clock.advance(1)
    assert await tell_together() == 1


async def set_back(db: Database, clock: FakeClock, seconds: float, *, restart: bool) -> FakeClock:
    """Set the clock back, before a process that runs or before the next one starts; return the clock it goes by."""
    if restart:
        clock = FakeClock(clock.now_ms() - round(seconds * 1000))
        await ClockFollower(clock, db, ScannerWaits(LONGEST_MS)).doubt()
    else:
        clock.set(-seconds)
        await ClockFollower(clock, db, ScannerWaits(LONGEST_MS)).look()
    return clock


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("age_minutes", [0, 23 * 60, 70 * 60, 100 * 60])
async def test_a_balance_is_read_in_time(db: Database, clock: FakeClock, restart: bool, age_minutes: int) -> None:
    async with db.write() as tx:
        await watches.add(tx, a_watch())
    clock.advance(age_minutes * 60)
    assert await watcher(db, clock).check_due() == 1
    async with db.read() as tx:
        (watch,) = await watches.due(tx, 97, NOW + 8 * DAY_MS, limit=9)
    left_ms = watch.next_check_at - clock.now_ms()
    clock = await set_back(db, clock, 1200, restart=restart)

    clock.advance(0 if restart else left_ms / 1000)  # nobody knows how long it was away
    assert await watcher(db, clock).check_due() == 1
    # And then as often as ever, also one that was made by a clock that was ahead.
    clock.advance(LONGEST_WATCH_MS / 1000)
    assert await watcher(db, clock).check_due() == 1


@pytest.mark.parametrize("restart", [False, True])
async def test_a_balance_that_was_read_meanwhile_is_read_in_time_also_when_its_backend_answers(
    db: Database, clock: FakeClock, follower: ClockFollower, restart: bool
) -> None:
    """What was told was taken for a read by the right clock: nothing was read again for as long as it was set back."""
    async with db.write() as tx:
        await watches.add(tx, a_watch())
    clock.set(BACK_S)
    await follower.look()
    clock.follow(1200_000)
    assert await watcher(db, clock).check_due() == 1
    clock.follow(-1200_000)
    async with db.write() as tx:
        await watches.acknowledge(
            tx, [{"id": "w-1", "new_current_balance": 5, "new_change_count": 1, "at": clock.now_ms()}]
        )
    if restart:
        await ClockFollower(clock, db, ScannerWaits(LONGEST_MS)).doubt()
    else:
        clock.advance(AGAIN_MS / 1000)
        await follower.look()

    assert await watcher(db, clock).check_due() == 1


async def test_a_clock_that_is_days_ahead_ends_no_watch_while_the_chain_says_what_time_it_is(
    db: Database, clock: FakeClock
) -> None:
    async with db.write() as tx:
        await watches.add(tx, a_watch())
    ahead = FakeClock(NOW + 8 * DAY_MS)
    on_chain = ChainTime(NOW + 7 * DAY_MS - 1, 100)

    await watcher(db, ahead, on_chain).check_due()
    async with db.read() as tx:
        assert (await watches.get(tx, "w-1")).status is WatchStatus.WATCHING  # type: ignore[union-attr]

    ahead.advance(3600)
    await watcher(db, ahead, ChainTime(NOW + 7 * DAY_MS, 100)).check_due()
    async with db.read() as tx:
        assert (await watches.get(tx, "w-1")).status is WatchStatus.EXPIRED  # type: ignore[union-attr]


def watcher(db: Database, clock: FakeClock, on_chain: ChainTime | None = None) -> BalanceWatcher:
    return BalanceWatcher(
        chain=a_chain(), adapter=FakeChain(), db=db, clock=clock, on_events=lambda: None, chain_time=lambda: on_chain
    )


async def test_coin_is_looked_at_every_five_minutes(
    db: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    notice = NativeDepositDetector(
        chain=a_chain(),
        adapter=FakeChain(),
        db=db,
        clock=clock,
        metrics=Metrics(),
        late_watch_ms=0,
        on_events=lambda: None,
    )
    looked = Wakeup()

    async def look() -> None:
        looked.wake()

    monkeypatch.setattr(notice, "check", look)
    task = asyncio.create_task(notice.run())
    notice.wakeup.wake()
    assert await looked.wait(5)
    clock.follow(-1_200_000)
    clock.advance(300)
    notice.wakeup.wake()

    assert await looked.wait(5)
    task.cancel()
    await asyncio.wait([task])
