"""Time that passes evenly, whatever the machine's clock is set to, and what follows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kernel.clock import SystemClock
from kernel.errors import StoreError
from kernel.store.clock_follower import AGAIN_MS, LEAST_MS, ClockFollower
from kernel.store.database import Database, Tx, open_database
from tests.harness import FakeClock

NOW = 1_790_000_000_000


class Waits:
    """Notes what it is asked, and what the clock says meanwhile."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.asked: list[tuple[str, int]] = []
        self.refuse = False
        self.shortened = 0

    async def move(self, _: Tx, *, step_ms: int, now: int) -> None:
        assert now == self.clock.now_ms()
        if self.refuse:
            raise StoreError("the store is full")
        self.asked.append(("move", step_ms))

    async def doubt(self, _: Tx, *, now: int) -> int:
        self.asked.append(("doubt", now))
        return self.shortened


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def waits(clock: FakeClock) -> Waits:
    return Waits(clock)


@pytest.fixture
def follower(clock: FakeClock, db: Database, waits: Waits) -> ClockFollower:
    return ClockFollower(clock, db, waits)


def test_time_passes_evenly_while_the_machines_clock_is_set() -> None:
    wall, stopwatch = NOW * 1_000_000, 5_000_000_000
    clock = SystemClock(lambda: wall, lambda: stopwatch)
    assert clock.now_ms() == clock.wall_ms() == NOW

    stopwatch += 7_000_000_000
    wall -= 1_200_000_000_000

    assert (clock.now_ms(), clock.wall_ms(), clock.elapsed_ms()) == (NOW + 7000, NOW - 1_200_000, 12_000)
    clock.follow(-1_207_000)
    assert clock.now_ms() == clock.wall_ms()


@pytest.mark.parametrize("step_ms", [LEAST_MS - 1, 1 - LEAST_MS])
async def test_a_small_step_is_followed_and_moves_nothing(
    follower: ClockFollower, clock: FakeClock, waits: Waits, step_ms: int
) -> None:
    clock.set(step_ms / 1000)
    await follower.look()

    assert (clock.now_ms(), waits.asked) == (NOW + step_ms, [])


@pytest.mark.parametrize("step_ms", [LEAST_MS, -LEAST_MS, 1_200_000, -1_200_000, -(10**12)])
async def test_a_large_step_moves_what_waits_once_and_is_logged_once(
    follower: ClockFollower, clock: FakeClock, waits: Waits, step_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock.set(step_ms / 1000)
    await follower.look()
    await follower.look()

    assert (clock.now_ms(), waits.asked) == (NOW + step_ms, [("move", step_ms)])
    assert [record.getMessage() for record in caplog.records] == [
        f"[clock] the host's clock was set by {step_ms // 1000:+d} s: what waits was moved with it"
    ]


@pytest.mark.parametrize("step_ms", [-1_200_000, 1_200_000])
async def test_a_move_that_does_not_reach_the_disk_is_made_again(
    clock: FakeClock, db: Database, waits: Waits, step_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = db.write

    @asynccontextmanager
    async def full() -> AsyncIterator[Tx]:
        async with write() as tx:
            yield tx
            raise StoreError("the disk is full")

    follower = ClockFollower(clock, db, waits)
    clock.set(step_ms / 1000)
    monkeypatch.setattr(db, "write", full)
    with pytest.raises(StoreError):
        await follower.look()
    monkeypatch.undo()
    assert clock.now_ms() == NOW

    await follower.look()
    assert (clock.now_ms(), waits.asked) == (NOW + step_ms, [("move", step_ms)] * 2)


@pytest.mark.parametrize("step_ms", [-1_200_000, 1_200_000])
async def test_whoever_waits_for_what_was_moved_is_woken(
    clock: FakeClock, db: Database, waits: Waits, step_ms: int
) -> None:
    woken: list[int] = []
    follower = ClockFollower(clock, db, waits, on_moved=lambda: woken.append(clock.now_ms()))
    await follower.look()
    clock.set(step_ms / 1000)
    await follower.look()
    assert woken == [NOW + step_ms]

    waits.shortened = 1
    await follower.doubt()
    assert woken == [NOW + step_ms] * 2


async def test_what_was_in_hand_meanwhile_is_looked_at_once_more(
    follower: ClockFollower, clock: FakeClock, waits: Waits
) -> None:
    clock.set(-1200)
    await follower.look()
    for _ in range(3):
        clock.advance(AGAIN_MS / 1000)
        await follower.look()

    assert waits.asked == [("move", -1_200_000), ("doubt", NOW - 1_200_000 + AGAIN_MS)]


async def test_what_was_in_hand_is_looked_at_before_the_clock_is_set_again(
    follower: ClockFollower, clock: FakeClock, waits: Waits
) -> None:
    clock.set(-1200)
    await follower.look()
    clock.set(1200)
    await follower.look()

    assert waits.asked == [("move", -1_200_000), ("doubt", NOW - 1_200_000), ("move", 1_200_000)]


@pytest.mark.parametrize("step_ms", [-1_200_000, 1_200_000])
async def test_a_step_the_store_does_not_take_is_followed_when_it_does(
    follower: ClockFollower, clock: FakeClock, waits: Waits, step_ms: int
) -> None:
    waits.refuse = True
    clock.set(step_ms / 1000)
    with pytest.raises(StoreError):
        await follower.look()
    assert clock.now_ms() == NOW

    waits.refuse = False
    await follower.look()

    assert (clock.now_ms(), waits.asked) == (NOW + step_ms, [("move", step_ms)])


@pytest.mark.parametrize("step_ms", [-1_200_000, 1_200_000])
async def test_until_a_move_is_on_disk_the_earlier_time_counts(
    clock: FakeClock, db: Database, waits: Waits, step_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the later one everything that waits would be due while it is committed."""
    seen: list[int] = []
    write = db.write

    class Noted:
        def __init__(self) -> None:
            self.opened = write()

        async def __aenter__(self) -> Tx:
            return await self.opened.__aenter__()

        async def __aexit__(self, *failure: object) -> Any:
            seen.append(clock.now_ms())
            return await self.opened.__aexit__(*failure)

    monkeypatch.setattr(db, "write", Noted)
    clock.set(step_ms / 1000)
    await ClockFollower(clock, db, waits).look()

    assert seen == [NOW + min(0, step_ms)]
