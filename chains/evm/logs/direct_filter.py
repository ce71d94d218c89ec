"""The log filter of the direct rail, kept from page to page: with a million addresses it is not built anew."""

from __future__ import annotations

from chains.evm.logs.queries import LogFilter
from chains.types import (
    Rail,
    Targets,
)


class DirectFilter:
    """The filter of the direct rail, made again only when somebody else is waited for, and in order."""

    def __init__(self) -> None:
        self._targets: Targets | None = None
        self._known: frozenset[str] = frozenset()
        self._filter = LogFilter(Rail.DIRECT)

    def of(self, targets: Targets) -> LogFilter:
        if targets is not self._targets:
            wanted = targets.destinations | targets.beneficiaries
            # Sorting all of half a million takes a quarter of a second; a few that follow what is sorted, little.
            before = self._filter.destinations if self._known <= wanted else ()
            more = wanted - self._known if before else wanted
            self._filter = LogFilter(Rail.DIRECT, sorted([*before, *sorted(more)]), sorted(targets.tokens))
            self._targets, self._known = targets, wanted
        return self._filter
