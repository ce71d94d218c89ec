"""How many confirmations an admin asks for; every setting is kept."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select

from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import threshold_history

_t = threshold_history.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """One setting; the newest of a chain holds."""

    id: int
    chain_id: int
    confirmations: int
    set_by: str
    created_at: int


async def set_(tx: Tx, chain_id: int, confirmations: int, user_id: str, now: int) -> None:
    row = {"chain_id": chain_id, "confirmations": confirmations, "set_by": user_id, "created_at": now}
    await tx.execute(insert(threshold_history).values(**row))


async def current(tx: Tx, chain_id: int) -> int | None:
    """Return what holds for a chain; None when nobody set anything."""
    newest = select(_t.confirmations).where(_t.chain_id == chain_id).order_by(_t.id.desc()).limit(1)
    return (await tx.execute(newest)).scalar_one_or_none()


async def history(tx: Tx) -> list[Threshold]:
    """Return every setting, newest first."""
    return await many(tx, select(threshold_history).order_by(_t.id.desc()), Threshold)
