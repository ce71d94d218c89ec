"""Which log of which block paid: one that is proven pays once, whatever its transaction is called."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from marketplace.store.database import Tx
from marketplace.store.tables import proven_transfers

CHUNK = 200

Place = tuple[str, int, int]  # hash of the block, transaction in it, log in its receipt


async def is_taken(tx: Tx, chain_id: int, places: Sequence[Place], payment_id: str) -> bool:
    """Say whether one of these logs paid for something else already."""
    wanted = {tuple(place) for place in places}
    c = proven_transfers.c
    others = select(c.block_hash, c.transaction_index, c.log_position).where(
        c.chain_id == chain_id, c.payment_id != payment_id
    )
    hashes = sorted({block_hash for block_hash, _, _ in places})
    for start in range(0, len(hashes), CHUNK):
        found = (await tx.execute(others.where(c.block_hash.in_(hashes[start : start + CHUNK])))).all()
        if any(tuple(row) in wanted for row in found):
            return True
    return False


async def add(tx: Tx, chain_id: int, places: Sequence[Place], payment_id: str, now: int) -> None:
    """Note which logs paid; the database refuses one that paid before."""
    if places:
        rows = [
            {
                "chain_id": chain_id,
                "block_hash": block_hash,
                "transaction_index": index,
                "log_position": position,
                "payment_id": payment_id,
                "created_at": now,
            }
            for block_hash, index, position in places
        ]
        await tx.execute(proven_transfers.insert(), rows)
