"""Who is signed in to the pages: kept here, so that a restart signs nobody out and any process serves any browser."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, or_, select

from marketplace.model import User
from marketplace.store.database import Tx
from marketplace.store.rows import one
from marketplace.store.tables import admin_sessions, users

MAX_SESSIONS = 32  # of one user, who decides how often to sign in
_s = admin_sessions.c


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSession:
    """One browser that is signed in; its token cannot be made of this."""

    token_hash: str
    user_id: str
    created_at: int
    expires_at: int


async def add(tx: Tx, session: AdminSession) -> None:
    """Keep a session; those that are over go, and the user's oldest where there are too many."""
    mine = select(_s.token_hash).where(_s.user_id == session.user_id)
    beyond = mine.order_by(_s.expires_at.desc(), _s.token_hash).offset(MAX_SESSIONS - 1).limit(1_000)
    over = or_(_s.expires_at <= session.created_at, _s.token_hash.in_(beyond))
    await tx.execute(delete(admin_sessions).where(over))
    await tx.execute(insert(admin_sessions).values(**asdict(session)))


async def holder(tx: Tx, token_hash: str, *, now: int) -> User | None:
    """Return whose session it is; None when it is over, or none."""
    held = select(users).join(admin_sessions, _s.user_id == users.c.id)
    valid = (_s.token_hash == token_hash) & (_s.expires_at > now) & users.c.suspended_at.is_(None)
    return await one(tx, held.where(valid), User)


async def close(tx: Tx, token_hash: str) -> None:
    """End a session."""
    await tx.execute(delete(admin_sessions).where(_s.token_hash == token_hash))
