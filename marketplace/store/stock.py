"""Stocks of digital goods: counted by their indexes, taken by conditional updates, never given out twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, insert, select, update

from kernel.store.dialects import upsert
from marketplace.model import Direction, Page
from marketplace.store.database import Tx
from marketplace.store.errors import Taken
from marketplace.store.rows import changed, many, one, paged
from marketplace.store.tables import (
    goods_keys,
    goods_orders,
    goods_readings,
    goods_reveals,
    offered_goods,
    payments,
    stock_items,
    stock_pools,
)

_p, _i, _o, _r = stock_pools.c, stock_items.c, goods_orders.c, goods_reveals.c
WAITING, RESERVED, RETURNED = "waiting", "reserved", "returned"
FREE, EXPIRED, SEEN, WITHDRAWN = "free", "expired", "revealed", "withdrawn"
STATES = (FREE, RESERVED, SEEN, EXPIRED, WITHDRAWN)
_unsold = _i.payment_id.is_(None) & _i.withdrawn_at.is_(None)
_seen = exists().where(_r.item_id == _i.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Goods of one kind, of which any one is as good as another."""

    id: str
    seller_id: str
    name: str
    low_at: int
    told_left: int | None
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many goods of a pool are in which state."""

    free: int = 0
    reserved: int = 0
    revealed: int = 0
    expired: int = 0
    withdrawn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """A good as it is stored first."""

    id: str
    sealed: str = field(repr=False)
    key_id: str
    digest: str
    line: int
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StockItem:
    """A good without what it is."""

    id: str
    pool_id: str
    line: int
    state: str
    expires_at: int | None
    payment_id: str | None
    reserved_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SoldItem:
    """A good that is kept for a payment."""

    id: str
    pool_id: str
    sealed: str = field(repr=False)
    expires_at: int | None
    reserved_at: int
    revealed_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a funded payment gets out of a pool."""

    payment_id: str
    pool_id: str
    units: int
    status: str


# -- pools ---------------------------------------------------------------------------------------------


async def add_pool(tx: Tx, pool: Pool) -> None:
    await tx.execute(insert(stock_pools).values(**asdict(pool)))


async def count_pools(tx: Tx, seller_id: str) -> int:
    counted = select(func.count()).select_from(stock_pools).where(_p.seller_id == seller_id)
    return int((await tx.execute(counted)).scalar_one())


async def pool(tx: Tx, pool_id: str) -> Pool | None:
    return await one(tx, select(stock_pools).where(_p.id == pool_id), Pool)


async def pools(tx: Tx, page: Page, *, seller_id: str | None = None) -> tuple[list[Pool], int]:
    """Return pools, newest first: a seller's, or everybody's."""
    found = select(stock_pools).order_by(_p.created_at.desc(), _p.id)
    return await paged(tx, found if seller_id is None else found.where(_p.seller_id == seller_id), Pool, page)


async def change_pool(tx: Tx, pool_id: str, now: int, **values: Any) -> bool:
    return await changed(tx, update(stock_pools).where(_p.id == pool_id).values(**values, updated_at=now))


async def hold_pools(tx: Tx, pool_ids: Iterable[str]) -> None:
    """Lock pools until the transaction ends, in one order, so that no two wait for each other."""
    for pool_id in sorted(set(pool_ids)):
        await tx.execute(select(_p.id).where(_p.id == pool_id).with_for_update(key_share=True))


async def tell_left(tx: Tx, pool_id: str, left: int) -> bool:
    """Note that the seller is told how many are left; False when they know."""
    unknown = _p.told_left.is_(None)
    news = (_p.low_at >= left) & (unknown if left > 0 else unknown | (_p.told_left > 0))
    return await changed(tx, update(stock_pools).where(_p.id == pool_id, news).values(told_left=left))


async def forget_told(tx: Tx, pool_id: str, left: int) -> None:
    """Tell the seller again the next time, now that there are enough."""
    enough = (_p.id == pool_id) & (_p.low_at < left)
    await tx.execute(update(stock_pools).where(enough).values(told_left=None))


# -- items ---------------------------------------------------------------------------------------------


def _free(now: int) -> ColumnElement[bool]:
    return and_(_unsold, _i.expires_at.is_(None) | (_i.expires_at > now))


def _state(now: int) -> ColumnElement[str]:
    return case(
        (_i.withdrawn_at.is_not(None), WITHDRAWN),
        (_seen, SEEN),
        (_i.payment_id.is_not(None), RESERVED),
        (_i.expires_at <= now, EXPIRED),
        else_=FREE,
    )


