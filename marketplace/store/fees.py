"""What admins set as the fee of single sellers; every setting is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import func, insert, select

from marketplace.model import Page
from marketplace.store.database import Tx
from marketplace.store.rows import many, paged
from marketplace.store.tables import fee_history

_f = fee_history.c


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeChange:
    """One setting; the newest of a seller holds, and `bps` None is back to the platform's."""

    id: int
    seller_id: str
    bps: int | None
    note: str
    set_by: str
    created_at: int
    in_force: bool


async def add(tx: Tx, *, seller_id: str, bps: int | None, note: str, set_by: str, now: int) -> None:
    row = {"seller_id": seller_id, "bps": bps, "note": note, "set_by": set_by, "created_at": now}
    await tx.execute(insert(fee_history).values(**row))


async def newest(tx: Tx, seller_id: str) -> FeeChange | None:
    """Return what was set for a seller last, whether or not it is back to the platform's."""
    mine = select(fee_history, _f.bps.is_not(None).label("in_force")).where(_f.seller_id == seller_id)
    found = await many(tx, mine.order_by(_f.id.desc()).limit(1), FeeChange)
    return found[0] if found else None


async def overrides(tx: Tx, seller_ids: Collection[str]) -> Mapping[str, int]:
    """Return what holds for those of these sellers who have a rate of their own."""
    newest = select(func.max(_f.id)).where(_f.seller_id.in_(list(seller_ids))).group_by(_f.seller_id)
    found = select(_f.seller_id, _f.bps).where(_f.id.in_(newest), _f.bps.is_not(None))
    return {row.seller_id: int(row.bps) for row in await tx.execute(found)}


async def listing(tx: Tx, page: Page, *, seller_id: str | None, in_force: bool | None) -> tuple[list[FeeChange], int]:
    """Return one page of settings, newest first; `in_force`: only those that hold, or only those that do not."""
    later = fee_history.alias("later")
    overtaken = select(later.c.id).where(later.c.seller_id == _f.seller_id, later.c.id > _f.id).exists()
    holds = ~overtaken & _f.bps.is_not(None)
    found = select(fee_history, holds.label("in_force")).order_by(_f.id.desc())
    if seller_id is not None:
        found = found.where(_f.seller_id == seller_id)
    if in_force is not None:
        found = found.where(holds if in_force else ~holds)
    return await paged(tx, found, FeeChange, page)
