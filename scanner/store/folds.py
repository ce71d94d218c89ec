"""Rows that stand for many transfers of nobody's, and what each transaction brought to them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chains.types import Cursor, Rail, Transfer
from kernel.store.bulk import Bulk, BulkInsert
from kernel.store.dialects import among, as_json_rows, columns_of, fetch_json_rows
from scanner.reading.folding import (
    MARK,
    Group,
    StrayKey,
    fold_of,
    group_of,
    kind_of_fold,
    member,
    pack,
    rail_of,
    reason_of,
    unpack,
)
from scanner.store.tables import fold_parts, transfers


class Part(NamedTuple):
    """What one transaction brought to a row."""

    fold_id: int
    fold: str
    tx_hash: str
    event_key: str
    block_number: int
    block_hash: str | None
    times: int
    members: str | None
    amount: int

    @property
    def key(self) -> StrayKey:
        return (self.tx_hash, kind_of_fold(self.fold))


class New(NamedTuple):
    """What is added of one transaction and kind."""

    fold: str
    group: Group


_PARTS = (
    select(*(transfers.c.fold if name == "fold" else fold_parts.c[name] for name in Part._fields))
    .join(transfers, transfers.c.id == fold_parts.c.fold_id)
    .where(fold_parts.c.chain_id == bindparam("chain"))
)
_OF_TRANSACTIONS = as_json_rows(_PARTS.where(among(fold_parts.c.tx_hash, "hashes")))
_BETWEEN = as_json_rows(
    _PARTS.where(fold_parts.c.block_number > bindparam("above"), fold_parts.c.block_number <= bindparam("last"))
)
_IN_BLOCKS = as_json_rows(
    _PARTS.where(
        fold_parts.c.block_number >= bindparam("first"),
        fold_parts.c.block_number <= bindparam("last"),
        among(fold_parts.c.block_hash, "blocks"),
    )
)


def _part(row: list[Any]) -> Part:
    row[-1] = int(row[-1])
    return Part._make(row)


async def parts_of(tx: AsyncConnection, chain_id: int, hashes: Collection[str]) -> dict[StrayKey, Part]:
    """Return what these transactions brought, by transaction and kind."""
    found = map(_part, await fetch_json_rows(tx, _OF_TRANSACTIONS, chain=chain_id, hashes=hashes))
    return {part.key: part for part in found}


async def record(
    tx: AsyncConnection,
    chain_id: int,
    held: Mapping[StrayKey, Part],
    strays: Mapping[StrayKey, Sequence[Transfer]],
    *,
    now: int,
) -> list[tuple[StrayKey, Group]]:
    """
    Add up what a page brought of nobody's; return what was new. `held` is what its transactions brought before.

    What is known in the same block is not added again. In another block the transaction is new, and what it
    brought where it stood before is taken off.
    """
    known = {key: part for key, part in held.items() if key in strays}
    moved = {key for key, part in known.items() if part.block_hash != strays[key][0].block_hash}
    await take_off(tx, chain_id, [known.pop(key) for key in moved])
    new: dict[StrayKey, New] = {}
    for key, found in strays.items():
        part = known.get(key)
        if part is None:
            group, fold = group_of(found), None
        else:
            before = unpack(part.members, part.event_key)
            group = group_of(transfer for transfer in found if member(transfer.event_key) not in before)
            fold = part.fold  # in another day's row it would be beside the rest of its transaction
        if group is not None:
            new[key] = New(fold or fold_of(key[1], group.first, now), group)
    if new:
        ids = await _add(tx, chain_id, new.values(), now)
        await _put_parts(tx, chain_id, new, known, ids)
    return [(key, added.group) for key, added in new.items() if key not in moved]


_PART_COLUMNS = [column.name for column in fold_parts.c]
_ADD_PARTS = BulkInsert(insert(fold_parts), _PART_COLUMNS)


async def _put_parts(
    tx: AsyncConnection,
    chain_id: int,
    new: Mapping[StrayKey, New],
    known: Mapping[StrayKey, Part],
    ids: Mapping[str, int],
) -> None:
    await _delete_parts(tx, chain_id, [known[key] for key in new if key in known])
    rows = [_stored(ids[added.fold], added.group, known.get(key)) for key, added in new.items()]
    columns: dict[str, Iterable[Any]] = dict(zip(_StoredPart._fields, zip(*rows, strict=True), strict=True))
    await _ADD_PARTS.run(tx, columns | {"chain_id": repeat(chain_id)})


class _StoredPart(NamedTuple):
    """A part as the store holds it."""

    tx_hash: str
    fold_id: int
    event_key: str
    log_index: int | None
    block_number: int
    block_hash: str | None
    times: int
    members: str | None
    amount: str


def _stored(fold_id: int, group: Group, before: Part | None) -> _StoredPart:
    first = group.first
    place = (first.log_index, first.block_number, first.block_hash)
    if before is None:
        members = None if group.times == 1 else pack(group.members)
        return _StoredPart(first.tx_hash, fold_id, first.event_key, *place, group.times, members, str(group.amount))
    members = pack(unpack(before.members, before.event_key) | group.members)
    amount = str(before.amount + group.amount)
    return _StoredPart(first.tx_hash, fold_id, before.event_key, *place, before.times + group.times, members, amount)


class _Row(NamedTuple):
    """A row as it stands."""

    fold: str
    id: int
    times: int
    amount: int
    tx_hash: str
    event_key: str
    log_index: int | None
    block_number: int
    block_hash: str | None
    last_tx_hash: str | None
    last_block_number: int | None

    @property
    def place(self) -> tuple[int, int, str]:
        return (self.block_number, self.log_index or 0, self.event_key.removesuffix(MARK))


_HELD = select(*(transfers.c[name] for name in _Row._fields)).where(transfers.c.chain_id == bindparam("chain"))
_BY_FOLD = as_json_rows(
    _HELD.where(
        transfers.c.fold.is_not(None),  # as the index says it
        among(transfers.c.fold, "folds"),
    )
)
_BY_ID = as_json_rows(_HELD.where(among(transfers.c.id, "ids")))
_CHANGING = _Row._fields[2:]
_CHANGE = Bulk(
    columns_of(transfers, ("id", *_CHANGING)),
    lambda row: update(transfers).where(transfers.c.id == row["id"]).values({name: row[name] for name in _CHANGING}),
)


def _row(values: list[Any]) -> _Row:
    values[3] = int(values[3])
    return _Row._make(values)


async def _rows(tx: AsyncConnection, chain_id: int, folds: Iterable[str]) -> dict[str, _Row]:
    found = map(_row, await fetch_json_rows(tx, _BY_FOLD, chain=chain_id, folds=folds))
    return {row.fold: row for row in found}


async def _add(tx: AsyncConnection, chain_id: int, new: Iterable[New], now: int) -> dict[str, int]:
    """Add groups to their rows, of which some are new; return the rows' ids by fold."""
    by_fold: dict[str, list[Group]] = {}
    for added in new:
        by_fold.setdefault(added.fold, []).append(added.group)
    held = await _rows(tx, chain_id, by_fold)
    await _change(tx, [_with(row, by_fold[fold]) for fold, row in held.items()])
    fresh = {fold: groups for fold, groups in by_fold.items() if fold not in held}
    if fresh:
        await _insert(tx, fresh, now)
        held = await _rows(tx, chain_id, by_fold)
    return {fold: row.id for fold, row in held.items()}


