"""Several questions at a time, with a bound on how many run at once and no task left behind when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from chains.errors import ChainError, ChainUnavailable

MAX_CONCURRENT = 8  # the token bucket sets the pace; this only hides the time an answer takes
MAX_CONSECUTIVE_FAILURES = 5  # then the endpoint is checked with `alive`

T = TypeVar("T")
U = TypeVar("U")


async def gather_limited(
    items: Iterable[T], ask: Callable[[T], Awaitable[U]], *, max_concurrent: int = MAX_CONCURRENT
) -> list[U]:
    """
    Ask about every item; answers in the order of the items.

    After a `ChainError` no more questions are asked. It is raised once those under way have ended.
    """
    numbered = list(enumerate(items))
    answers: dict[int, U] = {}
    failures: list[ChainError] = []
    rest = iter(numbered)
    async with asyncio.TaskGroup() as group:
        for worker in range(min(max_concurrent, len(numbered))):
            group.create_task(_work(rest, ask, answers, failures), name=f"ask {worker}")
    if failures:
        raise failures[0]
    return [answers[number] for number, _ in numbered]


async def gather_individually(
    items: Iterable[T],
    ask: Callable[[T], Awaitable[U]],
    *,
    alive: Callable[[], Awaitable[object]],
    max_concurrent: int = MAX_CONCURRENT,
) -> list[U | ChainError]:
    """
    Ask about every item; a failure is the answer of that item alone.

    When all questions fail, `alive` asks the endpoint something else. If that fails too, the endpoint is at fault
    and not the items.

    Raises:
        ChainError: what `alive` raised, or that the endpoint asked not to be asked at all for a while.
    """
    row = 0  # questions without an answer since the last one with
    answered = False

    async def apart(item: T) -> U | ChainError:
        nonlocal row, answered
        try:
            answer = await ask(item)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            row += 1
            if row == MAX_CONSECUTIVE_FAILURES and not answered:
                await alive()
                answered = True
            return exc
        row, answered = 0, True
        return answer

    answers = await gather_limited(items, apart, max_concurrent=max_concurrent)
    if answers and not answered:
        await alive()
    return answers


def is_rate_limited(error: ChainError) -> bool:
    """Say whether an endpoint asked not to be asked at all for a while."""
    return isinstance(error, ChainUnavailable) and error.retry_after is not None


async def _work(
    rest: Iterator[tuple[int, T]],
    ask: Callable[[T], Awaitable[U]],
    answers: dict[int, U],
    failures: list[ChainError],
) -> None:
    for number, item in rest:
        try:
            answers[number] = await ask(item)
        except ChainError as exc:
            failures.append(exc)
        if failures:
            return
