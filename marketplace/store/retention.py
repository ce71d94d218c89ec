"""
What is old enough to go, a few rows at a time; the ledger is not among it.

What somebody changes just now is not old: such rows are locked by whoever does, and left alone.
"""

from __future__ import annotations

from sqlalchemy import Delete, delete, exists, select, update

from marketplace.model import Direction, PaymentStatus
from marketplace.store.database import Tx
from marketplace.store.inbox import UNREAD
from marketplace.store.tables import (
    address_reservations,
    credited_transfers,
    disputes,
    funds_ledger_entries,
    notice_counts,
    notifications,
    payment_quotes,
    payment_transfers,
    payments,
    recoveries,
    scanner_outbox,
    told_transactions,
    webhook_inbox,
)

_p = payments.c


async def prune_events(tx: Tx, before: int, limit: int) -> int:
    """Forget webhooks that were judged, commands that were done, and how often what was told; return how many rows."""
    i, o, n = webhook_inbox.c, scanner_outbox.c, notice_counts.c
    judged = select(i.event_id).where(i.received_at < before, i.outcome.not_in(["", UNREAD])).limit(limit)
    ended = select(o.id).where(o.status.in_(["done", "refused"]), o.done_at < before).limit(limit)
    quiet = (n.held_back == 0) & (n.told_at < before)
    gone = await _gone(tx, delete(webhook_inbox).where(i.event_id.in_(judged.with_for_update(skip_locked=True))))
    gone += await _gone(tx, delete(scanner_outbox).where(o.id.in_(ended.with_for_update(skip_locked=True))))
    return gone + await _gone(tx, delete(notice_counts).where(quiet))


async def prune_unmatched(tx: Tx, before: int, limit: int) -> int:
    """Forget tokens nobody asked for; money of a payment's own token waits for a person as long as its payment."""
    r = recoveries.c
    other = r.token_address.is_not(None) & (r.token_address != _p.token_address) & (r.updated_at < before)
    found = select(r.id).join(payments, _p.id == r.payment_id).where(other).limit(limit)
    return await _gone(tx, delete(recoveries).where(r.id.in_(found.with_for_update(skip_locked=True, of=recoveries))))


async def prune_notifications(tx: Tx, before: int, limit: int) -> int:
    """Forget what people were told long ago, read or not."""
    n = notifications.c
    old = select(n.seq).where(n.created_at < before).limit(limit)
    return await _gone(tx, delete(notifications).where(n.seq.in_(old.with_for_update(skip_locked=True))))


async def prune_payments(tx: Tx, before: int, limit: int) -> int:
    """Forget payments that ended unpaid with what touches them, never one that the ledger knows or a dispute names."""
    over = (_p.direction == Direction.IN) & _p.status.in_([PaymentStatus.CANCELLED, PaymentStatus.FAILED])
    kept_by = [
        exists().where(funds_ledger_entries.c.payment_id == _p.id),
        exists().where(credited_transfers.c.payment_id == _p.id),
        exists().where(disputes.c.payment_id == _p.id),
        exists().where(payment_quotes.c.payment_id == _p.id),  # what was quoted is never forgotten
        exists().where(scanner_outbox.c.payment_id == _p.id, scanner_outbox.c.status == "pending"),
    ]
    old = select(_p.id).where(over, _p.updated_at < before, *(~each for each in kept_by)).limit(limit)
    locked = list((await tx.execute(old.with_for_update(skip_locked=True))).scalars())
    # Nothing is added to what is locked; what was added just before is seen now.
    ids = list((await tx.execute(old.where(_p.id.in_(locked)))).scalars())
    if not ids:
        return 0
    for table in (webhook_inbox, scanner_outbox, payment_transfers, recoveries, told_transactions):
        await tx.execute(delete(table).where(table.c.payment_id.in_(ids)))
    used = update(address_reservations).where(address_reservations.c.payment_id.in_(ids))
    await tx.execute(used.values(payment_id=None))  # an address that was shown once is shown to nobody else
    return await _gone(tx, delete(payments).where(_p.id.in_(ids)))


async def _gone(tx: Tx, statement: Delete) -> int:
    return int((await tx.execute(statement)).rowcount)
