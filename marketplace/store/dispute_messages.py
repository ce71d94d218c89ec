"""Messages about disputes: they are added and never touched again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, insert, select

from marketplace.model import Page
from marketplace.store.database import Tx
from marketplace.store.rows import paged
from marketplace.store.tables import dispute_messages

_m = dispute_messages.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one person wrote."""

    id: int
    dispute_id: str
    by_user_id: str
    text: str
    created_at: int


async def add(tx: Tx, dispute_id: str, user_id: str, text: str, now: int) -> Message:
    row = {"dispute_id": dispute_id, "by_user_id": user_id, "text": text, "created_at": now}
    number = (await tx.execute(insert(dispute_messages).values(**row).returning(_m.id))).scalar_one()
    return Message(id=int(number), dispute_id=dispute_id, by_user_id=user_id, text=text, created_at=now)


async def count(tx: Tx, dispute_id: str, user_id: str) -> int:
    """Return how many messages one person wrote about a dispute."""
    theirs = (_m.dispute_id == dispute_id) & (_m.by_user_id == user_id)
    return int((await tx.execute(select(func.count()).select_from(dispute_messages).where(theirs))).scalar_one())


async def listing(tx: Tx, dispute_id: str, page: Page) -> tuple[list[Message], int]:
    """Return one page of messages, first first."""
    return await paged(tx, select(dispute_messages).where(_m.dispute_id == dispute_id).order_by(_m.id), Message, page)
