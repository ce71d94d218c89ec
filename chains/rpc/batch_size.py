"""How many calls to put into one JSON-RPC batch while one question is asked, and what its refusals teach (pure)."""

from __future__ import annotations

from chains.errors import ChainError
from chains.rpc.endpoint_limits import AdaptiveLimit

MAX_REFUSED_ALONE = 5  # calls of one question refused by a status, then the others are not asked for


class BatchRejected(Exception):
    """
    So many calls in one request are too many; `why` is what it comes to when one call is refused as well.

    `unsure`: it may as well mean that the node is down, or not for us. One call tells.
    """

    def __init__(self, why: ChainError, suggested: int | None = None, *, unsure: bool = False) -> None:
        super().__init__(str(why))
        self.why = why
        self.suggested = suggested
        self.unsure = unsure

    def fewer(self, asked: int) -> int:
        """Return how many calls to make instead of so many."""
        return self.suggested if self.suggested is not None and self.suggested < asked else max(1, asked // 2)


class BatchSizer:
    """How many calls to make at once while one question is asked, and what its refusals teach in the end."""

    def __init__(self, limit: AdaptiveLimit, calls: int) -> None:
        self._limit = limit
        self._full_size = limit.size
        # Some count each call of a batch against the rate: such a batch is refused for ever, and one call is not.
        self.proving = limit.suspected is not None and min(self._full_size, calls) >= limit.suspected
        self.size = 1 if self.proving else self._full_size
        self._refused: tuple[int, int] | None = None  # the smallest refused, and how many to ask for then
        self._refused_calls = 0
        self._served = False
        self._repeated = False

    def refused(self, asked: int, fewer: int, *, unsure: bool = False) -> None:
        """Ask for fewer; for one where the refusal may mean something else."""
        self._refused = (asked, fewer)
        self.size = 1 if unsure else fewer

    def may_repeat(self) -> bool:
        """Say whether to make the same call again, which is done once for each call."""
        first, self._repeated = not self._repeated, True
        return first

    def refused_alone(self, left: int) -> int:
        """Take note of a call refused by itself; return how many of those left that stands for."""
        self._refused_calls += 1
        return left if self._refused_calls == MAX_REFUSED_ALONE else 1

    def busy(self, asked: int, *, fewest: bool) -> bool:
        """Say whether to go on with fewer, after a wait was asked for: one call was answered just now."""
        if not (self.proving and self._served):
            self._limit.note_busy(asked)
            return False
        self.refused(asked, 1 if fewest else asked // 2)
        return True

    def served(self, asked: int) -> None:
        """Go on with as many as are known to be taken."""
        self._limit.served(asked)
        if self.proving and self._served and self._refused is None:
            self._limit.clear_suspicion()
        self._served, self._repeated = True, False
        if self.size == 1:
            self.size = self._full_size if self._refused is None else self._refused[1]

    def learn(self) -> None:
        """Learn only now that it was about the size: a node that fails whatever it is asked teaches nothing."""
        if self._refused is not None and not self._refused_calls:
            self._limit.refused(self._refused[0], suggested=self._refused[1])
