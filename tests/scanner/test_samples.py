"""How a chain was doing is kept for a week, however often it is written, and answered in a bounded number of points."""

from __future__ import annotations

import pytest

from kernel.store.database import Database
from scanner.store import samples
from scanner.store.samples import HOUR_MS, KEPT_HOURS, MAX_POINTS, MINUTE_MS, Sample
from tests.scanner.facts import CHAIN, NOW

FIRST = NOW // MINUTE_MS * MINUTE_MS


async def write(db: Database, *made: Sample, chain_id: int = CHAIN) -> None:
    async with db.write() as tx:
        for sample in made:
            await samples.add(tx, chain_id, sample)


async def read(db: Database, *, now: int, hours: int = KEPT_HOURS) -> list[Sample]:
    async with db.read() as tx:
        return await samples.since(tx, CHAIN, now=now, hours=hours)


async def test_a_minute_is_one_point(db: Database) -> None:
    await write(db, Sample(FIRST + 1, 5, 1, None), Sample(FIRST + 2, 6, 2, 1500), chain_id=CHAIN)
    await write(db, Sample(FIRST + 3, 9, 9, 9), chain_id=CHAIN + 1)

    assert await read(db, now=FIRST + 10, hours=1) == [Sample(FIRST, 6, 2, 1500)]


async def test_what_is_older_than_a_week_is_forgotten(db: Database) -> None:
    later = FIRST + KEPT_HOURS * HOUR_MS
    await write(db, Sample(FIRST, 1, 0, None), Sample(later, 2, 0, None), Sample(later + 10 * MINUTE_MS, 3, 0, None))

    assert [each.head for each in await read(db, now=FIRST + 1)] == [2, 3]


async def test_what_a_clock_wrote_that_was_ahead_is_forgotten(db: Database) -> None:
    await write(db, Sample(FIRST + 9 * HOUR_MS, 1, 0, None), Sample(FIRST, 2, 0, None))

    assert [each.head for each in await read(db, now=FIRST)] == [2]


@pytest.mark.parametrize(("hours", "minutes"), [(1, 1), (24, 1), (25, 2), (48, 2), (168, 7)])
async def test_longer_times_are_told_in_as_many_points_by_their_worst_minute(
    db: Database, hours: int, minutes: int
) -> None:
    start = FIRST // (minutes * MINUTE_MS) * (minutes * MINUTE_MS)
    made = [Sample(start + n * MINUTE_MS, n, 10 - n, None if n else 7) for n in range(minutes)]
    await write(db, *made)

    (found,) = await read(db, now=start + HOUR_MS - 1, hours=hours)

    assert found == Sample(made[-1].at, minutes - 1, 10, 7)
    assert hours * 60 / minutes <= MAX_POINTS
