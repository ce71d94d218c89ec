"""
The schedule: APScheduler sets wakeups at intervals, and the tasks that wait on them do the work.

Jobs of APScheduler 3 are cancelled at shutdown without being awaited, and their exceptions end as a log
line; setting a wakeup loses nothing by either. This is the only file that imports APScheduler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from kernel.tasks.wakeup import Wakeup

CHECK_S = 1.0


@contextmanager
def schedules(wakeups: Mapping[str, tuple[Wakeup, float]]) -> Iterator[None]:
    """Set each named wakeup every so many seconds until the block ends."""
    # In the event loop and at once: no event may be touched in a thread, and a task that a shutdown cancels before it
    # began is reported as a failure.
    scheduler = AsyncIOScheduler(timezone="UTC", executors={"default": DebugExecutor()})
    for name, (wakeup, seconds) in wakeups.items():
        scheduler.add_job(wakeup.wake, "interval", seconds=seconds, id=name, coalesce=True, misfire_grace_time=None)
    scheduler.start()
    check = asyncio.create_task(_mend(scheduler), name="schedule")
    try:
        yield
    finally:
        check.cancel()
        scheduler.shutdown(wait=False)


async def _mend(scheduler: AsyncIOScheduler) -> None:
    """
    Set at once what a clock that was set back would leave waiting until it is where it was.

    APScheduler goes by the wall clock: set back by twenty minutes, no chain was read for twenty minutes.
    """
    while True:
        await asyncio.sleep(CHECK_S)
        now = datetime.now(UTC)
        for job in scheduler.get_jobs():
            if job.next_run_time - now > job.trigger.interval:
                job.modify(next_run_time=now)
        # A clock that was back for half a second had its timer set for twenty minutes, and the jobs look as if all
        # were well; only asked anew does it see that they are due.
        scheduler.wakeup()
