"""Rows that stand for many transfers of nobody's, and what each transaction brought to them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import orjson
from sqlalchemy import bindparam, delete, insert, select, tuple_, update

from chains.types import Cursor, Rail, Transfer
from kernel.store.bulk import Bulk, BulkInsert
from kernel.store.database import Tx
from kernel.store.dialects import Insert, JsonRows, among, as_json_rows, columns_of, fetch_json_rows, upsert
from scanner.reading.folding import (
    MARK,
    Group,
    StrayKey,
    by_stray_key,
    fold_of,
    group_of,
    grouped,
    kind_of_fold,
    member,
    pack,
    rail_of,
    reason_of,
    unpack,
)
from scanner.store.tables import fold_blocks, transfers

STEP = 500  # blocks looked at in one go
MOST_STEPS = 100  # more blocks than a day has


class Part(NamedTuple):
    """What one transaction brought to a row."""

    fold_id: int
    fold: str
    tx_hash: str
    event_key: str  # of the first
    log_index: int | None
    block_number: int
    block_hash: str | None
    times: int
    members: str | None  # which transfers of the transaction it stands for; None: the first alone
    amount: int

    @property
    def key(self) -> StrayKey:
        return (self.tx_hash, kind_of_fold(self.fold))

    @property
    def place(self) -> Place:
        return (self.block_hash or self.tx_hash, rail_of(self.key[1]))


_as_part = functools.partial(tuple.__new__, Part)  # without a Python frame for each of a page

Place = tuple[str, Rail]  # a block, or a transaction where blocks have no hash
Held = dict[StrayKey, Part]  # everything that some places brought


New = tuple[StrayKey, str, Group]  # what is added of one transaction and kind; in the middle to which row


_PACKED = select(*(fold_blocks.c[name] for name in ("block_number", "block_hash", "parts"))).where(
    fold_blocks.c.chain_id == bindparam("chain")
)
_AT_PLACES = as_json_rows(_PACKED.where(among(fold_blocks.c.place, "places")))
_FOLDS = as_json_rows(select(transfers.c.id, transfers.c.fold).where(among(transfers.c.id, "ids")))


async def parts_of(tx: Tx, chain_id: int, found: Collection[Transfer]) -> Held:
    """Return what was brought before by the blocks of these transfers, or by their transactions."""
    return await parts_at(tx, chain_id, {transfer.block_hash or transfer.tx_hash for transfer in found})


async def parts_at(tx: Tx, chain_id: int, places: Collection[str]) -> Held:
    """Return what was brought before by these blocks, or transactions where blocks have no hash."""
    return await _unpacked(tx, await fetch_json_rows(tx, _AT_PLACES, chain=chain_id, places=places))


async def _unpacked(tx: Tx, packed: Iterable[list[Any]]) -> Held:
    held: Held = {}
    for parts in await _by_block(tx, packed):
        held |= parts
    return held


async def _by_block(tx: Tx, packed: Iterable[list[Any]]) -> list[Held]:
    """Return what each block brought: one transaction may stand in several, of branches none of which is gone yet."""
    blocks = [(number, block_hash, orjson.loads(parts)) for number, block_hash, parts in packed]
    ids = {part[0] for _, _, parts in blocks for part in parts}
    fold_of_id = dict(await fetch_json_rows(tx, _FOLDS, ids=ids)) if ids else {}
    found: list[Held] = []
    for number, block_hash, parts in blocks:
        held: Held = {}
        for fold_id, mark, tx_hash, event_key, log_index, times, members, amount in parts:
            fold = fold_of_id.get(fold_id)
            if fold is not None and mark == _mark(fold):  # else the row was forgotten for its age
                place = (tx_hash, event_key, log_index, number, block_hash)
                part = Part(fold_id, fold, *place, times, members, int(amount))
                held[part.key] = part
        found.append(held)
    return found


_BLOCK_COLUMNS = [column.name for column in fold_blocks.c]


def _put() -> Insert:
    statement = upsert(fold_blocks)
    return statement.on_conflict_do_update(
        index_elements=[fold_blocks.c.chain_id, fold_blocks.c.place, fold_blocks.c.rail],
        set_={"parts": statement.excluded.parts},
    )


_PUT_BLOCKS = BulkInsert(_put(), _BLOCK_COLUMNS)


def _by_place(held: Held, touched: Iterable[Place]) -> dict[Place, list[Part]]:
    """Return everything that these places brought."""
    by_place: dict[Place, list[Part]] = {place: [] for place in touched}
    for part in held.values():
        at_place = by_place.get(part.place)
        if at_place is not None:
            at_place.append(part)
    return by_place


async def _put_blocks(tx: Tx, chain_id: int, by_place: Mapping[Place, Sequence[Part]], now: int) -> None:
    """Write down what these places brought; a place of which nothing is left goes."""
    empty = {place for place, parts in by_place.items() if not parts}
    for rail in Rail:
        gone = [place for place, of_rail in empty if of_rail is rail]
        if gone:
            await tx.execute(_DELETE_BLOCKS, {"chain": chain_id, "rail": rail.value, "places": gone})
    kept = [(place, parts) for place, parts in by_place.items() if parts]
    if kept:
        columns: dict[str, Iterable[Any]] = {
            "chain_id": repeat(chain_id),
            "place": [place for (place, _), _ in kept],
            "rail": [rail.value for (_, rail), _ in kept],
            "block_number": [parts[0].block_number for _, parts in kept],
            "block_hash": [parts[0].block_hash for _, parts in kept],
            "seen_at": repeat(now),
            "parts": [_packed(parts) for _, parts in kept],
        }
        await _PUT_BLOCKS.run(tx, columns)


def _packed(parts: Iterable[Part]) -> str:
    rows = [
        (fold_id, _mark(fold), tx_hash, event_key, log_index, times, members, str(amount))
        for fold_id, fold, tx_hash, event_key, log_index, _, _, times, members, amount in parts
    ]
    return orjson.dumps(rows).decode()


@functools.lru_cache(maxsize=4096)
def _mark(fold: str) -> int:
    """Return what tells a row from another that has its number by now: SQLite gives the highest one away again."""
    return zlib.crc32(fold.encode())


_DELETE_BLOCKS = delete(fold_blocks).where(
    fold_blocks.c.chain_id == bindparam("chain"),
    fold_blocks.c.rail == bindparam("rail"),
    among(fold_blocks.c.place, "places"),
)


def unheld(held: Held, strays: Sequence[Transfer], *, now: int) -> list[New]:
    """Return what a page brought of nobody's and its blocks did not bring before, by transaction and kind."""
    groups = grouped(strays)
    if held.keys().isdisjoint(groups):
        return [(key, fold_of(key[1], group.first, now), group) for key, group in groups.items()]
    new: list[New] = []
    for key, found in by_stray_key(strays).items():
        part = held.get(key)
        if part is None:
            new.append((key, fold_of(key[1], groups[key].first, now), groups[key]))
            continue
        before = unpack(part.members, part.event_key)
        more = group_of(transfer for transfer in found if member(transfer.event_key) not in before)
        if more is not None:
            new.append((key, part.fold, more))  # in another day's row it would be beside the rest of its transaction
    return new


