"""The simulated loop: its time, its order, and processes that die without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

import pytest

from tests.simulation.loop import PROCESS, SimLoop, SimProcess, Stuck


def play(seed: int, coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, SimLoop]:
    loop = SimLoop(seed)
    try:
        return loop.run_until_complete(coroutine), loop
    finally:
        loop.close()


def bury(loop: SimLoop) -> None:
    """Let go of what dead processes left: its `finally`s run now, when nobody looks any more."""
    for task in loop._dead:
        if isinstance(task, asyncio.Task):
            task._log_destroy_pending = False
            task.get_coro().close()


def started(process: SimProcess, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    context = copy_context()
    context.run(PROCESS.set, process)
    return asyncio.get_running_loop().create_task(coroutine, context=context)


def test_a_day_passes_at_once() -> None:
    async def sleeps() -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time() - began

    passed, loop = play(1, sleeps())

    assert passed == pytest.approx(86_400, abs=0.01)
    assert loop.steps < 10


async def in_an_order(told: list[int]) -> None:
    async def tell(number: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        told.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(tell(number))


def test_the_order_is_the_seeds() -> None:
    orders = []
    for seed in (*range(20), *range(20)):
        told: list[int] = []
        play(seed, in_an_order(told))
        orders.append(tuple(told))

    assert orders[:20] == orders[20:]
    assert len(set(orders)) > 10


def test_callbacks_that_are_no_tasks_keep_their_order() -> None:
    async def call() -> list[int]:
        told: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(50):
            loop.call_soon(told.append, number)
        await asyncio.sleep(1)
        return told

    assert all(play(seed, call())[0] == list(range(50)) for seed in range(20))


def test_tasks_are_cancelled_in_the_same_order_each_time() -> None:
    async def cancelled() -> list[int]:
        told: list[int] = []

        async def wait(number: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                told.append(number)

        with pytest.raises(ExceptionGroup):  # noqa: PT012 - the group is what raises
            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(wait(number))
                await asyncio.sleep(1)
                raise LookupError
        return told

    assert play(5, cancelled())[0] == play(5, cancelled())[0]


def test_a_process_that_dies_runs_no_finally() -> None:
    told: list[str] = []

    async def works() -> None:
        try:
            while True:
                await asyncio.sleep(0.1)
                told.append("works")
        finally:
            told.append("cleans up")

    async def lives() -> None:
        process = SimProcess("daemon")
        started(process, works())
        await asyncio.sleep(0.35)
        asyncio.get_running_loop().kill(process)  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    _, loop = play(1, lives())

    assert told == ["works"] * 3
    bury(loop)


def test_a_process_dies_between_any_two_steps() -> None:
    async def died_after(steps: int) -> int:
        process = SimProcess("daemon")
        process.dies_in = steps

        async def works() -> None:
            while True:  # noqa: ASYNC110 - a step each time
                await asyncio.sleep(0)

        started(process, works())
        await asyncio.sleep(1)
        assert not process.alive
        bury(asyncio.get_running_loop())  # type: ignore[arg-type]
        return process.steps

    assert [play(1, died_after(steps))[0] for steps in (0, 1, 7, 100)] == [0, 1, 7, 100]


def test_what_waits_for_nothing_is_said() -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        play(1, waits())


def test_what_is_handed_to_a_thread_is_called_on_the_loops() -> None:
    async def hands() -> Any:
        with pytest.raises(LookupError):
            await asyncio.to_thread({}.__getitem__, 1)
        return await asyncio.to_thread(sum, [1, 2])

    assert play(1, hands())[0] == 3
