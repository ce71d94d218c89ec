"""Payments that were told as reorged: who looked at them, when, and what at."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import insert, select, update

from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import payments, reorg_clearances


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """Somebody's word that the money of a payment is there after all."""

    id: str
    payment_id: str
    reorged_at: int
    note: str
    cleared_by: str
    created_at: int


async def clear(tx: Tx, clearance: Clearance) -> None:
    """Keep the clearance, and let the payment's money move."""
    await tx.execute(insert(reorg_clearances).values(**asdict(clearance)))
    told = payments.c.id == clearance.payment_id
    await tx.execute(update(payments).where(told).values(reorged_at=None, updated_at=clearance.created_at))


async def of_payment(tx: Tx, payment_id: str) -> list[Clearance]:
    """Return every clearance of a payment, oldest first."""
    c = reorg_clearances.c
    mine = select(reorg_clearances).where(c.payment_id == payment_id).order_by(c.created_at, c.id)
    return await many(tx, mine, Clearance)
