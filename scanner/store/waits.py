"""What waits for a time of the host's clock, whichever table it is in: moved when that clock is set."""

from __future__ import annotations

from sqlalchemy import BindParameter, and_, bindparam, case, func, or_, select, update

from kernel.store.database import Tx
from kernel.store.ddl import Whole
from scanner.model import DeliveryStatus, Priority, WatchStatus
from scanner.store.tables import attempts, balance_watches, events, summaries
from scanner.upkeep.watch_schedule import LONGEST_MS

_step: BindParameter[int] = bindparam("step", type_=Whole)
_now: BindParameter[int] = bindparam("now", type_=Whole)
_e, _w, _s = events.c, balance_watches.c, summaries.c

# One range of the index a priority.
_PENDING_AHEAD = and_(
    _e.status == DeliveryStatus.PENDING, _e.priority.in_([each.value for each in Priority]), _e.next_attempt_at > _now
)
_WATCHED_AHEAD = and_(_w.status == WatchStatus.WATCHING, _w.next_check_at > _now)
_GIVEN_UP_AHEAD = and_(_e.status == DeliveryStatus.FAILED, _e.failed_at > _now)


_MOVE_ATTEMPTS = update(events).where(_PENDING_AHEAD).values(next_attempt_at=_e.next_attempt_at + _step)
_MOVE_BACK = (
    update(balance_watches).where(_WATCHED_AHEAD).values(next_check_at=_w.next_check_at + _step),
    update(events).where(_GIVEN_UP_AHEAD).values(failed_at=_e.failed_at + _step),
    update(summaries).where(_s.told_at > _now).values(told_at=_s.told_at + _step),
)

_LAST_TRIED = select(func.max(attempts.c.at)).where(attempts.c.event_id == _e.event_id).scalar_subquery()
# What was not tried in its round is due at once, whatever its time says.
_BEGAN = case((_e.attempts == 0, _e.next_attempt_at), else_=func.coalesce(_LAST_TRIED, _e.created_at))
_DOUBTS = (
    update(events)
    .where(_PENDING_AHEAD, or_(_now < _BEGAN, _e.next_attempt_at > _now + bindparam("longest", type_=Whole)))
    .values(next_attempt_at=_now + case((_now < _BEGAN, _e.next_attempt_at - _BEGAN), else_=0)),
    update(events).where(_GIVEN_UP_AHEAD).values(failed_at=_now),
    update(balance_watches)
    .where(_WATCHED_AHEAD, or_(_w.updated_at > _now, _w.next_check_at > _now + LONGEST_MS))
    .values(next_check_at=_now),
    update(summaries).where(_s.told_at > _now).values(told_at=_now),
)


class ScannerWaits:
    """The waits of the scanner; `longest_retry_ms` is the longest pause between two attempts."""

    def __init__(self, longest_retry_ms: int) -> None:
        self._longest_ms = longest_retry_ms

    async def move(self, tx: Tx, *, step_ms: int, now: int) -> None:
        # Forward, what is not counted comes early and harms nothing; the attempts of a webhook are counted.
        statements = (_MOVE_ATTEMPTS, *_MOVE_BACK) if step_ms < 0 else (_MOVE_ATTEMPTS,)
        for statement in statements:
            await tx.execute(statement, {"step": step_ms, "now": min(now, now + step_ms)})

    async def doubt(self, tx: Tx, *, now: int) -> int:
        shortened = 0
        for statement in _DOUBTS:
            shortened += (await tx.execute(statement, {"now": now, "longest": self._longest_ms})).rowcount
        return shortened