async def record(tx: Tx, chain_id: int, held: Held, new: Collection[New], *, now: int) -> None:
    """
    Add up what a page brought of nobody's, of which nothing is held (`unheld`).

    `held` is what its blocks brought before, and then also what the page added.
    A transaction that is in another block by now stays where it stood as well, until that block is found to have
    left the chain.
    """
    ids = await _add(tx, chain_id, new, now)
    # Most pages bring blocks nobody has read: what is added is then all there is.
    nothing_held = not held
    by_place = _hold(held, new, ids)
    await _put_blocks(tx, chain_id, by_place if nothing_held else _by_place(held, by_place), now)


def _hold(held: Held, new: Iterable[New], ids: Mapping[str, int]) -> dict[Place, list[Part]]:
    """Put what is added into `held`; return it by place."""
    by_place: dict[Place, list[Part]] = {}
    for key, fold, (first, times, amount, keys) in new:
        before = held.get(key)
        if before is None:
            members = None if times == 1 else pack(map(member, keys))
            place = (first.log_index, first.block_number, first.block_hash)
            part = _as_part((ids[fold], fold, first.tx_hash, first.event_key, *place, times, members, amount))
        else:
            members = pack(unpack(before.members, before.event_key).union(map(member, keys)))
            part = before._replace(times=before.times + times, members=members, amount=before.amount + amount)
        held[key] = part
        by_place.setdefault((part.block_hash or part.tx_hash, rail_of(key[1])), []).append(part)
    return by_place


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

    @property
    def first(self) -> tuple[str, str, int | None, int, str | None]:
        """What names it, and where that stands."""
        return (self.tx_hash, self.event_key, self.log_index, self.block_number, self.block_hash)


