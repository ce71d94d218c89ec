"""The most an endpoint accepts in one question, learnt from its refusals and tried again after a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from chains.types import EndpointLimits

RETRY_LARGER_S = 600.0  # after the last refusal

BUSY_ANSWERS_TO_SUSPECT = 2  # times in a row
MAX_CALLS = 100  # in one batch
MAX_BLOCKS = 100_000
MAX_TOPICS = 1_000  # values in one position
MAX_ADDRESSES = 1_000
MAX_OWNERS = 1_000


class AdaptiveLimit:
    """
    The most of something that one endpoint accepts in one question.

    A refusal halves it at once. After ten minutes twice as much is tried again: the provider may have changed its
    limit, and the refusal may have been about something else.
    """

    def __init__(self, maximum: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._maximum = maximum
        self._clock = clock
        self._try_larger_at = 0.0
        self._busy: list[int] = []  # how many were asked for, each time nothing but a wait was said to them
        self.learnt: int | None = None  # None: nothing was ever refused

    @property
    def size(self) -> int:
        """How many to ask for now."""
        if self.learnt is None:
            return self._maximum
        return min(self._maximum, self.learnt * 2) if self._clock() >= self._try_larger_at else self.learnt

    def refused(self, asked: int, *, suggested: int | None = None) -> int:
        """Learn that so many are too many, and what number the refusal suggested; return how many to ask for next."""
        fewer = suggested if suggested is not None and 0 < suggested < asked else asked // 2
        self.learnt = max(1, fewer)
        self._try_larger_at = self._clock() + RETRY_LARGER_S
        self._busy.clear()
        return self.learnt

    @property
    def suspected(self) -> int | None:
        """The size that may be too large although the endpoint only asked us to wait."""
        return min(self._busy) if len(self._busy) >= BUSY_ANSWERS_TO_SUSPECT else None

    def note_busy(self, asked: int) -> None:
        """Note that so many were answered with a wait, or not at all, for which their number may be the reason."""
        self._busy = [*self._busy[1 - BUSY_ANSWERS_TO_SUSPECT :], asked]

    def clear_suspicion(self) -> None:
        """Learn that their number was not the reason."""
        self._busy.clear()

    def served(self, asked: int) -> None:
        """Learn that so many are not too many."""
        self._busy = [busy for busy in self._busy if busy > asked]
        if self.learnt is not None and asked > self.learnt:
            self.learnt = None if asked >= self._maximum else asked


class Capability:
    """Whether one endpoint serves a kind of call at all; a refused kind is tried again after ten minutes."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._try_again_at = 0.0
        self.known: bool | None = None  # None: never tried

    @property
    def should_try(self) -> bool:
        """Whether to ask this way now."""
        return self.known is not False or self._clock() >= self._try_again_at

    def served(self) -> None:
        """Learn that it is served."""
        self.known = True

    def refused(self) -> None:
        """Learn that it is not served."""
        self.known = False
        self._try_again_at = self._clock() + RETRY_LARGER_S


class LearnedLimits:
    """All limits learnt of one endpoint, shared by every reader of a chain."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.batch = AdaptiveLimit(MAX_CALLS, clock=clock)
        self.blocks = AdaptiveLimit(MAX_BLOCKS, clock=clock)
        self.topics = AdaptiveLimit(MAX_TOPICS, clock=clock)
        self.addresses = AdaptiveLimit(MAX_ADDRESSES, clock=clock)
        self.owners = AdaptiveLimit(MAX_OWNERS, clock=clock)
        self.addressless_logs = Capability(clock=clock)
        self.block_receipts = Capability(clock=clock)

    def report(self) -> EndpointLimits:
        """Return it for people."""
        return EndpointLimits(
            batch=self.batch.learnt,
            blocks=self.blocks.learnt,
            topics=self.topics.learnt,
            addresses=self.addresses.learnt,
            owners=self.owners.learnt,
            addressless_logs=self.addressless_logs.known,
            block_receipts=self.block_receipts.known,
        )
