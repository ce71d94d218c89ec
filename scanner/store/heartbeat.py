"""One row that is written to see whether the store can be written."""

from __future__ import annotations

from kernel.store.database import Tx
from kernel.store.dialects import upsert
from scanner.store.tables import heartbeats


async def beat(tx: Tx, now: int) -> None:
    """Write."""
    statement = upsert(heartbeats).values(id=1, at=now)
    await tx.execute(statement.on_conflict_do_update(index_elements=[heartbeats.c.id], set_={"at": now}))