_HELD = select(*(transfers.c[name] for name in _Row._fields)).where(transfers.c.chain_id == bindparam("chain"))
_BY_FOLD = as_json_rows(
    _HELD.where(
        transfers.c.fold.is_not(None),  # as the index says it
        among(transfers.c.fold, "folds"),
    )
)
_BY_ID = as_json_rows(_HELD.where(among(transfers.c.id, "ids")))
_CHANGING = _Row._fields[2:]


def _changing(names: Sequence[str]) -> Bulk:
    """Return the statement that writes some columns of rows."""
    return Bulk(
        columns_of(transfers, ("id", *names)),
        lambda row: update(transfers).where(transfers.c.id == row["id"]).values({name: row[name] for name in names}),
    )


_CHANGE = _changing(_CHANGING)
# What a row is found by stays, and no index is written.
_GROW = _changing(("times", "amount", "last_tx_hash", "last_block_number"))


def _row(values: list[Any]) -> _Row:
    values[3] = int(values[3])
    return _Row._make(values)


async def _rows(tx: Tx, chain_id: int, folds: Iterable[str]) -> dict[str, _Row]:
    found = map(_row, await fetch_json_rows(tx, _BY_FOLD, chain=chain_id, folds=folds))
    return {row.fold: row for row in found}


async def _add(tx: Tx, chain_id: int, new: Iterable[New], now: int) -> dict[str, int]:
    """Add groups to their rows, of which some are new; return the rows' ids by fold."""
    by_fold: dict[str, list[Group]] = {}
    for _, fold, group in new:
        by_fold.setdefault(fold, []).append(group)
    held = await _rows(tx, chain_id, by_fold)
    await _change(tx, [(row, _with(row, by_fold[fold])) for fold, row in held.items()])
    fresh = {fold: groups for fold, groups in by_fold.items() if fold not in held}
    if fresh:
        await _insert(tx, fresh, now)
        held = await _rows(tx, chain_id, by_fold)
    return {fold: row.id for fold, row in held.items()}


def _with(row: _Row, groups: Sequence[Group]) -> _Row:
    """Add groups to a row, and let it name the first and the newest of them all."""
    first = last = groups[0].first
    times, amount = row.times, row.amount
    for each, group_times, group_amount, _ in groups:
        times += group_times
        amount += group_amount
        if each.block_number >= last.block_number:  # of equals the one that came last
            last = each
        if each.block_number <= first.block_number and _place(each) < _place(first):
            first = each
    if first.block_number <= row.block_number and _place(first) < row.place:
        row = row._replace(
            tx_hash=first.tx_hash,
            event_key=first.event_key + MARK,
            log_index=first.log_index,
            block_number=first.block_number,
            block_hash=first.block_hash,
        )
    if row.last_block_number is not None and last.block_number < row.last_block_number:
        return row._replace(times=times, amount=amount)
    return row._replace(times=times, amount=amount, last_tx_hash=last.tx_hash, last_block_number=last.block_number)


def _place(transfer: Transfer) -> tuple[int, int, str]:
    return (transfer.block_number, transfer.log_index or 0, transfer.event_key)


async def _change(tx: Tx, changes: Iterable[tuple[_Row, _Row]]) -> None:
    """Let rows stand for what they stand for now; most still name the same transfer as their first."""
    renamed: list[_Row] = []
    grown: list[_Row] = []
    for before, after in changes:
        (grown if after.first == before.first else renamed).append(after)
    for rows, statement in ((renamed, _CHANGE), (grown, _GROW)):
        if rows:
            columns: dict[str, Iterable[Any]] = dict(zip(_Row._fields, zip(*rows, strict=True), strict=True))
            await statement.run(tx, columns | {"amount": map(str, columns["amount"])})


