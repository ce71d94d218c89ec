"""The balance_watches table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, case, func, insert, or_, select, update

from kernel.store.bulk import Bulk
from kernel.store.database import Tx
from kernel.store.dialects import among, as_json_rows, columns_of, fetch_json_rows, without_index
from scanner.model import Watch, WatchStatus
from scanner.store.tables import BaseUnits
from scanner.store.tables import balance_watches as watches

_STORED = [watches.c[name] for name in Watch._fields]
_AMOUNTS = [i for i, column in enumerate(_STORED) if isinstance(column.type, BaseUnits)]
_STATUS = Watch._fields.index("status")
_STATUSES = {status.value: status for status in WatchStatus}


def _watch(values: list[Any]) -> Watch:
    values[_STATUS] = _STATUSES[values[_STATUS]]
    for place in _AMOUNTS:
        values[place] = int(values[place])
    return Watch._make(values)


_BY_ID = as_json_rows(select(*_STORED).where(watches.c.watch_id == bindparam("id")))


async def get(tx: Tx, watch_id: str) -> Watch | None:
    """Return one watch."""
    found = await fetch_json_rows(tx, _BY_ID, id=watch_id)
    return _watch(found[0]) if found else None


async def add(tx: Tx, watch: Watch) -> None:
    """Insert a new watch."""
    await tx.execute(insert(watches).values({column.name: getattr(watch, column.name) for column in watches.columns}))


_DUE = as_json_rows(
    select(*_STORED)
    .where(
        watches.c.chain_id == bindparam("chain"),
        watches.c.status == WatchStatus.WATCHING,
        watches.c.next_check_at <= bindparam("now"),
    )
    .order_by(watches.c.next_check_at, watches.c.watch_id)
    .limit(bindparam("most"))
)


async def due(tx: Tx, chain_id: int, now: int, *, limit: int) -> list[Watch]:
    """Return a chain's watches whose time has come, the longest overdue first."""
    return [_watch(row) for row in await fetch_json_rows(tx, _DUE, chain=chain_id, now=now, most=limit)]


_ACTIVE = as_json_rows(
    select(*_STORED)
    .where(
        watches.c.status == WatchStatus.WATCHING,
        watches.c.next_check_at >= bindparam("when"),
        or_(watches.c.next_check_at > bindparam("when"), watches.c.watch_id > bindparam("id")),
    )
    .order_by(watches.c.next_check_at, watches.c.watch_id)
    .limit(bindparam("most"))
)


async def active(tx: Tx, *, after: tuple[int, str], limit: int) -> list[Watch]:
    """Return watches that are being watched, the next to be checked first, after (when, id) of another."""
    when, watch_id = after
    return [_watch(row) for row in await fetch_json_rows(tx, _ACTIVE, when=when, id=watch_id, most=limit)]


_CHANGING = ("last_checked_at", "next_check_at", "last_position", "status", "updated_at")
_CHECKED = Bulk(
    {"id": watches.c.watch_id} | columns_of(watches, _CHANGING),
    lambda row: (
        update(watches)
        .where(watches.c.watch_id == row["id"], without_index(watches.c.status) == WatchStatus.WATCHING)
        .values({name: row[name] for name in _CHANGING})
    ),
)


async def checked(tx: Tx, rows: Sequence[Watch]) -> None:
    """Write what a check made of watches that are still being watched, all in one go."""
    if not rows:
        return
    columns: dict[str, Iterable[Any]] = {name: [getattr(row, name) for row in rows] for name in _CHANGING}
    columns |= {
        "id": [watch.watch_id for watch in rows],
        "status": [watch.status.value for watch in rows],
    }
    await _CHECKED.run(tx, columns)


_WATCHING = as_json_rows(
    select(watches).where(among(watches.c.watch_id, "ids"), watches.c.status == WatchStatus.WATCHING)
)


async def still_watching(tx: Tx, ids: Collection[str]) -> list[Watch]:
    """Return those of these that are still being watched, as they stand now."""
    return [_watch(row) for row in await fetch_json_rows(tx, _WATCHING, ids=ids)]


async def stop(tx: Tx, watch_id: str, now: int) -> bool:
    """Stop a watch that is being watched, or has expired; say whether anything changed."""
    result = await tx.execute(
        update(watches)
        .where(watches.c.watch_id == watch_id, watches.c.status != WatchStatus.STOPPED)
        .values(status=WatchStatus.STOPPED, updated_at=now)
    )
    return result.rowcount == 1


_COUNTS = as_json_rows(select(watches.c.watch_id, watches.c.change_count).where(among(watches.c.watch_id, "ids")))


async def change_counts(tx: Tx, ids: Collection[str]) -> dict[str, int]:
    """Return how many changes each of these has acknowledged."""
    return dict(await fetch_json_rows(tx, _COUNTS, ids=ids))


_ACKNOWLEDGED = (
    update(watches)
    # A late answer to an older event must not take back what a newer one told.
    .where(watches.c.watch_id == bindparam("id"), watches.c.change_count < bindparam("new_change_count"))
    .values(
        current_balance=bindparam("new_current_balance"),
        change_count=bindparam("new_change_count"),
        last_notified_at=bindparam("at"),
        # A read that was written by a clock that was ahead stays told from one by the right clock: its wait is doubted.
        updated_at=case((watches.c.updated_at > bindparam("at"), watches.c.updated_at), else_=bindparam("at")),
    )
)


async def acknowledge(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Advance watches to what their backends have acknowledged: id, new_current_balance, new_change_count, at."""
    if rows:
        await tx.execute(_ACKNOWLEDGED, list(rows))


async def count_active(tx: Tx) -> dict[int, int]:
    """Return how many watches each chain has."""
    rows = await tx.execute(
        select(watches.c.chain_id, func.count())
        .where(watches.c.status == WatchStatus.WATCHING)
        .group_by(watches.c.chain_id)
    )
    return {row[0]: row[1] for row in rows}
