"""Group commits: one flush for many, an answer for each, and nobody spoils it for the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from kernel.store.group_commit import GroupCommit


class Flush:
    """Remembers batches; `gate` closed keeps a flush from ending."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None

    async def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        self.started.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [ValueError(f"{item} is odd") if item % 2 else item * 10 for item in items]


@asynccontextmanager
async def flushing(flush: Flush, *, limit: int = 256) -> AsyncIterator[GroupCommit[int, int]]:
    commits: GroupCommit[int, int] = GroupCommit(flush, limit=limit)
    task = asyncio.create_task(commits.run())
    try:
        yield commits
    finally:
        task.cancel()
        await asyncio.wait([task])


async def first_in_hand(commits: GroupCommit[int, int], flush: Flush) -> asyncio.Task[int]:
    """Submit 0 and hold its flush, so that what follows piles up."""
    flush.gate.clear()
    holding = asyncio.create_task(commits.submit(0))
    await flush.started.wait()
    return holding


async def piled(commits: GroupCommit[int, int], items: Sequence[int]) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(commits.submit(item)) for item in items]
    await asyncio.sleep(0)  # each has handed in by then
    return tasks


async def test_what_comes_in_during_a_flush_is_flushed_together_and_in_order() -> None:
    flush = Flush()
    async with flushing(flush) as commits:
        first = await first_in_hand(commits, flush)
        others = await piled(commits, [2, 4, 6])
        flush.gate.set()

        assert await asyncio.gather(first, *others) == [0, 20, 40, 60]

    assert flush.batches == [[0], [2, 4, 6]]


async def test_a_batch_holds_no_more_than_its_limit() -> None:
    flush = Flush()
    async with flushing(flush, limit=2) as commits:
        first = await first_in_hand(commits, flush)
        others = await piled(commits, [2, 4, 6, 8, 10])
        flush.gate.set()
        await asyncio.gather(first, *others)

    assert flush.batches == [[0], [2, 4], [6, 8], [10]]


async def test_nobody_is_answered_before_the_flush_ended() -> None:
    flush = Flush()
    async with flushing(flush) as commits:
        first = await first_in_hand(commits, flush)

        done, _ = await asyncio.wait([first], timeout=0.01)

        assert done == set()
        flush.gate.set()
        assert await first == 0


async def test_an_item_that_fails_does_not_spoil_the_others() -> None:
    flush = Flush()
    async with flushing(flush) as commits:
        answers = await asyncio.gather(*(commits.submit(i) for i in (2, 3, 4)), return_exceptions=True)

    assert (answers[0], answers[2]) == (20, 40)
    assert str(answers[1]) == "3 is odd"


async def test_a_flush_that_fails_is_raised_for_its_batch_and_the_next_one_works() -> None:
    flush = Flush()
    flush.error = OSError("disk full")
    async with flushing(flush) as commits:
        failed = await asyncio.gather(commits.submit(2), commits.submit(4), return_exceptions=True)
        flush.error = None

        assert [str(each) for each in failed] == ["disk full", "disk full"]
        assert await commits.submit(6) == 60


async def test_a_caller_who_goes_away_takes_nobody_along() -> None:
    flush = Flush()
    async with flushing(flush) as commits:
        first = await first_in_hand(commits, flush)
        gone, stays = await piled(commits, [2, 4])
        gone.cancel()
        flush.gate.set()

        assert await stays == 40
        assert await first == 0
        assert await commits.submit(6) == 60
        assert gone.cancelled()

    assert flush.batches == [[0], [2, 4], [6]]


async def test_when_it_is_stopped_in_a_flush_its_callers_are_not_left_waiting() -> None:
    flush = Flush()
    commits: GroupCommit[int, int] = GroupCommit(flush)
    running = asyncio.create_task(commits.run())
    waiting = await first_in_hand(commits, flush)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    async with asyncio.timeout(1):
        await asyncio.wait([waiting])
    assert waiting.cancelled()
