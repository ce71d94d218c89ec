"""Several questions at a time, a few at once, and no task left behind when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from chains.errors import ChainError

AT_ONCE = 8  # the token bucket sets the pace; this only hides the time an answer takes

T = TypeVar("T")
U = TypeVar("U")


async def each(items: Iterable[T], ask: Callable[[T], Awaitable[U]], *, at_once: int = AT_ONCE) -> list[U]:
    """
    Ask about every item; answers in the order of the items.

    The first `ChainError` is raised, after the questions under way have ended; no more are asked then.
    """
    numbered = list(enumerate(items))
    answers: dict[int, U] = {}
    failures: list[ChainError] = []
    rest = iter(numbered)
    async with asyncio.TaskGroup() as group:
        for worker in range(min(at_once, len(numbered))):
            group.create_task(_work(rest, ask, answers, failures), name=f"ask {worker}")
    if failures:
        raise failures[0]
    return [answers[number] for number, _ in numbered]


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
