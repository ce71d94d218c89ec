"""What was told lately of things that may happen any number of times, and how often it was not told since."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update

from kernel.store.dialects import upsert
from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import notice_counts

_n = notice_counts.c
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """Something somebody was not told again; `held_back` says how often."""

    about: str
    type: str
    audience: str
    title: str
    url: str | None
    told_at: int
    held_back: int


async def may_tell(tx: Tx, *, about: str, kind: str, user_id: str, title: str, url: str | None, now: int) -> int | None:
    """Return how often it was not told since the last time; None when it is too early, which is counted."""
    same = (_n.about == about) & (_n.type == kind) & (_n.audience == user_id)
    known = (await tx.execute(select(_n.told_at, _n.held_back).where(same).with_for_update())).one_or_none()
    if known is not None and known.told_at > now - HOUR_MS:
        newest = {"held_back": known.held_back + 1, "title": title, "url": url}
        await tx.execute(update(notice_counts).where(same).values(**newest))
        return None
    row = {"about": about, "type": kind, "audience": user_id, "title": title, "url": url}
    fresh = {"told_at": now, "held_back": 0}
    told = upsert(notice_counts).values(**row, **fresh)
    keys = [_n.about, _n.type, _n.audience]
    await tx.execute(told.on_conflict_do_update(index_elements=keys, set_={"title": title, "url": url, **fresh}))
    return 0 if known is None else int(known.held_back)


async def due(tx: Tx, now: int, limit: int) -> list[HeldBack]:
    """Return what was held back for an hour and is told now, oldest first."""
    waiting = (_n.held_back > 0) & (_n.told_at <= now - HOUR_MS)
    found = select(notice_counts).where(waiting).order_by(_n.told_at).limit(limit)
    return await many(tx, found.with_for_update(skip_locked=True), HeldBack)


async def told(tx: Tx, held: HeldBack, now: int) -> None:
    """Note that it was told, with its count."""
    same = (_n.about == held.about) & (_n.type == held.type) & (_n.audience == held.audience)
    await tx.execute(update(notice_counts).where(same).values(told_at=now, held_back=0))
