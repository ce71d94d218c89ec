"""Transactions that hosted providers say pay for something."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, update

from kernel.store.dialects import upsert
from marketplace.model import OPEN_PAYMENTS, Payment, Provider
from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import payments, told_transactions

CHUNK = 400  # of a list in one statement
MAX_NAMED = 20_000  # of one payment: about what one answer of a provider holds

_t = told_transactions.c
_SHOWN = select(_t.tx_hash, _t.told_at, _t.looked_at, _t.seen, _t.settled_at)


@dataclass(frozen=True, slots=True)
class ToldTransaction:
    """
    A hash, when it was first told and looked at last, and what it showed then.

    Nothing more is to be learned of one that has a `settled_at`; without `seen` it cannot be looked at at all.
    """

    tx_hash: str
    told_at: int
    looked_at: int | None = None
    seen: Mapping[str, Any] | None = None
    settled_at: int | None = None


async def add(tx: Tx, payment_id: str, tx_hashes: Iterable[str], now: int) -> bool:
    """
    Keep hashes, each once; False when some were left, since of one payment so many are kept and no more.

    Ask it under the lock of the payment: of two at once each would see room for all of its own.
    """
    known = set((await tx.execute(select(_t.tx_hash).where(_t.payment_id == payment_id))).scalars())
    new = [each for each in dict.fromkeys(tx_hashes) if each not in known]
    kept = new[: max(0, MAX_NAMED - len(known))]
    # In one order: of two looks at a payment each would wait for what the other has named.
    rows = [{"payment_id": payment_id, "tx_hash": each, "told_at": now} for each in sorted(kept)]
    if rows:
        await tx.execute(upsert(told_transactions).on_conflict_do_nothing(), rows)
    return len(kept) == len(new)


async def of_payment(tx: Tx, payment_id: str) -> list[ToldTransaction]:
    """Return what was told of a payment, oldest first."""
    mine = _SHOWN.where(_t.payment_id == payment_id)
    return await many(tx, mine.order_by(_t.told_at, _t.tx_hash), ToldTransaction)


async def set_seen(tx: Tx, payment_id: str, looked: Iterable[ToldTransaction]) -> None:
    """Note what was seen; what is settled stays as it is."""
    named = (_t.payment_id == payment_id) & (_t.tx_hash == bindparam("named"))
    noted = update(told_transactions).where(named, _t.settled_at.is_(None))
    noted = noted.values(looked_at=bindparam("looked"), seen=bindparam("shown"), settled_at=bindparam("settled"))
    rows = [
        {"named": each.tx_hash, "looked": each.looked_at, "shown": each.seen, "settled": each.settled_at}
        for each in sorted(looked, key=lambda each: each.tx_hash)  # as above
    ]
    if rows:
        await tx.execute(noted, rows)


async def settled_of(tx: Tx, payment_id: str, limit: int) -> list[ToldTransaction]:
    """Return what is settled of a payment that is over and not written down yet."""
    mine = (_t.payment_id == payment_id) & _t.settled_at.is_not(None) & _t.done_at.is_(None)
    return await many(tx, _SHOWN.where(mine).order_by(_t.settled_at, _t.tx_hash).limit(limit), ToldTransaction)


async def set_done(tx: Tx, payment_id: str, tx_hashes: Collection[str], now: int) -> None:
    """Note of which transactions nothing is left to do."""
    hashes = sorted(tx_hashes)
    for start in range(0, len(hashes), CHUNK):
        mine = (_t.payment_id == payment_id) & _t.tx_hash.in_(hashes[start : start + CHUNK]) & _t.done_at.is_(None)
        await tx.execute(update(told_transactions).where(mine).values(done_at=now))


async def of_ended(tx: Tx, providers: Collection[Provider], limit: int) -> list[Payment]:
    """Return payments of these providers that are over, of which something is left to do; longest unseen first."""
    told = select(_t.payment_id).where(_t.done_at.is_(None))
    over = select(payments).where(payments.c.id.in_(told), payments.c.status.not_in(OPEN_PAYMENTS))
    over = over.where(payments.c.provider.in_(providers))
    found = over.order_by(func.coalesce(payments.c.looked_at, 0), payments.c.id).limit(limit)
    # As for open ones: rows are locked here in no order.
    return await many(tx, found.with_for_update(skip_locked=True, key_share=True), Payment)
