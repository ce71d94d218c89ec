"""How far each chain was read, and the block hashes it was read on."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from chains.types import Cursor
from scanner.store.tables import blocks, checkpoints


async def get(tx: AsyncConnection, chain_id: int) -> Cursor | None:
    """Return the chain's checkpoint, everything up to which was read; None on the first run."""
    statement = select(checkpoints.c.last_scanned_block, checkpoints.c.anchor)
    row = (await tx.execute(statement.where(checkpoints.c.chain_id == chain_id))).one_or_none()
    return None if row is None else Cursor(row[0], row[1])


async def put(tx: AsyncConnection, chain_id: int, checkpoint: Cursor, *, now: int, keep_from: int) -> None:
    """Move the checkpoint and remember its block hash; hashes below `keep_from` are forgotten but one."""
    row = {
        "last_scanned_block": checkpoint.position,
        "anchor": checkpoint.anchor,
        "updated_at": now,
    }
    await tx.execute(
        insert(checkpoints)
        .values(chain_id=chain_id, **row)
        .on_conflict_do_update(index_elements=[checkpoints.c.chain_id], set_=row)
    )
    if checkpoint.anchor is None:
        return
    await tx.execute(
        insert(blocks)
        .values(chain_id=chain_id, number=checkpoint.position, hash=checkpoint.anchor)
        .on_conflict_do_update(index_elements=[blocks.c.chain_id, blocks.c.number], set_={"hash": checkpoint.anchor})
    )
    oldest = (
        select(blocks.c.number)
        .where(blocks.c.chain_id == chain_id, blocks.c.number <= keep_from)
        .order_by(blocks.c.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    await tx.execute(delete(blocks).where(blocks.c.chain_id == chain_id, blocks.c.number < oldest))


async def anchors(tx: AsyncConnection, chain_id: int) -> list[Cursor]:
    """Return the remembered hashes, newest first."""
    rows = await tx.execute(
        select(blocks.c.number, blocks.c.hash).where(blocks.c.chain_id == chain_id).order_by(blocks.c.number.desc())
    )
    return [Cursor(row[0], row[1]) for row in rows]


async def rewind(tx: AsyncConnection, chain_id: int, to: Cursor, *, now: int) -> None:
    """Go back: what lies above `to` has to be read again."""
    await tx.execute(delete(blocks).where(blocks.c.chain_id == chain_id, blocks.c.number > to.position))
    await put(tx, chain_id, to, now=now, keep_from=-1)
