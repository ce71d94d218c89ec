"""How many blocks to ask one endpoint for: learnt from its answers. Pure."""

from __future__ import annotations

START = 2_000  # blocks
QUICK_S = 2.0
SLOW_S = 10.0
PATIENCE = 3  # quick answers before asking for more
ROWS = 10_000  # more in one answer would hold the event loop for too long
ROWS_TO_GROW = 4_000


class RangeMemory:
    """One endpoint's appetite."""

    def __init__(self, ceiling: int | None) -> None:
        self._ceiling = ceiling
        self._quick = 0
        self.span = min(START, ceiling or START)

    def refused(self, suggested: int | None) -> bool:
        """Learn from a refusal or a time-out; say False when even one block was too much."""
        if self.span == 1:
            return False
        smaller = self.span // 2 if suggested is None else min(suggested, self.span - 1)
        if suggested is not None:
            self._ceiling = min(suggested, self._ceiling or suggested)
        self.span = max(1, smaller)
        self._quick = 0
        return True

    def served(self, *, asked: int, rows: int, seconds: float) -> None:
        """Learn from an answer: grow after a few quick ones, shrink when it was slow or long."""
        if rows > ROWS:
            self.span = max(1, asked * ROWS * 3 // (4 * rows))
            self._quick = 0
        elif seconds > SLOW_S:
            self.span = max(1, self.span // 2)
            self._quick = 0
        elif seconds < QUICK_S and rows < ROWS_TO_GROW and asked >= self.span:
            self._quick += 1
            if self._quick >= PATIENCE:
                self._quick = 0
                self.span = min(self.span * 2, self._ceiling or self.span * 2)