def _with(row: _Row, groups: Sequence[Group]) -> _Row:
    """Add groups to a row, and let it name the first and the newest of them all."""
    firsts = [group.first for group in groups]
    first, last = min(firsts, key=_place), max(reversed(firsts), key=_BLOCK)  # of equals the one that came last
    row = row._replace(
        times=row.times + sum(group.times for group in groups),
        amount=row.amount + sum(group.amount for group in groups),
    )
    if _place(first) < row.place:
        row = row._replace(
            tx_hash=first.tx_hash,
            event_key=first.event_key + MARK,
            log_index=first.log_index,
            block_number=first.block_number,
            block_hash=first.block_hash,
        )
    if row.last_block_number is None or last.block_number >= row.last_block_number:
        row = row._replace(last_tx_hash=last.tx_hash, last_block_number=last.block_number)
    return row


def _place(transfer: Transfer) -> tuple[int, int, str]:
    return (transfer.block_number, transfer.log_index or 0, transfer.event_key)


_BLOCK: Callable[[Transfer], int] = operator.attrgetter("block_number")


async def _change(tx: AsyncConnection, rows: Sequence[_Row]) -> None:
    if rows:
        columns: dict[str, Iterable[Any]] = {name: [getattr(row, name) for row in rows] for name in ("id", *_CHANGING)}
        await _CHANGE.run(tx, columns | {"amount": [str(row.amount) for row in rows]})


