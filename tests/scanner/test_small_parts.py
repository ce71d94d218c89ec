"""The small parts everything depends on: the wakeup, the failure log, the schedule of watches."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise

import apscheduler.schedulers.base
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernel.tasks.schedule
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.schedule import schedules
from kernel.tasks.wakeup import Wakeup
from protocol.wire import rfc3339
from scanner.upkeep.watch_schedule import HOUR_MS, LIFE_MS, MINUTE_MS, next_due
from tests.scanner.facts import NOW, steady


async def test_many_rings_are_one_wake() -> None:
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.wake()

    assert await wakeup.wait() is True
    assert await wakeup.wait(0.001) is False


async def test_a_ring_during_the_work_is_not_lost() -> None:
    wakeup = Wakeup()
    wakeup.wake()
    await wakeup.wait()

    wakeup.wake()  # while the work is done

    assert await wakeup.wait(0.001) is True


async def test_a_ring_wakes_whoever_waits() -> None:
    wakeup = Wakeup()
    waiting = asyncio.create_task(wakeup.wait())
    await asyncio.sleep(0)

    wakeup.wake()

    async with asyncio.timeout(1):
        assert await waiting is True


async def test_a_wait_that_timed_out_takes_no_ring_from_the_next() -> None:
    wakeup = Wakeup()
    assert await wakeup.wait(0) is False

    wakeup.wake()

    assert await wakeup.wait(0) is True


async def test_the_clockwork_rings_again_and_again_until_the_block_ends() -> None:
    wakeup = Wakeup()
    with schedules({"every": (wakeup, 0.01)}):
        for _ in range(3):
            assert await wakeup.wait(5) is True
    await asyncio.sleep(0)
    await wakeup.wait(0)

    assert await wakeup.wait(0.05) is False


async def test_a_clock_that_is_set_back_silences_no_wakeup(monkeypatch: pytest.MonkeyPatch) -> None:
    class Back(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(minutes=20)

    wakeup = Wakeup()
    with schedules({"every": (wakeup, 0.2)}):
        assert await wakeup.wait(5) is True
        monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Back)
        monkeypatch.setattr(kernel.tasks.schedule, "datetime", Back)
        await wakeup.wait(0.3)

        assert [await wakeup.wait(3) for _ in range(3)] == [True, True, True]


def levels(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    outage = FailureLog(logging.getLogger("test"), "chain 97")

    outage.recovered()
    outage.failed("no answer")
    outage.failed("still none")
    outage.recovered()
    outage.recovered()
    outage.failed("again")

    assert levels(caplog) == [
        ("WARNING", "chain 97: no answer"),
        ("DEBUG", "chain 97: still none"),
        ("INFO", "chain 97: recovered"),
        ("WARNING", "chain 97: again"),
    ]


@pytest.mark.parametrize(
    ("age_ms", "due_ms"),
    [
        (-5, 5 * MINUTE_MS - 5),
        (-HOUR_MS, 5 * MINUTE_MS - HOUR_MS),
        (0, 5 * MINUTE_MS),
        (5 * MINUTE_MS - 1, 5 * MINUTE_MS),
        (5 * MINUTE_MS, 10 * MINUTE_MS),
        (24 * HOUR_MS - 1, 24 * HOUR_MS),
        (24 * HOUR_MS, 24 * HOUR_MS + 10 * MINUTE_MS),
        (48 * HOUR_MS, 48 * HOUR_MS + 20 * MINUTE_MS),
        (72 * HOUR_MS, 72 * HOUR_MS + 40 * MINUTE_MS),
        (LIFE_MS - 1, LIFE_MS),
        (LIFE_MS, LIFE_MS + 40 * MINUTE_MS),
        (2 * LIFE_MS + 1, 2 * LIFE_MS + 40 * MINUTE_MS),
    ],
)
def test_a_watch_is_read_as_often_as_its_age_says(age_ms: int, due_ms: int) -> None:
    assert next_due(NOW, NOW + age_ms) - NOW == due_ms


@steady
@given(ages=st.lists(st.integers(-LIFE_MS, 2 * LIFE_MS), min_size=2, max_size=2))
def test_the_next_read_lies_ahead_and_never_before_that_of_an_earlier_moment(ages: list[int]) -> None:
    earlier, later = sorted(ages)

    assert next_due(NOW, NOW + later) > NOW + later
    assert next_due(NOW, NOW + earlier) <= next_due(NOW, NOW + later)


@steady
@given(late=st.lists(st.integers(0, 5 * MINUTE_MS - 1), min_size=30, max_size=30))
def test_late_ticks_neither_move_nor_double_a_read(late: list[int]) -> None:
    moments = [NOW]
    for delay in late:
        moments.append(next_due(NOW, moments[-1] + delay))

    assert [b - a for a, b in pairwise(moments)] == [5 * MINUTE_MS] * 30


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "1970-01-01T00:00:00.000Z"), (1_790_000_000_007, "2026-09-21T14:13:20.007Z")]
)
def test_times_are_written_in_utc_to_the_millisecond(ms: int, text: str) -> None:
    assert rfc3339(ms) == text
