"""The transfers table: everything that touched us, what it settled, or why it settled nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, or_, select, update
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from chains.types import Transfer
from scanner.model import Reason, StoredTransfer
from scanner.store.lists import is_one_of
from scanner.store.tables import transfers


def _transfer(row: Row[Any]) -> StoredTransfer:
    values = row._asdict()
    values["reason"] = None if values["reason"] is None else Reason(values["reason"])
    return StoredTransfer(**values)


SLICE = 1_000  # rows bound in one go: binding holds the event loop


def _add() -> Insert:
    statement = insert(transfers)
    new = statement.excluded
    known = transfers.c
    seen = (
        known.block_number,
        known.block_hash,
        known.block_time,
        known.log_index,
        known.token,
        known.destination,
        known.amount,
        known.fee_amount,
        known.fee_address,
        known.reference,
        known.intent_id,
        known.reason,
        known.counted,
        known.verified,
    )
    return statement.on_conflict_do_update(
        index_elements=[known.chain_id, known.tx_hash, known.event_key],
        set_={column.name: new[column.name] for column in seen},
        where=or_(known.block_hash.is_distinct_from(new.block_hash), known.reason == Reason.REORGED),
    )


# The hottest statement there is, a row a log of the page: compiled once, and bound as plain tuples.
_ROW = (*Transfer._fields, "intent_id", "reason", "counted", "settled", "verified", "surplus", "seen_at")
_ADD = _add().compile(dialect=sqlite_dialect(), column_keys=list(_ROW))
_PLACES = [name for name in _ADD.positiontup or () if name in _ROW]
_CONSTANTS = tuple(_ADD.params[name] for name in (_ADD.positiontup or ())[len(_PLACES) :])
_in_order = itemgetter(*(_ROW.index(name) for name in _PLACES))

NewRow = tuple[Any, ...]


async def add_many(tx: AsyncConnection, rows: Sequence[NewRow]) -> None:
    """
    Store what a page found (rows of `row_of`); one transfer is one row however often it is seen.

    A row that is known keeps what was made of it, except that a transfer seen again in another block,
    or after it had been reorged away, is judged anew.
    """
    for start in range(0, len(rows), SLICE):
        await tx.exec_driver_sql(str(_ADD), list(rows[start : start + SLICE]))


def row_of(transfer: Transfer, *, intent_id: str | None, reason: Reason | None, now: int) -> NewRow:
    """Return the row that stores a transfer as judged, as the store holds it: amounts are text."""
    (*facts, amount, sender, reference, fee_amount, fee_address) = transfer
    judged = (intent_id, None if reason is None else reason.value, reason is None, False, False, None, now)
    row = (*facts, str(amount), sender, reference, str(fee_amount), fee_address, *judged)
    return (*_in_order(row), *_CONSTANTS)


class Known(NamedTuple):
    """What was stored of transactions before they were seen (again)."""

    keys: set[tuple[str, str]]
    same: set[tuple[str, str]]  # those that stand where they stood: nothing about them is new
    moved: set[str]  # intents some of whose transfers stood in another block


async def reconcile(tx: AsyncConnection, chain_id: int, seen: Sequence[Transfer]) -> Known:
    """
    Look up what is stored of these transactions, and mark what stands in another block as reorged.

    A transaction is in one block of the canonical chain: what we knew of it elsewhere is an orphan.
    """
    where = {transfer.tx_hash: transfer.block_hash for transfer in seen}
    known = Known(set(), set(), set())
    columns = (
        transfers.c.id,
        transfers.c.tx_hash,
        transfers.c.event_key,
        transfers.c.block_hash,
        transfers.c.intent_id,
    )
    rows = await tx.execute(
        select(*columns, transfers.c.reason).where(
            transfers.c.chain_id == chain_id, is_one_of(transfers.c.tx_hash, where)
        )
    )
    orphans = []
    for row in rows:
        known.keys.add((row.tx_hash, row.event_key))
        if row.reason == Reason.REORGED:
            continue
        if row.block_hash == where[row.tx_hash]:
            known.same.add((row.tx_hash, row.event_key))
        else:
            orphans.append(row.id)
            known.moved.update([row.intent_id] if row.intent_id else [])
    await _orphan(tx, orphans)
    return known


async def orphan_above(tx: AsyncConnection, chain_id: int, position: int) -> tuple[set[str], int]:
    """Mark everything above a position as reorged; return the intents concerned and how many rows."""
    rows = (
        await tx.execute(
            select(transfers.c.id, transfers.c.intent_id).where(
                transfers.c.chain_id == chain_id,
                transfers.c.block_number > position,
                transfers.c.reason.is_distinct_from(Reason.REORGED),
            )
        )
    ).all()
    await _orphan(tx, [row.id for row in rows])
    return {row.intent_id for row in rows if row.intent_id}, len(rows)


async def _orphan(tx: AsyncConnection, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), 5000):
        await tx.execute(
            update(transfers)
            .where(transfers.c.id.in_(ids[start : start + 5000]))
            .values(reason=Reason.REORGED, counted=False, verified=False, surplus=None)
        )


async def of_intents(tx: AsyncConnection, ids: Collection[str]) -> dict[str, list[StoredTransfer]]:
    """Return every transfer of the given intents, in chain order."""
    found: dict[str, list[StoredTransfer]] = {intent_id: [] for intent_id in ids}
    # Spelt out for the partial index: it holds only rows with an intent.
    statement = select(transfers).where(transfers.c.intent_id.is_not(None), is_one_of(transfers.c.intent_id, ids))
    for row in await tx.execute(statement):
        stored = _transfer(row)
        found[stored.intent_id or ""].append(stored)
    for rows in found.values():
        rows.sort(key=lambda stored: stored.order)
    return found


async def unverified(tx: AsyncConnection, chain_id: int) -> list[StoredTransfer]:
    """Return counted transfers of intents that nobody has looked at again yet."""
    statement = select(transfers).where(
        transfers.c.chain_id == chain_id,
        transfers.c.intent_id.is_not(None),
        transfers.c.counted.is_(True),
        transfers.c.verified.is_(False),
        transfers.c.settled.is_(False),
    )
    return [_transfer(row) for row in await tx.execute(statement)]


async def set_verdict(tx: AsyncConnection, transfer_id: int, **values: Any) -> None:
    """Store what a second look or an allocation made of one transfer."""
    await tx.execute(update(transfers).where(transfers.c.id == transfer_id).values(**values))


_ALLOT = (
    update(transfers)
    .where(transfers.c.id == bindparam("row"))
    .values(counted=bindparam("new_counted"), reason=bindparam("new_reason"), surplus=bindparam("new_surplus"))
)


async def allot_many(tx: AsyncConnection, shares: Sequence[tuple[int, bool, Reason | None, int | None]]) -> None:
    """Store (id, counted, reason, surplus) of transfers, all in one go."""
    if shares:
        names = ("row", "new_counted", "new_reason", "new_surplus")
        await tx.execute(_ALLOT, [dict(zip(names, share, strict=True)) for share in shares])


async def mark_settled(tx: AsyncConnection, ids: Sequence[int]) -> None:
    """Remember which transfers settled their intent."""
    await tx.execute(update(transfers).where(transfers.c.id.in_(ids)).values(settled=True))


async def unmatched(
    tx: AsyncConnection, *, chain_id: int | None, reason: Reason | None, after: int, limit: int
) -> list[StoredTransfer]:
    """Return transfers, or parts of them, that settled nothing, in the order they were seen."""
    statement = (
        select(transfers)
        .where(transfers.c.reason.is_not(None), transfers.c.id > after)
        .order_by(transfers.c.id)
        .limit(limit)
    )
    if chain_id is not None:
        statement = statement.where(transfers.c.chain_id == chain_id)
    if reason is not None:
        statement = statement.where(transfers.c.reason == reason)
    return [_transfer(row) for row in await tx.execute(statement)]