_FACTS = ("reason", "counted", "settled", "verified", "seen_at", "times", "last_tx_hash", "last_block_number", "fold")
_INSERT = BulkInsert(insert(transfers), (*Transfer._fields, *_FACTS))


async def _insert(tx: AsyncConnection, by_fold: Mapping[str, Sequence[Group]], now: int) -> None:
    firsts = [groups[0].first for groups in by_fold.values()]
    rows = []
    for (fold, groups), first in zip(by_fold.items(), firsts, strict=True):
        place = (first.tx_hash, first.event_key + MARK, first.log_index, first.block_number, first.block_hash)
        empty = _Row(fold, 0, 0, 0, *place, None, None)
        rows.append(_with(empty, groups))
    columns: dict[str, Iterable[Any]] = dict(zip(Transfer._fields, zip(*firsts, strict=True), strict=True))
    columns |= {name: [getattr(row, name) for row in rows] for name in ("fold", *_CHANGING)}
    columns |= {
        "amount": [str(row.amount) for row in rows],
        "fee_amount": map(str, columns["fee_amount"]),
        "reason": [reason_of(row.fold).value for row in rows],
        "counted": repeat(False),
        "settled": repeat(False),
        "verified": repeat(False),
        "seen_at": repeat(now),
    }
    await _INSERT.run(tx, columns)


async def claim(
    tx: AsyncConnection, chain_id: int, held: dict[StrayKey, Part], owned: Mapping[StrayKey, Sequence[Transfer]]
) -> None:
    """
    Take off what turned out to be somebody's, and out of `held`: it is listed with its intent from now on.

    Nothing else goes: strangers may pay in the same transaction, and what is read again may be our part of it alone.
    """
    whole: list[Part] = []
    left: list[tuple[Part, Part]] = []
    for key, transfers_of_key in owned.items():
        part = held.get(key)
        if part is None:
            continue
        members = unpack(part.members, part.event_key)
        mine = {member(transfer.event_key): transfer.amount for transfer in transfers_of_key}
        gone = mine.keys() & members
        if gone == members:
            whole.append(held.pop(key))
        elif gone:
            held[key] = part._replace(
                times=part.times - len(gone),
                amount=part.amount - sum(mine[each] for each in gone),
                members=pack(members - gone),  # also of a single one: the first, by which the row goes, may be gone
            )
            left.append((part, held[key]))
    await take_off(tx, chain_id, whole)
    await _lessen(tx, chain_id, left)


async def _lessen(tx: AsyncConnection, chain_id: int, changes: Sequence[tuple[Part, Part]]) -> None:
    if not changes:
        return
    ids = {before.fold_id for before, _ in changes}
    rows = {row.id: row for row in map(_row, await fetch_json_rows(tx, _BY_ID, chain=chain_id, ids=ids))}
    for before, after in changes:
        row = rows[before.fold_id]
        rows[row.id] = row._replace(
            times=row.times - before.times + after.times, amount=row.amount - before.amount + after.amount
        )
        await tx.execute(
            update(fold_parts)
            .where(
                fold_parts.c.chain_id == chain_id,
                fold_parts.c.tx_hash == before.tx_hash,
                fold_parts.c.fold_id == before.fold_id,
            )
            .values(times=after.times, members=after.members, amount=after.amount)
        )
    await _change(tx, list(rows.values()))


