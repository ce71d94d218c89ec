"""What waits for a time of the host's clock, whichever table it is in: moved when that clock is set."""

from __future__ import annotations

from sqlalchemy import BindParameter, and_, bindparam, update

from marketplace.store.database import Tx
from marketplace.store.tables import notice_counts, payments, scanner_outbox

_step: BindParameter[int] = bindparam("step")
_now: BindParameter[int] = bindparam("now")
_o, _n, _p = scanner_outbox.c, notice_counts.c, payments.c

_PENDING_AHEAD = and_(_o.status == "pending", _o.next_attempt_at > _now)
_MOVES = (
    update(scanner_outbox).where(_PENDING_AHEAD).values(next_attempt_at=_o.next_attempt_at + _step),
    update(notice_counts).where(_n.told_at > _now).values(told_at=_n.told_at + _step),
    # The sweep begins with what it has not looked at for longest: it would look at the same ones again and again.
    update(payments).where(_p.looked_at > _now).values(looked_at=_p.looked_at + _step),
)
_DOUBTS = (
    update(scanner_outbox)
    .where(_PENDING_AHEAD, _o.next_attempt_at > _now + bindparam("longest"))
    .values(next_attempt_at=_now),
    update(notice_counts).where(_n.told_at > _now).values(told_at=_now),
    update(payments).where(_p.looked_at > _now).values(looked_at=_now),
)


class MarketplaceWaits:
    """The waits of the marketplace; `longest_pause_ms` is the longest one between two attempts at a command."""

    def __init__(self, longest_pause_ms: int) -> None:
        self._longest_ms = longest_pause_ms

    async def move(self, tx: Tx, *, step_ms: int, now: int) -> None:
        if step_ms > 0:  # everything here is repeated until it succeeds: what comes early harms nothing
            return
        for statement in _MOVES:
            await tx.execute(statement, {"step": step_ms, "now": now + step_ms})

    async def doubt(self, tx: Tx, *, now: int) -> int:
        shortened = 0
        for statement in _DOUBTS:
            shortened += (await tx.execute(statement, {"now": now, "longest": self._longest_ms})).rowcount
        return shortened