async def counts(tx: Tx, pool_ids: Collection[str], now: int) -> dict[str, Counts]:
    """Count the goods of pools, by state."""
    each = select(_i.pool_id, _state(now).label("state")).where(_i.pool_id.in_(pool_ids)).subquery().c
    counted = select(each.pool_id, each.state, func.count().label("n")).group_by(each.pool_id, each.state)
    found: dict[str, dict[str, int]] = {pool_id: {} for pool_id in pool_ids}
    for row in await tx.execute(counted):
        found[row.pool_id][row.state] = int(row.n)
    return {pool_id: Counts(**states) for pool_id, states in found.items()}


async def count_free(tx: Tx, pool_id: str, now: int) -> int:
    """Count what could be sold now."""
    counted = select(func.count()).select_from(stock_items).where(_i.pool_id == pool_id, _free(now))
    return int((await tx.execute(counted)).scalar_one())


async def known_digests(tx: Tx, seller_id: str, digests: Collection[str]) -> set[str]:
    """Return which of these goods the seller has, or had."""
    same = select(_i.digest).where(_i.seller_id == seller_id, _i.digest.in_(digests))
    return set((await tx.execute(same)).scalars())


async def add_items(tx: Tx, pool_: Pool, items: Sequence[NewItem], now: int) -> None:
    rows = [{"pool_id": pool_.id, "seller_id": pool_.seller_id, "created_at": now, **asdict(each)} for each in items]
    await tx.execute(insert(stock_items), rows)


async def items(tx: Tx, page: Page, pool_id: str, now: int, *, state: str | None) -> tuple[list[StockItem], int]:
    """Return the goods of a pool in the order of their upload, without what they are."""
    named = _state(now)
    found = select(
        _i.id, _i.pool_id, _i.line, named.label("state"), _i.expires_at, _i.payment_id, _i.reserved_at, _i.created_at
    ).where(_i.pool_id == pool_id)
    if state is not None:
        found = found.where(named == state)
    return await paged(tx, found.order_by(_i.created_at, _i.line, _i.id), StockItem, page)


async def item_of(tx: Tx, seller_id: str, item_id: str) -> str | None:
    """Return the pool of a seller's good; None when they have no such good."""
    found = select(_i.pool_id).where(_i.id == item_id, _i.seller_id == seller_id)
    return (await tx.execute(found)).scalar_one_or_none()


async def withdraw(tx: Tx, item_id: str, now: int) -> bool:
    """Take a good out of the stock; False when it is sold or gone."""
    return await changed(tx, update(stock_items).where(_i.id == item_id, _unsold).values(withdrawn_at=now))


async def take(tx: Tx, pool_id: str, payment_id: str, units: int, now: int) -> list[str]:
    """
    Keep so many goods of a pool for a payment, those that expire first; none when there are not so many.

    The pool is locked (`hold_pools`); what is taken all the same by somebody else undoes the transaction.
    """
    first = (_i.expires_at.is_(None), _i.expires_at, _i.created_at, _i.line, _i.id)
    chosen = select(_i.id).where(_i.pool_id == pool_id, _free(now)).order_by(*first).limit(units)
    ids = list((await tx.execute(chosen)).scalars())
    if len(ids) < units:
        return []
    taken = update(stock_items).where(_i.id.in_(ids), _free(now)).values(payment_id=payment_id, reserved_at=now)
    if (await tx.execute(taken)).rowcount != units:
        raise Taken(f"goods of pool {pool_id} were taken meanwhile")
    return ids


async def give_back(tx: Tx, payment_id: str, item_ids: Collection[str] | None = None) -> int:
    """Put goods of a payment that nobody saw back into the stock; return how many."""
    unseen = (_i.payment_id == payment_id) & ~_seen
    if item_ids is not None:
        unseen &= _i.id.in_(item_ids)
    return int((await tx.execute(update(stock_items).where(unseen).values(payment_id=None, reserved_at=None))).rowcount)


async def sold_to(tx: Tx, payment_id: str) -> list[SoldItem]:
    """Return the goods that are kept for a payment."""
    columns = (_i.id, _i.pool_id, _i.sealed, _i.expires_at, _i.reserved_at, _r.created_at.label("revealed_at"))
    kept = select(*columns).outerjoin(goods_reveals, _r.item_id == _i.id).where(_i.payment_id == payment_id)
    return await many(tx, kept.order_by(_i.pool_id, _i.created_at, _i.line, _i.id), SoldItem)


async def expired_lately(tx: Tx, since: int, now: int) -> list[str]:
    """Return the pools in which something unsold expired."""
    gone = _unsold & (_i.expires_at > since) & (_i.expires_at <= now)
    return list((await tx.execute(select(_i.pool_id).where(gone).distinct())).scalars())


# -- what offers hand over, and payments get -----------------------------------------------------------


async def offer(tx: Tx, offer_id: str, units: dict[str, int]) -> None:
    """Note what an offer hands over: so many units of each pool."""
    rows = [{"offer_id": offer_id, "pool_id": pool_id, "units": n} for pool_id, n in units.items()]
    if rows:
        await tx.execute(insert(offered_goods), rows)


