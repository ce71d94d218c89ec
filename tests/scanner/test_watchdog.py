"""A worker that hangs is noticed, told and started again; one that is slow or idle is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from chains.errors import ChainUnavailable
from kernel.store.database import Database
from scanner import watchdog
from scanner.model import IntentStatus
from scanner.watchdog import Watchdog
from tests.harness import FakeClock
from tests.scanner.facts import a_transfer, an_intent
from tests.scanner.test_worker import Bench

STUCK_S = 1.0  # a busy machine takes its time for a step


@pytest.fixture
def bench(db: Database, clock: FakeClock) -> Bench:
    return Bench(db, clock)


@asynccontextmanager
async def watched(bench: Bench) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(Watchdog(bench.worker, bench.metrics, stuck_s=STUCK_S).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def till(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the worker is seen from outside
            await asyncio.sleep(0.01)


async def test_a_worker_that_hangs_in_a_call_is_restarted_and_goes_on_where_it_was(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    await bench.worker.poll()
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(4)
    scan, hung = bench.chain.scan, asyncio.Event()

    async def hang(*args: Any, **more: Any) -> Any:
        hung.set()
        await asyncio.Event().wait()

    bench.chain.scan = hang  # type: ignore[method-assign]
    async with watched(bench):
        await hung.wait()
        bench.chain.scan = scan  # type: ignore[method-assign]
        await till(lambda: bench.worker.health.restarts == 1)
        await till(lambda: bench.wakeups > 0)
    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    assert bench.value("worker_restarts_total") == 1


async def test_the_restart_is_reported_until_a_poll_succeeds(bench: Bench) -> None:
    async def hang(*args: Any, **more: Any) -> Any:
        await asyncio.Event().wait()

    bench.chain.head = hang  # type: ignore[method-assign]
    async with watched(bench):
        await till(lambda: bench.worker.health.restarts >= 1)
        assert "made no progress" in (bench.worker.health.last_error or "")


async def test_a_worker_that_waits_for_its_next_poll_is_left_alone(bench: Bench) -> None:
    async with watched(bench):
        await till(lambda: bench.worker.health.polled)
        await asyncio.sleep(3 * STUCK_S)  # the time itself is what is tested
    assert bench.worker.health.restarts == 0


async def test_a_long_catch_up_that_moves_on_is_left_alone(bench: Bench) -> None:
    await bench.worker.poll()
    bench.chain.extend(30)
    bench.chain.page = 1
    scan = bench.chain.scan

    async def slowly(*args: Any, **more: Any) -> Any:
        await asyncio.sleep(STUCK_S / 10)  # slow, and never stuck
        return await scan(*args, **more)

    bench.chain.scan = slowly  # type: ignore[method-assign]
    async with watched(bench):
        await till(lambda: bench.worker.health.checkpoint == bench.chain.top)
    assert bench.worker.health.restarts == 0


async def test_what_ends_the_worker_by_itself_ends_the_watchdog(bench: Bench) -> None:
    async def broken() -> None:
        raise ChainUnavailable("a bug")

    bench.worker.run = broken  # type: ignore[method-assign]
    with pytest.raises(ChainUnavailable):
        await Watchdog(bench.worker, bench.metrics, stuck_s=STUCK_S).run()


async def test_a_worker_that_cannot_be_cancelled_ends_the_watchdog_instead_of_getting_a_twin(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "PATIENCE_S", 0.05)
    starts, over = [0], asyncio.Event()

    async def stubborn() -> None:
        starts[0] += 1
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await over.wait()

    bench.worker.run = stubborn  # type: ignore[method-assign]
    async with bench.worker._polling:  # as in the middle of a poll
        try:
            with pytest.raises(RuntimeError, match="hangs and cannot be cancelled"):
                async with asyncio.timeout(20):
                    await Watchdog(bench.worker, bench.metrics, stuck_s=0.05).run()
        finally:
            over.set()
    assert starts == [1]
