"""The balance_watches table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scanner.model import Watch, WatchStatus
from scanner.store.tables import balance_watches as watches


def _watch(row: Row[Any]) -> Watch:
    values = row._asdict()
    values["status"] = WatchStatus(values["status"])
    return Watch(**values)


async def get(tx: AsyncConnection, watch_id: str) -> Watch | None:
    """Return one watch."""
    row = (await tx.execute(select(watches).where(watches.c.watch_id == watch_id))).one_or_none()
    return None if row is None else _watch(row)


async def add(tx: AsyncConnection, watch: Watch) -> None:
    """Insert a new watch."""
    await tx.execute(insert(watches).values({column.name: getattr(watch, column.name) for column in watches.columns}))


async def due(tx: AsyncConnection, chain_id: int, now: int, *, limit: int) -> list[Watch]:
    """Return a chain's watches whose time has come, the longest overdue first."""
    rows = await tx.execute(
        select(watches)
        .where(
            watches.c.chain_id == chain_id,
            watches.c.status == WatchStatus.WATCHING,
            watches.c.next_check_at <= now,
        )
        .order_by(watches.c.next_check_at, watches.c.watch_id)
        .limit(limit)
    )
    return [_watch(row) for row in rows]


_CHECKED = (
    update(watches)
    .where(watches.c.watch_id == bindparam("id"), watches.c.status == WatchStatus.WATCHING)
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("current_balance", "last_checked_at", "next_check_at", "last_position", "status", "updated_at")
        }
    )
)


async def checked(tx: AsyncConnection, rows: Sequence[Watch]) -> None:
    """Write what a check made of watches that are still being watched, all in one go."""
    if rows:
        await tx.execute(
            _CHECKED,
            [
                {
                    "id": watch.watch_id,
                    "new_current_balance": watch.current_balance,
                    "new_last_checked_at": watch.last_checked_at,
                    "new_next_check_at": watch.next_check_at,
                    "new_last_position": watch.last_position,
                    "new_status": watch.status,
                    "new_updated_at": watch.updated_at,
                }
                for watch in rows
            ],
        )


async def still_watching(tx: AsyncConnection, ids: Collection[str]) -> set[str]:
    """Return which of these are still being watched."""
    found: set[str] = set()
    every = list(ids)
    for start in range(0, len(every), 10_000):
        statement = select(watches.c.watch_id).where(
            watches.c.watch_id.in_(every[start : start + 10_000]), watches.c.status == WatchStatus.WATCHING
        )
        found.update((await tx.execute(statement)).scalars())
    return found


async def stop(tx: AsyncConnection, watch_id: str, now: int) -> bool:
    """Stop a watch that is being watched; say whether it was."""
    result = await tx.execute(
        update(watches)
        .where(watches.c.watch_id == watch_id, watches.c.status == WatchStatus.WATCHING)
        .values(status=WatchStatus.STOPPED, updated_at=now)
    )
    return result.rowcount == 1


_ACKNOWLEDGED = (
    update(watches)
    # A late answer to an older event must not take back what a newer one told.
    .where(watches.c.watch_id == bindparam("id"), watches.c.change_count < bindparam("new_change_count"))
    .values(
        current_balance=bindparam("new_current_balance"),
        change_count=bindparam("new_change_count"),
        last_notified_at=bindparam("at"),
        updated_at=bindparam("at"),
    )
)


async def acknowledge(tx: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Advance watches to what their backends have acknowledged: id, new_current_balance, new_change_count, at."""
    if rows:
        await tx.execute(_ACKNOWLEDGED, list(rows))


async def count_active(tx: AsyncConnection) -> dict[int, int]:
    """Return how many watches each chain has."""
    rows = await tx.execute(
        select(watches.c.chain_id, func.count())
        .where(watches.c.status == WatchStatus.WATCHING)
        .group_by(watches.c.chain_id)
    )
    return {row[0]: row[1] for row in rows}
