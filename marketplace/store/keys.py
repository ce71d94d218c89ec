"""What is sealed in the store: a proof that the key at hand is the right one."""

from __future__ import annotations

from sqlalchemy import select

from kernel.store.dialects import upsert
from marketplace.store.database import Tx
from marketplace.store.tables import key_proof


async def sealed(tx: Tx) -> list[str]:
    """Return every sealed text."""
    return list((await tx.execute(select(key_proof.c.sealed))).scalars())


async def put_proof(tx: Tx, text: str) -> None:
    """Store the proof, in the place of the one before."""
    statement = upsert(key_proof).values(id=1, sealed=text)
    await tx.execute(statement.on_conflict_do_update(index_elements=[key_proof.c.id], set_={"sealed": text}))
