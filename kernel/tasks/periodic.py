"""Chores that outlive a store that is locked or full: told once when it fails, once when it is back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from kernel.errors import StoreError

log = logging.getLogger(__name__)


class PeriodicTask:
    """Does a chore again and again; what the store refused is done the next time."""

    def __init__(self, name: str, chore: Callable[[], Awaitable[object]]) -> None:
        self._name = name
        self._chore = chore
        self._failing = False

    async def once(self) -> None:
        """Do the chore, unless the store does not let us."""
        try:
            await self._chore()
        except* StoreError as group:
            self._failed(group)
        else:
            if self._failing:
                self._failing = False
                log.info("[%s] the store is back", self._name)

    def _failed(self, group: BaseExceptionGroup[StoreError]) -> None:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        level = logging.DEBUG if self._failing else logging.ERROR
        self._failing = True
        log.log(level, "[%s] %s; trying again", self._name, first)
