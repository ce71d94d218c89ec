"""When to try again: pure decisions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 24 * 3600.0
_NUMBER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The pauses between the attempts of one round, in seconds; each varies by `jitter` of itself."""

    delays_s: tuple[float, ...]
    jitter: float = 0.1

    @property
    def longest_s(self) -> float:
        """No pause between two attempts is longer."""
        return max([MAX_RETRY_AFTER_S, *(delay * (1 + self.jitter) for delay in self.delays_s)])

    def next_delay(self, attempt: int, *, retry_after: float | None, rand: float) -> float | None:
        """
        Return how long to wait after `attempt` attempts of this round; None when the round is spent.

        `rand` is uniform in [0, 1). A longer Retry-After wins, up to a day.
        """
        if attempt > len(self.delays_s):
            return None
        delay = self.delays_s[attempt - 1] * (1 + self.jitter * (2 * rand - 1))
        return max(0.0, delay, min(retry_after or 0.0, MAX_RETRY_AFTER_S))


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """
    Return the seconds a Retry-After header asks for (a number or an HTTP date); None when it says nothing.

    `now` in unix seconds; a time that has passed is 0, one that is further off than a day a day.
    """
    if value is None:
        return None
    seconds = _seconds(value.strip(), now)
    return None if seconds is None else min(max(0.0, seconds), MAX_RETRY_AFTER_S)


def _seconds(text: str, now: float) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        # HTTP dates are UTC, also when the zone is missing.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
