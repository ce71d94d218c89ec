"""When to try again: pure decisions."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The pauses between the attempts of one round, in seconds; each varies by `jitter` of itself."""

    delays_s: tuple[float, ...]
    jitter: float = 0.1

    def next_delay(self, attempt: int, *, retry_after: float | None, rand: float) -> float | None:
        """
        Return how long to wait after `attempt` attempts of this round; None when the round is spent.

        `rand` is uniform in [0, 1). A longer Retry-After wins, up to a day.
        """
        if attempt > len(self.delays_s):
            return None
        delay = self.delays_s[attempt - 1] * (1 + self.jitter * (2 * rand - 1))
        return max(delay, min(retry_after or 0.0, MAX_RETRY_AFTER_S))


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Return the seconds a Retry-After header asks for (a number or an HTTP date); None when it says nothing."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, OverflowError):
        return None
