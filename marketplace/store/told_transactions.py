"""Transactions that hosted providers say pay for something."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from kernel.store.dialects import upsert
from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import told_transactions

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
