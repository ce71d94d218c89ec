"""Notifications: written with what they tell of, read by the one they are for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import func, insert, select, update

from marketplace.model import Notification, Page
from marketplace.store.database import Tx
from marketplace.store.rows import many, paged
from marketplace.store.tables import notifications

_n = notifications.c


async def add(tx: Tx, rows: Sequence[dict[str, object]]) -> list[Notification]:
    """Write notifications and return them with the order they were given, oldest first."""
    if not rows:
        return []
    added = (await tx.execute(insert(notifications).returning(_n.id, _n.seq), list(rows))).all()
    order: dict[object, int] = {row.id: row.seq for row in added}
    fresh = [Notification(seq=order[row["id"]], read_at=None, **row) for row in rows]  # type: ignore[arg-type]  # its columns
    return sorted(fresh, key=lambda note: note.seq)


async def page_of(tx: Tx, user_id: str, page: Page) -> tuple[list[Notification], int]:
    """Return one page of a user's notifications, newest first."""
    mine = select(notifications).where(_n.user_id == user_id).order_by(_n.seq.desc())
    return await paged(tx, mine, Notification, page)


async def after(tx: Tx, user_ids: Collection[str], seq: int, upto: int, limit: int = 100) -> list[Notification]:
    """Return what came to users since `seq`, oldest first, no further than `upto`."""
    theirs = select(notifications).where(_n.user_id.in_(user_ids), _n.seq > seq, _n.seq <= upto)
    return await many(tx, theirs.order_by(_n.seq).limit(limit), Notification)


async def latest_seq(tx: Tx, user_id: str) -> int:
    newest = select(func.coalesce(func.max(_n.seq), 0)).where(_n.user_id == user_id)
    return int((await tx.execute(newest)).scalar_one())


async def unread(tx: Tx, user_id: str) -> int:
    counted = select(func.count()).select_from(notifications).where(_n.user_id == user_id, _n.read_at.is_(None))
    return int((await tx.execute(counted)).scalar_one())


async def mark_all_read(tx: Tx, user_id: str, now: int) -> int:
    """Mark everything a user was told so far as read; return how many that was."""
    unread_ones = update(notifications).where(_n.user_id == user_id, _n.read_at.is_(None)).values(read_at=now)
    return int((await tx.execute(unread_ones)).rowcount)


async def mark_read(tx: Tx, user_id: str, note_id: str, now: int) -> Notification | None:
    """Mark one as read and return it; None when the user has no such notification."""
    mine = (_n.id == note_id) & (_n.user_id == user_id)
    await tx.execute(update(notifications).where(mine, _n.read_at.is_(None)).values(read_at=now))
    found = await many(tx, select(notifications).where(mine), Notification)
    return found[0] if found else None
