"""What became of accounts: written beside each change, and never changed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select

from marketplace.model import AccountEvent, Page
from marketplace.store.database import Tx
from marketplace.store.rows import paged
from marketplace.store.tables import account_events

_e = account_events.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that became of an account; `by_user_id` None: nobody was signed in."""

    id: int
    user_id: str | None
    by_user_id: str | None
    kind: AccountEvent
    detail: str | None
    created_at: int


async def add(
    tx: Tx, kind: AccountEvent, *, about: str | None, by: str | None, now: int, detail: str | None = None
) -> None:
    """Write down what becomes of an account, by whom."""
    row = {"user_id": about, "by_user_id": by, "kind": kind, "detail": detail, "created_at": now}
    await tx.execute(insert(account_events).values(**row))


async def has(tx: Tx, user_id: str, kind: AccountEvent) -> bool:
    """Say whether this ever became of an account."""
    found = select(_e.id).where(_e.user_id == user_id, _e.kind == kind).limit(1)
    return (await tx.execute(found)).first() is not None


async def of_user(tx: Tx, user_id: str, page: Page) -> tuple[list[Event], int]:
    """Return one page of what became of an account, newest first."""
    about = select(account_events).where(_e.user_id == user_id).order_by(_e.id.desc())
    return await paged(tx, about, Event, page)
