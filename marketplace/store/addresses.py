"""Which addresses were handed out: an index once, an address to one live payment."""

from __future__ import annotations

import uuid

from sqlalchemy import insert, select, update

from kernel.store.dialects import upsert
from marketplace.store.database import Tx
from marketplace.store.tables import address_indices, address_reservations

_i = address_indices.c
_r = address_reservations.c


async def take_index(tx: Tx, source: str) -> int:
    """Return the next index of a source; the transaction that holds the write lock is the lock."""
    first = upsert(address_indices).values(source=source, next_index=1)
    taken = first.on_conflict_do_update(index_elements=[_i.source], set_={"next_index": _i.next_index + 1})
    await tx.execute(taken)
    return int((await tx.execute(select(_i.next_index).where(_i.source == source))).scalar_one()) - 1


async def next_index(tx: Tx, source: str) -> int:
    """Return the index that is taken next, and take nothing."""
    found = select(_i.next_index).where(_i.source == source)
    return int((await tx.execute(found)).scalar_one_or_none() or 0)


async def was_used(tx: Tx, destination: str) -> bool:
    """Say whether an address was ever handed out, under whatever index."""
    found = select(_r.id).where(_r.destination_key == destination).limit(1)
    return (await tx.execute(found)).first() is not None


async def reserve(
    tx: Tx, *, chain_id: int, token: str, destination: str, source: str, index: int, payment_id: str, now: int
) -> None:
    """Give an address to a payment; the database refuses what another live payment has."""
    row = {"chain_id": chain_id, "token_key": token, "destination_key": destination, "source": source}
    given = {"id": str(uuid.uuid4()), "source_index": index, "payment_id": payment_id, "created_at": now}
    await tx.execute(insert(address_reservations).values(**row, **given))


async def release(tx: Tx, payment_id: str, now: int) -> None:
    """Note that nobody pays to this address any more; it is not handed out again all the same."""
    mine = (_r.payment_id == payment_id) & _r.released_at.is_(None)
    await tx.execute(update(address_reservations).where(mine).values(released_at=now))