_FACTS = ("reason", "counted", "settled", "verified", "seen_at", "times", "last_tx_hash", "last_block_number", "fold")
_INSERT = BulkInsert(insert(transfers), (*Transfer._fields, *_FACTS))


async def _insert(tx: Tx, by_fold: Mapping[str, Sequence[Group]], now: int) -> None:
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


async def claim(tx: Tx, chain_id: int, held: Held, owned: Mapping[StrayKey, Sequence[Transfer]], *, now: int) -> None:
    """
    Take off what turned out to be somebody's, and out of `held`: it is listed with its intent from now on.

    Nothing else goes: strangers may pay in the same transaction, and what is read again may be our part of it alone.
    """
    less: list[tuple[Part, Part | None]] = []
    for key, transfers_of_key in owned.items():
        part = held.get(key)
        if part is None:
            continue
        members = unpack(part.members, part.event_key)
        mine = {member(transfer.event_key): transfer.amount for transfer in transfers_of_key}
        gone = mine.keys() & members
        if gone == members:
            less.append((part, None))
        elif gone:
            left = part._replace(
                times=part.times - len(gone),
                amount=part.amount - sum(mine[each] for each in gone),
                members=pack(members - gone),  # also of a single one: the first, by which the row goes, may be gone
            )
            less.append((part, left))
    await _lessen(tx, chain_id, held, less, now)


async def take_off(tx: Tx, chain_id: int, held: Held, parts: Iterable[Part], *, now: int) -> None:
    """Take off what some transactions brought, and out of `held`; a row of which nothing is left goes."""
    await _lessen(tx, chain_id, held, [(part, None) for part in parts], now)


async def take_off_in(tx: Tx, chain_id: int, rail: Rail, blocks: Collection[Cursor], *, now: int) -> int:
    """Take off what stood in blocks that are not canonical any more; return how many transfers that is."""
    if not blocks:
        return 0
    places = {block.block_hash for block in blocks if block.block_hash}
    taken = 0
    for held in _apart(await _by_block(tx, await fetch_json_rows(tx, _AT_PLACES, chain=chain_id, places=places))):
        parts = [part for part in held.values() if rail_of(part.key[1]) is rail]
        await take_off(tx, chain_id, held, parts, now=now)
        taken += sum(part.times for part in parts)
    return taken


def _apart(blocks: Iterable[Held]) -> list[Held]:
    """Put blocks together as long as no transaction stands in two of them: one of both would be forgotten."""
    together: list[Held] = []
    for block in blocks:
        free = next((held for held in together if held.keys().isdisjoint(block)), None)
        if free is None:
            together.append(dict(block))
        else:
            free |= block
    return together


async def _lessen(tx: Tx, chain_id: int, held: Held, changes: Sequence[tuple[Part, Part | None]], now: int) -> None:
    """Let parts stand for less, or for nothing; a row of which nothing is left goes."""
    if not changes:
        return
    ids = {before.fold_id for before, _ in changes}
    stood = {row.id: row for row in map(_row, await fetch_json_rows(tx, _BY_ID, chain=chain_id, ids=ids))}
    rows = dict(stood)
    gone: dict[int, set[str]] = {}  # transactions, by row
    for before, after in changes:
        row = rows[before.fold_id]
        times, amount = (0, 0) if after is None else (after.times, after.amount)
        rows[row.id] = row._replace(times=row.times - before.times + times, amount=row.amount - before.amount + amount)
        if after is None:
            gone.setdefault(row.id, set()).add(before.tx_hash)
            del held[before.key]
        else:
            held[before.key] = after
    await _put_blocks(tx, chain_id, _by_place(held, {before.place for before, _ in changes}), now)
    await tx.execute(
        delete(transfers).where(among(transfers.c.id, "ids")),
        {"ids": [row.id for row in rows.values() if row.times <= 0]},
    )
    left = [row for row in rows.values() if row.times > 0]
    firsts = [row for row in left if row.tx_hash in gone.get(row.id, ())]
    lasts = [row for row in left if row.last_tx_hash in gone.get(row.id, ())]
    first_of = await _end_of(tx, chain_id, firsts, newest=False)
    last_of = await _end_of(tx, chain_id, lasts, newest=True)
    lost = {row.id for row in lasts} - last_of.keys()
    named = [_named(row, first_of.get(row.id), last_of.get(row.id)) for row in left]
    # Where the newest is too far below to be looked for, the first is at least no transaction that is gone.
    changed = [
        row._replace(last_tx_hash=row.tx_hash, last_block_number=row.block_number) if row.id in lost else row
        for row in named
    ]
    await _change(tx, [(stood[row.id], row) for row in changed])


