"""Who is signed in to the console: kept here, so that a restart signs nobody out and any process serves any browser."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select

from kernel.store.database import Tx
from kernel.store.dialects import as_json_rows, fetch_json_rows
from scanner.store.tables import console_sessions as sessions

MAX_SESSIONS = 1_000  # whoever has a key decides how often to sign in


class StoredSession(NamedTuple):
    """One browser that is signed in; neither its token nor the key can be made of this."""

    token_hash: str
    key_mark: str  # hash of token and key together
    name: str
    expires_at: int  # unix ms


_ADD = insert(sessions)
_OVER = delete(sessions).where(
    or_(
        sessions.c.expires_at <= bindparam("now"),
        sessions.c.token_hash.in_(
            select(sessions.c.token_hash).order_by(sessions.c.expires_at.desc()).offset(MAX_SESSIONS - 1).limit(1_000)
        ),
    )
)
_ONE = as_json_rows(
    select(*(sessions.c[name] for name in StoredSession._fields)).where(
        sessions.c.token_hash == bindparam("hash"), sessions.c.expires_at > bindparam("now")
    )
)
_CLOSE = delete(sessions).where(sessions.c.token_hash == bindparam("hash"))


async def add(tx: Tx, session: StoredSession, *, now: int) -> None:
    """Keep a session; those that are over go, and the oldest where there are too many."""
    await tx.execute(_OVER, {"now": now})
    await tx.execute(_ADD, session._asdict())


async def get(tx: Tx, token_hash: str, *, now: int) -> StoredSession | None:
    """Return a session that is not over."""
    rows = await fetch_json_rows(tx, _ONE, hash=token_hash, now=now)
    return StoredSession(*rows[0]) if rows else None


async def close(tx: Tx, token_hash: str) -> None:
    """End a session."""
    await tx.execute(_CLOSE, {"hash": token_hash})
