"""How each chain is doing, for `/scanner/status`, `/ready` and the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from chains.types import Head


class ChainState(StrEnum):
    """What a chain's worker is doing."""

    STARTING = "starting"  # has not finished a poll yet
    SYNCING = "syncing"  # reading blocks behind the head
    READY = "ready"  # read up to the head at the last poll
    FAILING = "failing"  # the last poll failed


@dataclass(slots=True)
class ChainHealth:
    """One chain's last known condition; written by its worker alone. Times are unix ms."""

    chain_id: int
    state: ChainState = ChainState.STARTING
    head: Head | None = None
    checkpoint: int | None = None
    checkpoint_time: int | None = None  # unix seconds of the block at the checkpoint
    endpoint: str | None = None
    last_error: str | None = None
    last_success_at: int | None = None
    restarts: int = 0  # of a worker that hung
    problems: Sequence[str] = field(default_factory=list)  # what the registry promises and the chain denies

    @property
    def lag(self) -> int | None:
        """How far the checkpoint is behind the head, in the family's unit."""
        if self.head is None or self.checkpoint is None:
            return None
        return max(0, self.head.position - self.checkpoint)

    @property
    def lag_seconds(self) -> int | None:
        """The same in seconds of chain time."""
        if self.head is None or self.checkpoint_time is None:
            return None
        return 0 if self.lag == 0 else max(0, self.head.time - self.checkpoint_time)

    @property
    def polled(self) -> bool:
        """Whether a poll ever succeeded."""
        return self.last_success_at is not None