async def take_off_in(tx: AsyncConnection, chain_id: int, rail: Rail, blocks: Collection[Cursor]) -> int:
    """Take off what stood in blocks that are not canonical any more; return how many transfers that is."""
    if not blocks:
        return 0
    hashes = [block.block_hash or "" for block in blocks]
    numbers = {"first": min(block.position for block in blocks), "last": max(block.position for block in blocks)}
    rows = await fetch_json_rows(tx, _IN_BLOCKS, chain=chain_id, blocks=hashes, **numbers)
    parts = [part for part in map(_part, rows) if rail_of(part.key[1]) is rail]
    await take_off(tx, chain_id, parts)
    return sum(part.times for part in parts)


async def blocks_between(tx: AsyncConnection, chain_id: int, rail: Rail, above: int, last: int) -> set[Cursor]:
    """Return the blocks above one position, up to another, in which transfers of nobody's stand."""
    parts = map(_part, await fetch_json_rows(tx, _BETWEEN, chain=chain_id, above=above, last=last))
    return {Cursor(p.block_number, p.block_hash) for p in parts if p.block_hash and rail_of(p.key[1]) is rail}


async def take_off(tx: AsyncConnection, chain_id: int, parts: Collection[Part]) -> None:
    """Take off what some transactions brought; a row of which nothing is left goes."""
    if not parts:
        return
    ids = {part.fold_id for part in parts}
    rows = {row.id: row for row in map(_row, await fetch_json_rows(tx, _BY_ID, chain=chain_id, ids=ids))}
    gone = {part.tx_hash for part in parts}
    for part in parts:
        row = rows[part.fold_id]
        rows[part.fold_id] = row._replace(times=row.times - part.times, amount=row.amount - part.amount)
    await _delete_parts(tx, chain_id, parts)
    await tx.execute(
        delete(transfers).where(among(transfers.c.id, "ids")),
        {"ids": [row.id for row in rows.values() if row.times <= 0]},
    )
    left = [row for row in rows.values() if row.times > 0]
    await _change(tx, left)
    for row in left:
        if {row.tx_hash, row.last_tx_hash} & gone:
            await _name_ends(tx, row.id)


async def _delete_parts(tx: AsyncConnection, chain_id: int, parts: Collection[Part]) -> None:
    by_row: dict[int, list[str]] = {}
    for part in parts:
        by_row.setdefault(part.fold_id, []).append(part.tx_hash)
    for fold_id, hashes in by_row.items():
        await tx.execute(
            delete(fold_parts).where(
                fold_parts.c.chain_id == chain_id,
                among(fold_parts.c.tx_hash, "hashes"),
                fold_parts.c.fold_id == fold_id,
            ),
            {"hashes": hashes},
        )


async def _name_ends(tx: AsyncConnection, row_id: int) -> None:
    """Let a row name the first and the newest of what is left."""
    mine = select(fold_parts).where(fold_parts.c.fold_id == row_id).limit(1)
    order = (fold_parts.c.block_number, fold_parts.c.log_index, fold_parts.c.event_key)
    first = (await tx.execute(mine.order_by(*order))).one_or_none()
    last = (await tx.execute(mine.order_by(*(column.desc() for column in order)))).one_or_none()
    if first is None or last is None:  # of what is long past it is not remembered any more
        return
    await tx.execute(
        update(transfers)
        .where(transfers.c.id == row_id)
        .values(
            tx_hash=first.tx_hash,
            event_key=first.event_key + MARK,
            log_index=first.log_index,
            block_number=first.block_number,
            block_hash=first.block_hash,
            last_tx_hash=last.tx_hash,
            last_block_number=last.block_number,
        )
    )
