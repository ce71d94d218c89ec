"""Transactions that hosted providers say pay for something."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import func, select, update

from kernel.store.dialects import upsert
from marketplace.model import OPEN_PAYMENTS, Payment
from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import payments, told_transactions

_t = told_transactions.c


@dataclass(frozen=True, slots=True)
class ToldTransaction:
    """A hash, and when it was first told."""

    tx_hash: str
    told_at: int


async def add(tx: Tx, payment_id: str, tx_hashes: Iterable[str], now: int) -> None:
    """Keep hashes, each once."""
    rows = [{"payment_id": payment_id, "tx_hash": each, "told_at": now} for each in dict.fromkeys(tx_hashes)]
    if rows:
        await tx.execute(upsert(told_transactions).on_conflict_do_nothing(), rows)


async def of_payment(tx: Tx, payment_id: str, limit: int) -> list[ToldTransaction]:
    """Return what was told of a payment, oldest first."""
    found = select(_t.tx_hash, _t.told_at).where(_t.payment_id == payment_id)
    return await many(tx, found.order_by(_t.told_at, _t.tx_hash).limit(limit), ToldTransaction)


async def unfound(tx: Tx, payment_id: str, limit: int) -> list[str]:
    """Return what was told of a payment and is not known to be on the chain, oldest first."""
    found = select(_t.tx_hash).where(_t.payment_id == payment_id, _t.found_at.is_(None))
    return list((await tx.execute(found.order_by(_t.told_at, _t.tx_hash).limit(limit))).scalars())


async def set_found(tx: Tx, payment_id: str, tx_hashes: Collection[str], now: int) -> None:
    """Note what was found on the chain, and looked at."""
    mine = (_t.payment_id == payment_id) & _t.tx_hash.in_(tx_hashes) & _t.found_at.is_(None)
    await tx.execute(update(told_transactions).where(mine).values(found_at=now))


async def of_ended(tx: Tx, told_after: int, limit: int) -> list[Payment]:
    """Return payments that are over, of which something was told lately and not found; longest unseen first."""
    told = select(_t.payment_id).where(_t.found_at.is_(None), _t.told_at > told_after)
    over = select(payments).where(payments.c.id.in_(told), payments.c.status.not_in(OPEN_PAYMENTS))
    found = over.order_by(func.coalesce(payments.c.looked_at, 0), payments.c.id).limit(limit)
    # As for open ones: rows are locked here in no order.
    return await many(tx, found.with_for_update(skip_locked=True, key_share=True), Payment)
