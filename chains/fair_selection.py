"""Choosing whom to serve where only a few can be served at once: whoever has waited longest comes first."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

MAX_REMEMBERED = 50_000

T = TypeVar("T")


class FairSelector:
    """
    Selects the items that were not selected for the longest time, whatever list they come in.

    A single resume position shared by several lists was reset by each of them: items far down a list were
    never served (docs/rules.md, "Coin on Tron").
    """

    def __init__(self, *, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max_remembered = max_remembered
        self._selected: dict[Hashable, None] = {}  # keys in the order of their last selection, the oldest first

    def select(self, items: Sequence[T], count: int, *, key: Callable[[T], Hashable]) -> list[T]:
        """Return at most `count` of the items: first those never selected, then those selected longest ago."""
        rank = {selected: number for number, selected in enumerate(self._selected)}
        chosen = sorted(items, key=lambda item: rank.get(key(item), -1))[:count]
        for item in chosen:
            self._selected.pop(key(item), None)
            self._selected[key(item)] = None
        while len(self._selected) > self._max_remembered:
            del self._selected[next(iter(self._selected))]
        return chosen
