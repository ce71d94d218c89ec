"""Whose turn it is, where only a few can be served in one go."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

MOST_REMEMBERED = 50_000

T = TypeVar("T")


class Turns:
    """
    Chooses whoever was not chosen for the longest, whichever others are asked about meanwhile.

    A place to go on from, shared by several lists, once began again at the first of them over and over: whoever
    stood behind those was never served.
    """

    def __init__(self, *, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._chosen: dict[Hashable, None] = {}  # the longest ago first

    def choose(self, items: Sequence[T], count: int, *, key: Callable[[T], Hashable]) -> list[T]:
        """Return at most so many of the items, in the order of their turns."""
        since = {who: number for number, who in enumerate(self._chosen)}
        chosen = sorted(items, key=lambda item: since.get(key(item), -1))[:count]
        for item in chosen:
            self._chosen.pop(key(item), None)
            self._chosen[key(item)] = None
        while len(self._chosen) > self._most:
            del self._chosen[next(iter(self._chosen))]
        return chosen