def _named(row: _Row, first: Part | None, last: Part | None) -> _Row:
    """Let a row name the first and the newest of what is left."""
    if first is not None:
        row = row._replace(
            tx_hash=first.tx_hash,
            event_key=first.event_key + MARK,
            log_index=first.log_index,
            block_number=first.block_number,
            block_hash=first.block_hash,
        )
    if last is not None:
        row = row._replace(last_tx_hash=last.tx_hash, last_block_number=last.block_number)
    return row


_KEYSET = (fold_blocks.c.block_number, fold_blocks.c.place, fold_blocks.c.rail)
_WALKED = select(fold_blocks.c.place, fold_blocks.c.rail, *_PACKED.selected_columns).where(
    fold_blocks.c.chain_id == bindparam("chain")
)
_FROM = tuple_(*(bindparam(column.name, type_=column.type) for column in _KEYSET))


def in_steps(*, upwards: bool, step: int) -> JsonRows:
    """Return the question for the next blocks of a chain, in the order of their numbers or against it."""
    beyond = tuple_(*_KEYSET) > _FROM if upwards else tuple_(*_KEYSET) < _FROM
    order = _KEYSET if upwards else [column.desc() for column in _KEYSET]
    return as_json_rows(_WALKED.where(beyond).order_by(*order).limit(step))


_UPWARDS, _DOWNWARDS = in_steps(upwards=True, step=STEP), in_steps(upwards=False, step=STEP)


async def _end_of(tx: Tx, chain_id: int, rows: Collection[_Row], *, newest: bool) -> dict[int, Part]:
    """
    Return the first or the newest part of each of these rows, as far as it is remembered.

    What was taken off stood at the end: what is the end now is looked for from there on.
    """
    wanted = {row.id: row for row in rows}
    found: dict[int, Part] = {}
    if not wanted:
        return found
    starts = [row.last_block_number or row.block_number if newest else row.block_number for row in rows]
    after = (max(starts) + 1, "", "") if newest else (min(starts), "", "")
    for _ in range(MOST_STEPS):
        steps = _DOWNWARDS if newest else _UPWARDS
        number, place, rail = after
        blocks = await fetch_json_rows(tx, steps, chain=chain_id, block_number=number, place=place, rail=rail)
        for place, rail, number, block_hash, packed in blocks:
            after = (number, place, rail)
            if len(found) == len(wanted) and all(part.block_number != number for part in found.values()):
                return found
            for fold_id, mark, tx_hash, event_key, log_index, times, members, amount in orjson.loads(packed):
                row = wanted.get(fold_id)
                if row is None or mark != _mark(row.fold):
                    continue
                where = (tx_hash, event_key, log_index, number, block_hash)
                part = Part(fold_id, row.fold, *where, times, members, int(amount))
                known = found.get(fold_id)
                if known is None or (known.block_number == number and (_within(part) > _within(known)) is newest):
                    found[fold_id] = part
        if len(blocks) < STEP:
            break
    return found


def _within(part: Part) -> tuple[int, str]:
    """Return where a part stands within its block."""
    return (part.log_index or 0, part.event_key)


_BLOCKS_BETWEEN = select(fold_blocks.c.block_number, fold_blocks.c.block_hash).where(
    fold_blocks.c.chain_id == bindparam("chain"),
    fold_blocks.c.rail == bindparam("rail"),
    fold_blocks.c.block_number > bindparam("above"),
    fold_blocks.c.block_number <= bindparam("last"),
    fold_blocks.c.block_hash.is_not(None),
)


async def blocks_between(tx: Tx, chain_id: int, rail: Rail, above: int, last: int) -> set[Cursor]:
    """Return the blocks above one position, up to another, in which transfers of nobody's stand."""
    asked = {"chain": chain_id, "rail": rail.value, "above": above, "last": last}
    return {Cursor(row.block_number, row.block_hash) for row in await tx.execute(_BLOCKS_BETWEEN, asked)}
