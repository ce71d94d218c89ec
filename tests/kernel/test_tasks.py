"""Background tasks: the wakeup, the schedule, and the failure log."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime, timedelta, tzinfo

import apscheduler.schedulers.base
import pytest

import kernel.tasks.schedule
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.schedule import schedules
from kernel.tasks.wakeup import Wakeup


async def test_many_wakeups_are_one() -> None:
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.wake()

    assert await wakeup.wait() is True
    assert await wakeup.wait(0.001) is False


async def test_a_wakeup_during_the_work_is_not_lost() -> None:
    wakeup = Wakeup()
    wakeup.wake()
    await wakeup.wait()

    wakeup.wake()  # while the work is done

    assert await wakeup.wait(0.001) is True


async def test_a_wakeup_ends_the_wait() -> None:
    wakeup = Wakeup()
    waiting = asyncio.create_task(wakeup.wait())
    await asyncio.sleep(0)

    wakeup.wake()

    async with asyncio.timeout(1):
        assert await waiting is True


async def test_a_wait_that_timed_out_takes_no_wakeup_from_the_next() -> None:
    wakeup = Wakeup()
    assert await wakeup.wait(0) is False

    wakeup.wake()

    assert await wakeup.wait(0) is True


async def test_a_schedule_wakes_again_and_again_until_the_block_ends() -> None:
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


@pytest.mark.parametrize("steps", range(8))
async def test_an_end_in_the_middle_of_a_wakeup_is_no_failure(steps: int, caplog: pytest.LogCaptureFixture) -> None:
    with schedules({"every": (Wakeup(), 0.001)}):
        time.sleep(0.002)  # noqa: ASYNC251 - so that it is due
        for _ in range(steps):
            await asyncio.sleep(0)
    for _ in range(8):  # what was cancelled ends, and is reported
        await asyncio.sleep(0)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_clock_that_was_back_for_a_moment_silences_no_wakeup(monkeypatch: pytest.MonkeyPatch) -> None:
    back = timedelta()

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - back

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Moved)
    monkeypatch.setattr(kernel.tasks.schedule, "datetime", Moved)
    wakeup = Wakeup()
    with schedules({"every": (wakeup, 0.2)}):
        assert await wakeup.wait(5) is True
        back = timedelta(minutes=20)
        assert await wakeup.wait(0.4) is False  # its timer ended meanwhile, and was set by the clock there was
        back = timedelta()
        await wakeup.wait(0.01)

        assert await wakeup.wait(5) is True


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
