"""What docs/api.md says of balance watches, as a model that is small enough to be checked by reading."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LIFE = 7 * DAY
# The ages at which a watch is read: every 5 minutes on the first day, then 10, then 20, then 40.
AGES = (
    *range(0, DAY, 5 * MINUTE),
    *range(DAY, 2 * DAY, 10 * MINUTE),
    *range(2 * DAY, 3 * DAY, 20 * MINUTE),
    *range(3 * DAY, LIFE, 40 * MINUTE),
)


class State(StrEnum):
    """What is to become of telling a change."""

    WAITING = "waiting"
    GIVEN_UP = "given up"  # until the next read, or a sweep
    TAKEN_BACK = "taken back"  # it is not so any more
    ACKNOWLEDGED = "acknowledged"


class Change(NamedTuple):
    """What a backend receives: the same change is the same event, whenever it is reported."""

    watch_id: str
    before: int
    after: int
    count: int


@dataclass
class Telling:
    """How far the telling of a change has come."""

    state: State
    due_at: int
    attempts: int = 0


@dataclass
class Expected:
    """A watch as the specification has it."""

    chain_id: int
    holder: str
    baseline: int
    created_at: int
    due_at: int
    current: int
    status: str = "watching"
    count: int = 0
    checked_at: int | None = None
    notified_at: int | None = None

    def is_over(self, now: int) -> bool:
        return now >= self.created_at + LIFE


@dataclass
class WatchModel:
    """Every watch, and every change that was ever seen."""

    watches: dict[str, Expected] = field(default_factory=dict)
    changes: dict[Change, Telling] = field(default_factory=dict)

    def create(
        self, watch_id: str, chain_id: int, holder: str, baseline: int, now: int, *, checked_at: int | None = None
    ) -> None:
        """A watch starts at its baseline and is read at once, or was; asking for it again changes nothing."""
        due_at = now if checked_at is None else now + AGES[1]
        self.watches.setdefault(
            watch_id, Expected(chain_id, holder, baseline, now, due_at, baseline, checked_at=checked_at)
        )

    def stop(self, watch_id: str) -> None:
        """Whoever is stopped sees nothing new; what was seen before is reported."""
        self.watches[watch_id].status = "stopped"

    def to_check(self, chain_id: int, now: int) -> list[str]:
        """Return whose time has come."""
        mine = ((name, watch) for name, watch in self.watches.items() if watch.chain_id == chain_id)
        return [name for name, watch in mine if watch.status == "watching" and watch.due_at <= now]

    def check(self, checked: Collection[str], amounts: Mapping[str, int | None], now: int) -> None:
        """Each of these was looked at; an amount is missing or None where it could not be read."""
        for watch_id in checked:
            watch = self.watches[watch_id]
            if watch.status != "watching":
                continue
            if watch.is_over(now):
                watch.status = "expired"
                continue
            watch.due_at = watch.created_at + next((a for a in AGES if a > now - watch.created_at), LIFE)
            amount = amounts.get(watch_id)
            if amount is not None:
                self._read(watch_id, watch, amount, now)

    def _read(self, watch_id: str, watch: Expected, amount: int, now: int) -> None:
        watch.checked_at = now
        reported = Change(watch_id, watch.current, amount, watch.count + 1)
        self._take_back(watch_id, but=reported)
        if amount == watch.current:
            return
        telling = self.changes.setdefault(reported, Telling(State.WAITING, now))
        assert telling.state is not State.ACKNOWLEDGED
        telling.state, telling.due_at = State.WAITING, now

    def acknowledge(self, reported: Change, now: int) -> None:
        """After a 2xx, what was reported is what the next change is measured from; an older one says nothing new."""
        watch, telling = self.watches[reported.watch_id], self.changes[reported]
        telling.attempts += 1
        if telling.state is State.WAITING:
            telling.state = State.ACKNOWLEDGED
        if reported.count > watch.count:
            watch.current, watch.count, watch.notified_at = reported.after, reported.count, now
            self._take_back(reported.watch_id)

    def refuse(self, reported: Change, retry_at: int | None) -> None:
        """Without a 2xx it is reported again later, or given up."""
        telling = self.changes[reported]
        telling.attempts += 1
        if telling.state is State.WAITING and retry_at is None:
            telling.state = State.GIVEN_UP
        elif telling.state is State.WAITING and retry_at is not None:
            telling.due_at = retry_at

    def sweep(self, now: int) -> int:
        """Everything that was given up is reported once more; return how many watches that concerns."""
        again = {reported: telling for reported, telling in self.changes.items() if telling.state is State.GIVEN_UP}
        for telling in again.values():
            telling.state, telling.due_at = State.WAITING, now
        return len({reported.watch_id for reported in again})

    def to_tell(self, now: int) -> set[Change]:
        """Return what has to be reported now."""
        return {reported for reported, t in self.changes.items() if t.state is State.WAITING and t.due_at <= now}

    def _take_back(self, watch_id: str, *, but: Change | None = None) -> None:
        for reported, telling in self.changes.items():
            open_still = telling.state in {State.WAITING, State.GIVEN_UP}
            if reported.watch_id == watch_id and open_still and (reported != but or reported.before == reported.after):
                telling.state = State.TAKEN_BACK
