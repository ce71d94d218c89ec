"""The unread_logs table: what may be a payment below a rail's checkpoint, and could not be read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import delete, func, select

from chains.types import Rail, UnreadableLog
from kernel.store.database import Tx
from kernel.store.dialects import among, as_json_rows, fetch_json_rows, upsert
from scanner.store.tables import unread_logs

_MOST_WHY = 300  # characters
_NOT_KNOWN = ""  # a part of a key is never null


class Remembered(NamedTuple):
    """A log that could not be read when it was passed."""

    log: UnreadableLog
    since: int  # unix ms


async def put(tx: Tx, chain_id: int, rail: Rail, logs: Sequence[UnreadableLog], now: int) -> None:
    """Remember logs; what is known already keeps its time."""
    for log in logs:
        row = {"position": log.position, "tx_hash": log.tx_hash or _NOT_KNOWN, "why": log.why[:_MOST_WHY]}
        await tx.execute(
            upsert(unread_logs)
            .values(chain_id=chain_id, rail=rail.value, since=now, **row)
            .on_conflict_do_update(
                index_elements=list(unread_logs.primary_key.columns), set_={"why": log.why[:_MOST_WHY]}
            )
        )


async def count(tx: Tx, chain_id: int, rail: Rail) -> int:
    """Return how many are remembered of a rail."""
    statement = select(func.count()).where(unread_logs.c.chain_id == chain_id, unread_logs.c.rail == rail)
    return int((await tx.execute(statement)).scalar_one())


async def of_chain(tx: Tx, chain_id: int) -> dict[str, list[Remembered]]:
    """Return what is remembered of a chain by rail, the longest first."""
    columns = unread_logs.c
    rows = await tx.execute(
        select(columns.rail, columns.position, columns.tx_hash, columns.why, columns.since)
        .where(columns.chain_id == chain_id)
        .order_by(columns.since, columns.position, columns.tx_hash)
    )
    found: dict[str, list[Remembered]] = {}
    for rail, position, tx_hash, why, since in rows:
        found.setdefault(rail, []).append(Remembered(UnreadableLog(position, tx_hash or None, why), since))
    return found


_IN_PART = as_json_rows(
    select(unread_logs.c.chain_id, unread_logs.c.tx_hash).where(among(unread_logs.c.tx_hash, "hashes"))
)


async def in_part(tx: Tx, hashes: Collection[str]) -> set[tuple[int, str]]:
    """Return of which of these transactions something is remembered that could not be read, with their chains."""
    if not hashes:
        return set()
    return {(chain_id, tx_hash) for chain_id, tx_hash in await fetch_json_rows(tx, _IN_PART, hashes=hashes)}


async def forget(tx: Tx, chain_id: int, rail: Rail, log: UnreadableLog) -> None:
    """Forget one that was read."""
    columns = unread_logs.c
    key = (columns.position == log.position, columns.tx_hash == (log.tx_hash or _NOT_KNOWN))
    await tx.execute(delete(unread_logs).where(columns.chain_id == chain_id, columns.rail == rail, *key))
