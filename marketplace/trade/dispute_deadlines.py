"""Until when a dispute is to be decided: seen, told of once, and never a reason for money to move by itself."""

from __future__ import annotations

from kernel.clock import HOUR_MS
from marketplace.errors import conflict, invalid
from marketplace.model import Actor, Dispute
from marketplace.payments.checkout import found_payment
from marketplace.store import disputes, locks
from marketplace.trade.disputes import found_dispute, tell_all
from marketplace.unit_of_work import UnitOfWorkFactory
from protocol.wire import rfc3339

BATCH = 100
MAX_AHEAD_MS = 366 * 24 * HOUR_MS


class DisputeDeadlines:
    """Use cases of deadlines. Times are the host's: nothing about money is decided by them."""

    def __init__(self, units: UnitOfWorkFactory) -> None:
        self._units = units

    async def move(self, actor: Actor, dispute_id: str, due_at: int) -> Dispute:
        """Set another deadline of an open dispute, and tell everybody in it."""
        async with self._units.begin(locks.request_of_dispute(dispute_id)) as work:
            dispute = await found_dispute(work.tx, dispute_id)
            if not work.now < due_at <= work.now + MAX_AHEAD_MS:
                raise invalid("dueAt", "must be in the future, by a year at most")
            if not await disputes.move_deadline(work.tx, dispute_id, due_at):
                raise conflict("the dispute is resolved", outcome=dispute.outcome)
            payment = await found_payment(work.tx, dispute.payment_id)
            title = f"A dispute is to be decided by {rfc3339(due_at)}"
            await tell_all(work, dispute, payment, "dispute_deadline", title, but=actor)
            return await found_dispute(work.tx, dispute_id)

    async def tell_overdue(self) -> int:
        """Tell everybody in a dispute once that its deadline is over; return how many there were."""
        now = self._units.clock.now_ms()
        async with self._units.db.read() as tx:
            due = await disputes.overdue(tx, now, BATCH)
        told = 0
        for dispute in due:
            async with self._units.begin(locks.request_of_dispute(dispute.id)) as work:
                if await disputes.note_overdue(work.tx, dispute.id, now):  # still: it may be decided, or moved
                    payment = await found_payment(work.tx, dispute.payment_id)
                    await tell_all(work, dispute, payment, "dispute_overdue", "A dispute is past its deadline")
                    told += 1
        return told
