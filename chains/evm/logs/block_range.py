"""How many blocks one endpoint is asked for at once: learnt from how it answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from chains.rpc.provider_errors import ErrorAdvice

START_SPAN = 10  # then twice as much with every quick answer, until the first refusal
LONGEST_SPAN = 100_000
MOST_ROWS = 5_000  # parsing more in one piece would hold the event loop for over a tenth of a second
QUICK_S = 2.0
SLOW_S = 10.0
QUICK_ANSWERS_TO_GROW = 3
MOST_PATIENCE = 100


@dataclass(slots=True)
class BlockSpan:
    """The number of blocks to ask one endpoint for next."""

    size: int = START_SPAN
    ceiling: int = LONGEST_SPAN  # never above: the registry's limit, or the node's own rule
    quick: int = 0  # quick full pages in a row
    patience: int = 1  # quick pages before the next growth; more after each refusal
    narrowed: bool = False  # was ever found too long

    @classmethod
    def limited(cls, limit: int | None) -> BlockSpan:
        """Start with the registry's limit, if it has one."""
        return cls() if limit is None else cls(size=limit, ceiling=limit)

    def answered(self, *, blocks: int, rows: int, seconds: float) -> None:
        """Learn from a page that was served."""
        if seconds > SLOW_S or rows > MOST_ROWS:
            self._shrink(blocks // 2)
        elif seconds < QUICK_S and rows <= MOST_ROWS // 2 and blocks >= self.size:
            self._grow()
        elif blocks >= self.size:
            self.quick = 0

    def refused(self, *, blocks: int, advice: ErrorAdvice) -> None:
        """Learn from a refusal to serve so many blocks."""
        suggested = advice.suggested if advice.suggested is not None and advice.suggested < blocks else None
        if suggested is not None and advice.fixed:
            self.ceiling = min(self.ceiling, suggested)
        self.patience = min(MOST_PATIENCE, max(QUICK_ANSWERS_TO_GROW, self.patience * 2))
        self._shrink(suggested or blocks // 2)

    def failed(self, *, blocks: int) -> None:
        """Learn from a time-out or an error that may have been about the size."""
        self._shrink(blocks // 2)

    def reaching(self, reread: int) -> int:
        """Return how many blocks to ask for where some are read again: a short start must not crowd them out."""
        return self.size if self.narrowed else max(self.size, min(2 * reread, self.ceiling))

    def copy(self) -> BlockSpan:
        """Return what is known now."""
        return dataclasses.replace(self)

    def become(self, other: BlockSpan) -> None:
        """Forget what was learnt since a copy was made."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(other, field.name))

    def _grow(self) -> None:
        self.quick += 1
        if self.quick >= self.patience:
            self.quick = 0
            self.patience = self.patience if self.patience == 1 else max(QUICK_ANSWERS_TO_GROW, self.patience // 2)
            self.size = min(self.ceiling, self.size * 2)

    def _shrink(self, size: int) -> None:
        self.quick = 0
        self.narrowed = True
        self.size = max(1, min(size, self.size, self.ceiling))
