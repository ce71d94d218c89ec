"""How far each rail of a chain was read, and the block hashes it was read on."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete, select

from chains.types import Cursor, Rail
from kernel.store.database import Tx
from kernel.store.dialects import upsert
from scanner.store.tables import blocks, checkpoints


class Checkpoint(NamedTuple):
    """Everything on one rail up to the cursor was read; `time` of its block in unix seconds, when it is known."""

    cursor: Cursor
    time: int | None


async def get(tx: Tx, chain_id: int, rail: Rail) -> Checkpoint | None:
    """Return a rail's checkpoint; None on the first run."""
    statement = select(checkpoints.c.last_scanned_block, checkpoints.c.anchor, checkpoints.c.time)
    row = (
        await tx.execute(statement.where(checkpoints.c.chain_id == chain_id, checkpoints.c.rail == rail))
    ).one_or_none()
    return None if row is None else Checkpoint(Cursor(row[0], row[1]), row[2])


async def of_chain(tx: Tx, chain_id: int) -> dict[str, Checkpoint]:
    """Return the checkpoints of a chain by rail; none of a rail on its first run."""
    statement = select(checkpoints.c.rail, checkpoints.c.last_scanned_block, checkpoints.c.anchor, checkpoints.c.time)
    rows = await tx.execute(statement.where(checkpoints.c.chain_id == chain_id))
    return {row[0]: Checkpoint(Cursor(row[1], row[2]), row[3]) for row in rows}


async def put(
    tx: Tx,
    chain_id: int,
    rail: Rail,
    cursor: Cursor,
    *,
    time: int | None,
    now: int,
    keep_from: int,
) -> None:
    """Move a rail's checkpoint and remember its block hash; hashes below `keep_from` are forgotten but one."""
    row = {"last_scanned_block": cursor.position, "anchor": cursor.block_hash, "time": time, "updated_at": now}
    await tx.execute(
        upsert(checkpoints)
        .values(chain_id=chain_id, rail=rail.value, **row)
        .on_conflict_do_update(index_elements=[checkpoints.c.chain_id, checkpoints.c.rail], set_=row)
    )
    if cursor.block_hash is None:
        return
    await tx.execute(
        upsert(blocks)
        .values(chain_id=chain_id, rail=rail.value, number=cursor.position, hash=cursor.block_hash)
        .on_conflict_do_update(
            index_elements=[blocks.c.chain_id, blocks.c.rail, blocks.c.number], set_={"hash": cursor.block_hash}
        )
    )
    mine = (blocks.c.chain_id == chain_id, blocks.c.rail == rail)
    oldest = (
        select(blocks.c.number)
        .where(*mine, blocks.c.number <= keep_from)
        .order_by(blocks.c.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    await tx.execute(delete(blocks).where(*mine, blocks.c.number < oldest))


async def known_blocks(tx: Tx, chain_id: int, rail: Rail) -> list[Cursor]:
    """Return the remembered hashes of a rail, newest first."""
    rows = await tx.execute(
        select(blocks.c.number, blocks.c.hash)
        .where(blocks.c.chain_id == chain_id, blocks.c.rail == rail)
        .order_by(blocks.c.number.desc())
    )
    return [Cursor(row[0], row[1]) for row in rows]


async def rewind(tx: Tx, chain_id: int, rail: Rail, to: Cursor, *, now: int) -> None:
    """Go back: what lies above `to` on a rail has to be read again. Never forward."""
    held = await get(tx, chain_id, rail)
    if held is not None and held.cursor.position < to.position:
        return
    await tx.execute(
        delete(blocks).where(blocks.c.chain_id == chain_id, blocks.c.rail == rail, blocks.c.number > to.position)
    )
    # What was read up to the higher block says nothing of the time of the lower one.
    await put(tx, chain_id, rail, to, time=None, now=now, keep_from=-1)
