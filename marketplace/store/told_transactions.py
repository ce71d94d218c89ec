"""Transactions that hosted providers say pay for something."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, literal_column, select, union, update

from kernel.clock import DAY_MS, HOUR_MS
from kernel.store.dialects import upsert
from marketplace.model import OPEN_PAYMENTS, Direction, Payment, Provider
from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import payments, told_transactions

CHUNK = 400  # of a list in one statement
LATE_MS = 7 * DAY_MS  # so long a payment that is over is asked about, and what was named of it is looked for
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

    One that was given up, and is named once more, is looked for anew. Ask it under the lock of the payment: of two
    at once each would see room for all of its own.
    """
    named = dict.fromkeys(tx_hashes)
    known = set((await tx.execute(select(_t.tx_hash).where(_t.payment_id == payment_id))).scalars())
    given_up = _t.settled_at.is_(None) & _t.done_at.is_not(None)
    for mine in _parts(payment_id, known & named.keys()):
        await tx.execute(update(told_transactions).where(mine, given_up).values(told_at=now, done_at=None))
    new = [each for each in named if each not in known]
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
    for mine in _parts(payment_id, tx_hashes):
        await tx.execute(update(told_transactions).where(mine, _t.done_at.is_(None)).values(done_at=now))


def _parts(payment_id: str, tx_hashes: Collection[str]) -> list[ColumnElement[bool]]:
    """Return conditions that together name these hashes, no statement too many of them."""
    hashes = sorted(tx_hashes)
    starts = range(0, len(hashes), CHUNK)
    return [(_t.payment_id == payment_id) & _t.tx_hash.in_(hashes[start : start + CHUNK]) for start in starts]


def _is_due(since: ColumnElement[int], looked_at: ColumnElement[int], now: int) -> ColumnElement[bool]:
    """Say that it is time to look: when as long went by as had when it was looked at last, or a day."""
    return (looked_at + looked_at - since <= now) | (looked_at <= now - DAY_MS)


def _is_left(now: int) -> ColumnElement[bool]:
    """Say that something is to be done about a transaction now; for an hour after it was told that is always so."""
    fresh = _t.looked_at.is_(None) | _t.settled_at.is_not(None) | (_t.looked_at < _t.told_at + HOUR_MS)
    return _t.done_at.is_(None) & (fresh | _is_due(_t.told_at, _t.looked_at, now))


async def left_of(tx: Tx, payment_id: str, now: int) -> list[ToldTransaction]:
    """Return what of a payment that is over is to be looked at now, or to be written down; oldest first."""
    mine = _SHOWN.where(_t.payment_id == payment_id, _is_left(now))
    return await many(tx, mine.order_by(_t.told_at, _t.tx_hash), ToldTransaction)


async def of_ended(tx: Tx, providers: Collection[Provider], now: int, limit: int) -> list[Payment]:
    """
    Return payments of these providers that are over, and are to be looked at now; longest unseen first.

    Something that was named is left to do, or it is time to ask what came since: whatever told of it may be lost.
    """
    p = payments.c
    # As the index says it: a plan that is made before values are known would not use it.
    hosted = p.provider != literal_column("'amn.scanner'")
    asked = hosted & (p.updated_at > now - LATE_MS) & (p.direction == Direction.IN) & p.registered_at.is_not(None)
    asked &= p.status.not_in(OPEN_PAYMENTS) & _is_due(p.created_at, func.coalesce(p.looked_at, p.created_at), now)
    due = union(select(_t.payment_id).where(_is_left(now)), select(p.id).where(asked))
    over = select(payments).where(p.id.in_(due), p.status.not_in(OPEN_PAYMENTS), p.provider.in_(providers))
    found = over.order_by(func.coalesce(p.looked_at, 0), p.id).limit(limit)
    # As for open ones: rows are locked here in no order.
    return await many(tx, found.with_for_update(skip_locked=True, key_share=True), Payment)
