"""
Which opt-in events are told at once and which together: pure decisions, no I/O.

A stranger chooses how many transfers there are to tell of. What can never count is told once; of what may count
the first ones are told each; everything beyond is told together, at most once an hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from scanner.model import WORTHLESS, EventType, Intent, Reason, StoredTransfer

INTERVAL_MS = 3_600_000
OF_NOTHING_SETTLED = frozenset({EventType.ANOMALY, EventType.LATE, EventType.REORGED})
EACH = 20  # transfers of one intent, event type and reason that are told one by one


class Told(NamedTuple):
    """One thing to tell of an intent."""

    intent: Intent
    event: EventType
    transfer: StoredTransfer
    reason: Reason | None
    times: int = 1  # how many transfers

    @property
    def key(self) -> tuple[str, str, str]:
        """What is told together."""
        return (self.intent.intent_id, self.event, self.reason or "")


@dataclass(frozen=True, slots=True)
class Summary:
    """What was told of one intent, event type and reason, and what waits."""

    told: int = 0  # events
    told_at: int = 0
    waiting: int = 0  # transfers
    last_transfer: int | None = None

    def is_due(self, now: int) -> bool:
        """Say whether what waits is told now."""
        return self.waiting > 0 and now - self.told_at >= INTERVAL_MS

    def told_together(self, now: int) -> Summary:
        """Return what is left once what waits was told."""
        return Summary(self.told + 1, now)


def still_so(summary: Summary, event: EventType, alike: tuple[int, int] | None) -> Summary:
    """
    Return what of it is still to be told: `alike` is how many transfers have its reason now, and the newest of them.

    Within the hour a reorganisation may make others of them. A payment that moved to another block before it was
    confirmed was once told as gone an hour after its confirmation, and its release was blocked.
    """
    if event not in OF_NOTHING_SETTLED:
        return summary
    times, newest = alike or (0, None)
    return replace(summary, waiting=min(summary.waiting, times), last_transfer=newest)


def most_each(reason: Reason | None) -> int:
    """Return how many are told one by one."""
    return 1 if reason in WORTHLESS else EACH


def choose(before: Summary, wanted: Iterable[Told], now: int) -> tuple[list[Told], Summary]:
    """Return what is told one by one, and what waits afterwards; all of `wanted` have the same key."""
    each: list[Told] = []
    after = before
    for told in wanted:
        if after.told < most_each(told.reason):
            each.append(told)
            after = replace(after, told=after.told + 1, told_at=now)
        else:
            after = replace(after, waiting=after.waiting + told.times, last_transfer=told.transfer.id)
    return each, after
