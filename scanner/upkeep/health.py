"""How each chain is doing, for `/scanner/status`, `/ready` and the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chains.types import Condition, Head, Rail
from protocol.words import ChainState as ChainState


class Read(NamedTuple):
    """How far a rail was read."""

    position: int
    time: int | None  # unix seconds of the block there


class Stuck(NamedTuple):
    """A transfer that is deep enough and cannot be judged."""

    tx_hash: str
    since: int  # unix ms
    why: str


class Sweep(NamedTuple):
    """What the last sweep read once more."""

    covered_to: int  # unix seconds of chain time
    at: int  # unix ms


@dataclass(slots=True)
class ChainHealth:
    """One chain's last known condition; written by its worker alone. Times are unix ms."""

    chain_id: int
    state: ChainState = ChainState.SYNCING
    head: Head | None = None
    read: dict[Rail, Read] = field(default_factory=dict)
    endpoint: str | None = None
    last_error: str | None = None
    last_success_at: int | None = None
    last_success_elapsed: int | None = None  # the same by the stopwatch
    restarts: int = 0  # of a worker that hung
    problems: Sequence[str] = field(default_factory=list)  # sentences an operator can act on
    condition: Condition = field(default_factory=Condition)
    stuck: Sequence[Stuck] = field(default_factory=list)  # the longest first
    sweep: Sweep | None = None

    @property
    def checkpoint(self) -> int | None:
        """Everything up to here was read, on every rail."""
        return min((read.position for read in self.read.values()), default=None)

    @property
    def checkpoint_time(self) -> int | None:
        """Unix seconds of the block at the checkpoint; None while it is not known of every rail."""
        times = [read.time for read in self.read.values()]
        return None if not times or None in times else min(time for time in times if time is not None)

    @property
    def lag(self) -> int | None:
        """How far the checkpoint is behind the head, in the family's unit."""
        checkpoint = self.checkpoint
        if self.head is None or checkpoint is None:
            return None
        return max(0, self.head.position - checkpoint)

    @property
    def lag_seconds(self) -> int | None:
        """In seconds: how old the newest block is that anybody knows, or how far behind the head was read."""
        if self.head is None or self.checkpoint_time is None:
            return self.condition.lag_s
        behind = 0 if self.lag == 0 else max(0, self.head.time - self.checkpoint_time)
        return max(behind, self.condition.lag_s or 0)

    @property
    def polled(self) -> bool:
        """Whether a poll ever succeeded."""
        return self.last_success_at is not None
