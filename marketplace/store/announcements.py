"""What is to be told to everybody of one role: written with what it tells of, handed out part by part."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from marketplace.model import Role
from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import announcements, users

_a = announcements.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What is told; everybody up to `told_upto`, a user's id, has been told."""

    seq: int
    audience: Role
    category: str
    type: str
    title: str
    related_id: str
    action_url: str | None
    told_upto: str
    created_at: int


async def add(
    tx: Tx, audience: Role, category: str, kind: str, title: str, *, about: str, url: str | None, now: int
) -> None:
    """Write down what everybody of a role is to be told."""
    row = {"audience": audience, "category": category, "type": kind, "title": title, "related_id": about}
    await tx.execute(insert(announcements).values(**row, action_url=url, told_upto="", created_at=now))


async def oldest(tx: Tx) -> Announcement | None:
    """Return what is told next."""
    found = await many(tx, select(announcements).order_by(_a.seq).limit(1), Announcement)
    return found[0] if found else None


async def audience(tx: Tx, told: Announcement, limit: int) -> list[str]:
    """Return the ids of those who are told next."""
    more = select(users.c.id).where(users.c.role == told.audience, users.c.id > told.told_upto)
    return list((await tx.execute(more.order_by(users.c.id).limit(limit))).scalars())


async def told_upto(tx: Tx, seq: int, user_id: str) -> None:
    """Note up to whom it was told."""
    await tx.execute(update(announcements).where(_a.seq == seq).values(told_upto=user_id))


async def end(tx: Tx, seq: int) -> None:
    """Forget what everybody was told."""
    await tx.execute(delete(announcements).where(_a.seq == seq))
