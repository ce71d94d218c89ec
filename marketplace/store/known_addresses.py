"""From where people signed in, as digests, a few of each."""

from __future__ import annotations

from sqlalchemy import delete, select

from kernel.store.dialects import upsert
from marketplace.store.database import Tx
from marketplace.store.tables import known_addresses

MOST = 20  # of one user
_k = known_addresses.c


async def seen_at(tx: Tx, user_id: str, address_hash: str) -> int | None:
    """Return when somebody signed in from an address last; None when they did not, lately."""
    found = select(_k.seen_at).where(_k.user_id == user_id, _k.address_hash == address_hash)
    return (await tx.execute(found)).scalar_one_or_none()


async def see(tx: Tx, user_id: str, address_hash: str, now: int) -> None:
    """Remember an address; the one unused for longest goes where there are too many."""
    statement = upsert(known_addresses).values(user_id=user_id, address_hash=address_hash, seen_at=now)
    keys = [_k.user_id, _k.address_hash]
    await tx.execute(statement.on_conflict_do_update(index_elements=keys, set_={"seen_at": now}))
    mine = select(_k.address_hash).where(_k.user_id == user_id).order_by(_k.seen_at.desc(), _k.address_hash)
    await tx.execute(
        delete(known_addresses).where(_k.user_id == user_id, _k.address_hash.in_(mine.offset(MOST).limit(1_000)))
    )


async def forget(tx: Tx, user_id: str) -> None:
    """Forget from where somebody signed in: whoever did may not have been them."""
    await tx.execute(delete(known_addresses).where(_k.user_id == user_id))
