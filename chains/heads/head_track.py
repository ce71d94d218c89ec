"""How the head of one endpoint moves: its pace, its age, and how far its clock lies from the host's (pure)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from chains.heads.contradictions import MAX_REORG_DEPTH
from chains.types import Head

MIN_STANDSTILL_S = 60.0
STANDSTILL_INTERVALS = 20
MAX_INTERVAL_S = 60.0  # a chain that paused has not become slow
SLOW_HEAD_S = 15.0  # a head that stands still for so long, and three intervals, is compared with the others'
SLOW_HEAD_INTERVALS = 3
PACE_WINDOW_S = 120.0
PACE_SLACK_S = 10.0  # blocks come in bursts
OFFSET_WINDOW_S = 1_800.0
JUMP_FACTOR = 4  # faster than a chain was before


class ObservedHead(NamedTuple):
    """What one endpoint says its newest blocks are."""

    head: Head  # up to here is read: the newest final block where only final data counts
    newest: int  # position of the newest block, final or not
    newest_time: int  # unix seconds

    @classmethod
    def of(cls, head: Head) -> ObservedHead:
        """Take a head that is the newest block."""
        return cls(head, head.position, head.time)


@dataclass(slots=True)
class HeadTrack:
    """How one endpoint's head moves. All times but `newest_time` are monotonic seconds."""

    interval_s: float | None = None  # between two blocks; learnt where positions are block numbers
    learns: bool = True
    seen: ObservedHead | None = None
    seen_at: float = 0.0
    moved_at: float = 0.0
    begun_at: float = 0.0
    paced: bool = False  # advances at the pace of the monotonic clock
    implausible: str | None = None  # why its last head was not believed
    jumped_to: int | None = None  # since its head rose faster than ever before, and has not fallen below that
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    _offsets: tuple[float, float] | None = None  # the smallest distance from block time, before and since `_turned_at`
    _turned_at: float = 0.0

    def observe(self, seen: ObservedHead, now: float) -> None:
        """Take note of a head."""
        before, self.seen, self.seen_at = self.seen, seen, now
        if before is None or seen.newest_time < before.newest_time - PACE_WINDOW_S:
            self._begin(seen, now)
        elif seen.newest != before.newest or (not self.learns and seen.newest_time != before.newest_time):
            # A node that made the same block younger and younger was taken for one that goes on.
            self._moved(before, seen, now)

    def _begin(self, seen: ObservedHead, now: float) -> None:
        self.begun_at = self.moved_at = self._turned_at = now
        self.paced = False
        self._recent = deque([(now, seen.newest_time)])
        offset = now - seen.newest_time
        self._offsets = (offset, offset)

    def _moved(self, before: ObservedHead, seen: ObservedHead, now: float) -> None:
        self.moved_at = now
        blocks, seconds = seen.newest - before.newest, seen.newest_time - before.newest_time
        if self.jumped_to is not None and seen.newest < self.jumped_to:
            self.jumped_to = None
        if self.learns and blocks > MAX_REORG_DEPTH and seconds * JUMP_FACTOR < blocks * (self.interval_s or 0.0):
            self.jumped_to = seen.newest
        elif self.learns and blocks > 0 and seconds >= 0:
            measured = min(MAX_INTERVAL_S, seconds / blocks)
            self.interval_s = measured if self.interval_s is None else 0.8 * self.interval_s + 0.2 * measured
        self._recent.append((now, seen.newest_time))
        while len(self._recent) > 2 and now - self._recent[0][0] > PACE_WINDOW_S:  # noqa: PLR2004 - two make a pace
            self._recent.popleft()
        since, time = self._recent[0]
        passed, elapsed = seen.newest_time - time, now - since
        slack = max(PACE_SLACK_S + SLOW_HEAD_INTERVALS * (self.interval_s or 0.0), elapsed / 4)
        self.paced = abs(passed - elapsed) <= slack
        offset = now - seen.newest_time
        if self._offsets is not None and now - self._turned_at <= OFFSET_WINDOW_S:
            self._offsets = (self._offsets[0], min(self._offsets[1], offset))
        else:
            self._offsets, self._turned_at = (self._offsets[1] if self._offsets else offset, offset), now

    @property
    def standstill_s(self) -> float:
        """How long a head may stand still before it is stale."""
        return max(MIN_STANDSTILL_S, STANDSTILL_INTERVALS * (self.interval_s or 0.0))

    @property
    def slow_s(self) -> float:
        """How long a head may stand still before somebody else is asked."""
        return max(SLOW_HEAD_S, SLOW_HEAD_INTERVALS * (self.interval_s or 0.0))

    def skew_s(self, now: float, wall: float) -> float | None:
        """Return how far the host's clock is ahead of the endpoint's; None until it was seen to keep pace."""
        if not self.paced or self._offsets is None:
            return None
        return wall - now + min(self._offsets)

    def age_s(self, now: float, wall: float) -> float:
        """Return how old the newest block is, corrected for skew where that is known."""
        if self.seen is None:
            return 0.0
        return wall - (self.skew_s(now, wall) or 0.0) - self.seen.newest_time

    def lag_s(self, now: float, wall: float) -> int:
        """Return how far the newest block is behind now, less the interval in which none is expected."""
        return max(0, round(self.age_s(now, wall) - (self.interval_s or 0.0)))

    def is_unproven(self, now: float) -> bool:
        """Say whether the head was seen for too short a time to tell an old one from a host clock that is ahead."""
        return not self.paced and now - self.begun_at <= self.standstill_s

    def is_stale(self, now: float, wall: float) -> bool:
        """Say whether the head, when it was last asked for, stood still or was old without being seen to advance."""
        if self.seen is None:
            return False
        since = now - self.seen_at  # nobody knows what became of it since: polls may be rare
        old = self.age_s(now, wall) - since > self.standstill_s
        return old or self.seen_at - self.moved_at > self.standstill_s
