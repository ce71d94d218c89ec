"""How many blocks one endpoint is asked for at once: learnt from how it answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from chains.rpc.provider_errors import ErrorAdvice

INITIAL_BLOCKS = 10  # then twice as much with every quick answer, until the first refusal
MAX_BLOCKS = 100_000
MAX_ROWS = 5_000  # parsing more in one piece would hold the event loop for over a tenth of a second
QUICK_S = 2.0
SLOW_S = 10.0
QUICK_ANSWERS_TO_GROW = 3
MAX_GROWTH_DELAY = 100


@dataclass(slots=True)
class BlockRangeLimiter:
    """The number of blocks to ask one endpoint for next."""

    size: int = INITIAL_BLOCKS
    ceiling: int = MAX_BLOCKS  # never above: the registry's limit, or the node's own rule
    quick: int = 0  # quick full pages in a row
    growth_delay: int = 1  # quick pages before the next growth; more after each refusal
    shrunk: bool = False  # was ever found too long

    @classmethod
    def limited(cls, limit: int | None) -> BlockRangeLimiter:
        """Start with the registry's limit, if it has one."""
        return cls() if limit is None else cls(size=limit, ceiling=limit)

    def answered(self, *, blocks: int, rows: int, seconds: float) -> None:
        """Learn from a page that was served."""
        if seconds > SLOW_S or rows > MAX_ROWS:
            self._shrink(blocks // 2)
        elif seconds < QUICK_S and rows <= MAX_ROWS // 2 and blocks >= self.size:
            self._grow()
        elif blocks >= self.size:
            self.quick = 0

    def refused(self, *, blocks: int, advice: ErrorAdvice) -> None:
        """Learn from a refusal to serve so many blocks."""
        suggested = advice.suggested if advice.suggested is not None and advice.suggested < blocks else None
        if suggested is not None and advice.fixed:
            self.ceiling = min(self.ceiling, suggested)
        self.growth_delay = min(MAX_GROWTH_DELAY, max(QUICK_ANSWERS_TO_GROW, self.growth_delay * 2))
        self._shrink(suggested or blocks // 2)

    def failed(self, *, blocks: int) -> None:
        """Learn from a time-out or an error that may have been about the size."""
        self._shrink(blocks // 2)

    def size_with_reread(self, reread: int) -> int:
        """Return how many blocks to ask for where some are read again: a short start must not crowd them out."""
        return self.size if self.shrunk else max(self.size, min(2 * reread, self.ceiling))

    def copy(self) -> BlockRangeLimiter:
        """Return what is known now."""
        return dataclasses.replace(self)

    def restore(self, other: BlockRangeLimiter) -> None:
        """Forget what was learnt since a copy was made."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(other, field.name))

    def _grow(self) -> None:
        self.quick += 1
        if self.quick >= self.growth_delay:
            self.quick = 0
            self.growth_delay = (
                self.growth_delay if self.growth_delay == 1 else max(QUICK_ANSWERS_TO_GROW, self.growth_delay // 2)
            )
            self.size = min(self.ceiling, self.size * 2)

    def _shrink(self, size: int) -> None:
        self.quick = 0
        self.shrunk = True
        self.size = max(1, min(size, self.size, self.ceiling))