async def offered(tx: Tx, offer_id: str) -> dict[str, int]:
    """Return how many units of which pool an offer hands over."""
    c = offered_goods.c
    found = await tx.execute(select(c.pool_id, c.units).where(c.offer_id == offer_id).order_by(c.pool_id))
    return {row.pool_id: row.units for row in found}


async def add_order(tx: Tx, payment_id: str, pool_id: str, units: int, status: str, now: int) -> None:
    row = {"payment_id": payment_id, "pool_id": pool_id, "units": units, "status": status}
    await tx.execute(insert(goods_orders).values(**row, created_at=now, updated_at=now))


async def orders(tx: Tx, payment_id: str) -> list[Order]:
    found = select(_o.payment_id, _o.pool_id, _o.units, _o.status).where(_o.payment_id == payment_id)
    return await many(tx, found.order_by(_o.pool_id), Order)


async def change_order(tx: Tx, order: Order, now: int, status: str) -> bool:
    """Change an order that is still as it was read."""
    same = (_o.payment_id == order.payment_id) & (_o.pool_id == order.pool_id) & (_o.status == order.status)
    return await changed(tx, update(goods_orders).where(same).values(status=status, updated_at=now))


async def waiting(tx: Tx, now: int, limit: int) -> list[str]:
    """Return payments that wait for goods which are there now, oldest first."""
    there = select(func.count()).select_from(stock_items).where(_i.pool_id == _o.pool_id, _free(now)).scalar_subquery()
    found = select(_o.payment_id).where(_o.status == WAITING, there >= _o.units).order_by(_o.created_at).limit(limit)
    return list(dict.fromkeys((await tx.execute(found)).scalars()))


async def is_refunded(tx: Tx, payment_id: str) -> bool:
    """Say whether the whole price of a payment goes back, or went."""
    back, paid = payments.alias("back"), payments.c
    whole = select(paid.id).join(back, back.c.settles_payment_id == paid.id)
    same = (back.c.direction == Direction.REFUND) & (back.c.amount_base == paid.amount_base)
    return (await tx.execute(whole.where(paid.id == payment_id, same).limit(1))).first() is not None


# -- what was shown ------------------------------------------------------------------------------------


async def reveal(tx: Tx, payment_id: str, buyer_id: str, item_ids: Sequence[str], now: int) -> None:
    """Note to whom goods are shown for the first time: each once for ever."""
    rows = [
        {"item_id": item_id, "payment_id": payment_id, "buyer_id": buyer_id, "created_at": now} for item_id in item_ids
    ]
    if rows:
        await tx.execute(insert(goods_reveals), rows)


async def count_readings(tx: Tx, payment_id: str) -> int:
    counted = select(func.count()).select_from(goods_readings).where(goods_readings.c.payment_id == payment_id)
    return int((await tx.execute(counted)).scalar_one())


async def add_reading(tx: Tx, reading_id: str, payment_id: str, buyer_id: str, items_: int, now: int) -> None:
    row = {"id": reading_id, "payment_id": payment_id, "buyer_id": buyer_id, "items": items_}
    await tx.execute(insert(goods_readings).values(**row, created_at=now))


# -- keys ----------------------------------------------------------------------------------------------


async def sealed_key(tx: Tx) -> str | None:
    """Return the sealed key of digests, the proof of the key at hand."""
    return (await tx.execute(select(goods_keys.c.sealed))).scalar_one_or_none()


async def put_key(tx: Tx, sealed: str, *, was: str | None) -> bool:
    """Store the key of digests, if it still lies there as it was read; False when somebody was faster."""
    if was is None:
        made = upsert(goods_keys).values(id=1, sealed=sealed).on_conflict_do_nothing()
        return (await tx.execute(made)).rowcount == 1
    return await changed(tx, update(goods_keys).where(goods_keys.c.sealed == was).values(sealed=sealed))


async def key_ids(tx: Tx) -> set[str]:
    """Return the names of the keys that goods are sealed with."""
    return set((await tx.execute(select(_i.key_id).distinct())).scalars())


async def sealed_otherwise(tx: Tx, key_id: str, limit: int) -> list[tuple[str, str]]:
    """Return goods that are sealed with another key than this one."""
    found = select(_i.id, _i.sealed).where(_i.key_id != key_id).order_by(_i.key_id).limit(limit)
    return [(row.id, row.sealed) for row in await tx.execute(found)]


async def reseal(tx: Tx, item_id: str, *, was: str, sealed: str, key_id: str) -> bool:
    """Exchange the seal of a good that still lies there as it was read."""
    same = update(stock_items).where(_i.id == item_id, _i.sealed == was)
    return await changed(tx, same.values(sealed=sealed, key_id=key_id))
