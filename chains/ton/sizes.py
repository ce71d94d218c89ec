"""How many addresses one endpoint is asked about at once: learnt from what it accepts."""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 250  # addresses; a question of about 20 KB
MOST = 1_000  # TonCenter's own limit
SERVED_TO_TRY_AGAIN = 100


@dataclass(slots=True)
class ListSize:
    """The number of addresses to put into the next question to one endpoint."""

    size: int = FIRST
    ceiling: int = MOST  # not above: more was refused
    served_in_full: int = 0  # questions of this size since the last refusal

    def served(self, asked: int) -> None:
        """Learn from an answer: a question of this size was not too long."""
        if asked < self.size:
            return
        self.served_in_full += 1
        if self.served_in_full >= SERVED_TO_TRY_AGAIN:  # the refusal may have been about something else
            self.served_in_full = 0
            self.ceiling = min(MOST, self.ceiling * 2)
        self.size = min(self.ceiling, self.size * 2)

    def refused(self, asked: int) -> None:
        """Learn from a refusal: a question of this size was too long."""
        self.size = self.ceiling = max(1, asked // 2)
        self.served_in_full = 0
