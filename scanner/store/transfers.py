"""The transfers table: everything that touched us, what it settled, or why it settled nothing."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from sqlalchemy import Boolean, ColumnElement, Text, bindparam, delete, func, or_, select, update

from chains.types import Cursor, Rail, Transfer
from kernel.store.bulk import Bulk, BulkInsert
from kernel.store.database import Tx
from kernel.store.ddl import Whole
from kernel.store.dialects import (
    Insert,
    JsonRows,
    Spelt,
    among,
    as_json_rows,
    columns_of,
    each_of,
    fetch_json_rows,
    upsert,
)
from kernel.store.horizon import EVERYTHING
from scanner.model import WORTHLESS, Reason, StoredTransfer
from scanner.reading import folding
from scanner.reading.folding import Grown, Judged, Place, unpack
from scanner.store.tables import BaseUnits, intents, lost_condition, transfers, unseen_condition

ROWS_A_STEP = 1_000  # decoded without letting others run
NEVER_HAPPENED = (Reason.REORGED, Reason.REVERTED, Reason.NO_TRANSFER_LOG)

_STORED = [transfers.c[name] for name in StoredTransfer._fields]
_AMOUNTS = [i for i, column in enumerate(_STORED) if isinstance(column.type, BaseUnits)]
_TRUTHS = [i for i, column in enumerate(_STORED) if isinstance(column.type, Boolean)]
_REASON = StoredTransfer._fields.index("reason")
_REASONS: dict[str | None, Reason | None] = {None: None} | {reason.value: reason for reason in Reason}


def _transfer(values: list[Any]) -> StoredTransfer:
    values[_REASON] = _REASONS[values[_REASON]]
    for place in _AMOUNTS:
        values[place] = None if values[place] is None else int(values[place])
    for place in _TRUTHS:
        values[place] = bool(values[place])
    return StoredTransfer._make(values)


def _add() -> Insert:
    statement = upsert(transfers)
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
        known.times,
        known.members,
    )
    return statement.on_conflict_do_update(
        index_elements=[known.chain_id, known.tx_hash, known.event_key],
        set_={column.name: new[column.name] for column in seen},
        where=or_(known.block_hash.is_distinct_from(new.block_hash), known.reason == Reason.REORGED),
    )


_MADE = ("intent_id", "reason", "counted", "settled", "verified", "surplus", "seen_at")
_SEVERAL = ("times", "members")
_ADD = BulkInsert(_add(), (*Transfer._fields, *_MADE, *_SEVERAL))


async def add_many(tx: Tx, judged: Sequence[Judged], *, now: int) -> None:
    """
    Store what a page found, each transfer with whom it concerns and why it does not count.

    One transfer is one row however often it is seen. A row that is known keeps what was made of it, except
    that a transfer seen again in another block, or after it had been reorged away, is judged anew.
    """
    if not judged:
        return
    found, owners, reasons, times, members = zip(*judged, strict=True)
    columns: dict[str, Iterable[Any]] = dict(zip(Transfer._fields, zip(*found, strict=True), strict=True))
    columns |= {
        "amount": map(str, columns["amount"]),  # as the store holds it
        "fee_amount": map(str, columns["fee_amount"]),
        "intent_id": owners,
        "reason": [None if reason is None else reason.value for reason in reasons],
        "counted": [reason is None for reason in reasons],
        "settled": repeat(False),
        "verified": repeat(False),
        "surplus": repeat(None),
        "seen_at": repeat(now),
        "times": times,
        "members": members,
    }
    await _ADD.run(tx, columns)


_GROWN = ("times", "amount", "members")
_GROW = Bulk(
    columns_of(transfers, ("id", *_GROWN)),
    lambda row: update(transfers).where(transfers.c.id == row["id"]).values({name: row[name] for name in _GROWN}),
)


async def grow_many(tx: Tx, rows: Collection[Grown]) -> None:
    """Let rows stand for more transfers of their transaction than before."""
    if not rows:
        return
    await _GROW.run(
        tx,
        {
            "id": [row.id for row in rows],
            "times": [row.times for row in rows],
            "amount": [str(row.amount) for row in rows],
            "members": [row.members for row in rows],
        },
    )
    for row in rows:
        if row.first is not None:
            await _lead(tx, row.id, row.first)


async def _lead(tx: Tx, row_id: int, first: Transfer) -> None:
    """Let a row name another transfer as its first; as one of its own it was taken back, or there is no such row."""
    await tx.execute(
        delete(transfers).where(
            transfers.c.chain_id == first.chain_id,
            transfers.c.tx_hash == first.tx_hash,
            transfers.c.event_key == first.event_key,
            transfers.c.id != row_id,
            transfers.c.reason == Reason.REORGED,
            transfers.c.settled.is_(False),
        )
    )
    names = ("event_key", "log_index", "token", "sender", "destination")
    await tx.execute(
        update(transfers).where(transfers.c.id == row_id).values({name: getattr(first, name) for name in names})
    )


async def take_over(tx: Tx, folded: folding.Folded, known: Known) -> None:
    """
    Let what is back stand in the row it had.

    Of several transfers the first names the row, and nodes that number alike ones in another order, or show some of
    them later, name another one: under a second name the row that left the chain would be listed beside what is back.
    """
    for each in folded.rows:
        transfer = each.transfer
        names = unpack(each.members, transfer.event_key)
        mine = known.gone_of(transfer.tx_hash, each.intent_id, names)
        # One that stands for more than is back has that name as well, and two rows must not.
        named = (transfer.tx_hash, transfer.event_key) in known.keys
        former = [row.id for row in mine if row.event_key != transfer.event_key]
        if former and not named:
            place = former.pop(0)
            await tx.execute(update(transfers).where(transfers.c.id == place).values(event_key=transfer.event_key))
        await _forget(tx, former)
    for (tx_hash, intent_id, _), grown in folded.grown.items():
        names = unpack(grown.members, "")
        await _forget(tx, [row.id for row in known.gone_of(tx_hash, intent_id, names)])


async def _forget(tx: Tx, ids: Collection[int]) -> None:
    if ids:
        await tx.execute(delete(transfers).where(among(transfers.c.id, "ids")), {"ids": ids})


Said = tuple[str, str, int]  # token, destination, amount


class Known(NamedTuple):
    """What was stored of transactions before they were seen (again)."""

    keys: set[tuple[str, str]]
    same: set[tuple[str, str]]  # those that stand where they stood: nothing about them is new
    moved: set[str]  # intents some of whose transfers stood in another block
    worthless: dict[Place, folding.Known]  # what stands where it stood and can never count
    orphans: list[int]  # what stood in another block
    settled: dict[tuple[str, str], str]  # those that settled an intent, and which
    numbered: dict[tuple[str, str], Said]  # those an earlier version stored under a number a node gave
    # What is not where it stood, by transaction, intent and one of what each row stands for.
    gone: dict[tuple[str, str | None, str], list[folding.Known]]

    def gone_of(self, tx_hash: str, intent_id: str | None, names: frozenset[str]) -> list[folding.Known]:
        """
        Return the rows that are not where they stood, and stand for some of these transfers and no other.

        A stranger chooses how many are gone and how many are back: each is looked up, and not compared with all.
        """
        rows = [row for name in names for row in self.gone.get((tx_hash, intent_id, name), ()) if row.set <= names]
        return sorted(rows, key=lambda row: row.id)

    def renamed(self, transfer: Transfer) -> Transfer:
        """
        Return a transfer under the key it is stored by.

        Earlier versions knew a transfer by its number: read again after an upgrade it would be a second payment.
        """
        key = str(transfer.log_index)
        said = (transfer.token, transfer.destination, transfer.amount)
        return transfer._replace(event_key=key) if self.numbered.get((transfer.tx_hash, key)) == said else transfer


_STANDING = as_json_rows(
    select(
        transfers.c.id,
        transfers.c.tx_hash,
        transfers.c.event_key,
        transfers.c.block_hash,
        transfers.c.intent_id,
        transfers.c.reason,
        transfers.c.settled,
        transfers.c.reference.is_not(None),
        transfers.c.log_index,
        transfers.c.times,
        transfers.c.amount,
        transfers.c.members,
        transfers.c.token,
        transfers.c.destination,
    ).where(
        transfers.c.chain_id == bindparam("chain"),
        among(transfers.c.tx_hash, "hashes"),
        transfers.c.fold.is_(None),
    )
)


async def reconcile(tx: Tx, chain_id: int, seen: Sequence[Transfer]) -> Known:
    """
    Look up what is stored of these transactions, and mark what stands in another block as reorged.

    A transaction is in one block of the canonical chain: what we knew of it elsewhere is an orphan. That
    holds within a rail: the other one is read at another moment, and may be on another branch.
    """
    known = Known(set(), set(), set(), {}, [], {}, {}, {})
    stored = await fetch_json_rows(tx, _STANDING, chain=chain_id, hashes={transfer.tx_hash for transfer in seen})
    if not stored:
        return known
    where = {(transfer.tx_hash, transfer.reference is not None): transfer.block_hash for transfer in seen}
    for place, tx_hash, event_key, block_hash, intent_id, reason, settled, proxied, *rest in stored:
        known.keys.add((tx_hash, event_key))
        if settled:
            known.settled[tx_hash, event_key] = intent_id
        log_index, times, amount, members, token, destination = rest
        if event_key == str(log_index):
            known.numbered[tx_hash, event_key] = (token, destination, int(amount))
        rail = (tx_hash, bool(proxied))
        standing = folding.Known(place, event_key, log_index, times, int(amount), members, token)
        if rail in where and not settled and (reason == Reason.REORGED or block_hash != where[rail]):
            known.gone.setdefault((tx_hash, intent_id, min(standing.set)), []).append(standing)
        if reason == Reason.REORGED or rail not in where:
            continue
        # Several rows of one intent, reason and transaction are of a version that did not add them up: they stay.
        first = (tx_hash, intent_id, reason) not in known.worthless
        if block_hash == where[rail] and intent_id is not None and reason in WORTHLESS and first:
            known.worthless[tx_hash, intent_id, reason] = standing
        elif block_hash == where[rail]:
            known.same.add((tx_hash, event_key))
        else:
            known.orphans.append(place)
            known.moved.update([intent_id] if intent_id else [])
    await _orphan(tx, known.orphans)
    return known


_PROXIED = as_json_rows(
    select(
        transfers.c.tx_hash, transfers.c.token, transfers.c.destination, transfers.c.amount, transfers.c.times
    ).where(
        transfers.c.chain_id == bindparam("chain"),
        among(transfers.c.tx_hash, "hashes"),
        transfers.c.reference.is_not(None),
        transfers.c.fold.is_(None),
        transfers.c.reason.is_distinct_from(Reason.REORGED),
    )
)


async def proxied(tx: Tx, chain_id: int, hashes: Collection[str]) -> dict[folding.StrayKey, list[folding.Paid]]:
    """Return what intents were paid through the proxy in these transactions, as plain transfers are keyed."""
    paid: dict[folding.StrayKey, list[folding.Paid]] = {}
    for tx_hash, token, destination, amount, times in await fetch_json_rows(
        tx, _PROXIED, chain=chain_id, hashes=hashes
    ):
        kind = f"{Reason.UNKNOWN_REFERENCE}/{token}/{destination}/{Rail.DIRECT}"
        paid.setdefault((tx_hash, kind), []).append(folding.Paid(int(amount), times))
    return paid


_PLACES = as_json_rows(
    select(transfers.c.tx_hash, transfers.c.block_hash).where(
        transfers.c.chain_id == bindparam("chain"),
        among(transfers.c.tx_hash, "hashes"),
        transfers.c.fold.is_(None),
        transfers.c.reason.is_distinct_from(Reason.REORGED),
    )
)


async def places(tx: Tx, chain_id: int, hashes: Collection[str]) -> set[tuple[str, str | None]]:
    """Return in which blocks transfers of these transactions are stored."""
    return {(row[0], row[1]) for row in await fetch_json_rows(tx, _PLACES, chain=chain_id, hashes=hashes)}


def _of_rail(rail: Rail) -> ColumnElement[bool]:
    """Return the condition of the transfers a rail reads: those of the proxy carry a reference."""
    return transfers.c.reference.is_not(None) if rail is Rail.PROXY else transfers.c.reference.is_(None)


async def stands(tx: Tx, chain_id: int, rail: Rail, tx_hash: str | None) -> bool:
    """Say whether a rail found anything of a transaction that, for all that is known, happened."""
    happened = transfers.c.reason.is_(None) | transfers.c.reason.not_in(NEVER_HAPPENED)
    mine = (transfers.c.chain_id == chain_id, transfers.c.tx_hash == tx_hash, _of_rail(rail))
    return (await tx.execute(select(transfers.c.id).where(*mine, happened).limit(1))).first() is not None


async def blocks_between(tx: Tx, chain_id: int, rail: Rail, above: int, last: int) -> set[Cursor]:
    """Return the blocks above one position, up to another, in which transfers of a rail stand."""
    rows = await tx.execute(
        select(transfers.c.block_number, transfers.c.block_hash)
        .where(
            transfers.c.chain_id == chain_id,
            transfers.c.block_number > above,
            transfers.c.block_number <= last,
            transfers.c.block_hash.is_not(None),
            transfers.c.fold.is_(None),
            transfers.c.reason.is_distinct_from(Reason.REORGED),
            _of_rail(rail),
        )
        .distinct()
    )
    return {Cursor(row[0], row[1]) for row in rows}


async def orphan_in(tx: Tx, chain_id: int, rail: Rail, blocks: Collection[Cursor]) -> list[int]:
    """Mark what a rail found in blocks that are not canonical any more as reorged; return which rows."""
    if not blocks:
        return []
    rows = await tx.execute(
        select(transfers.c.id).where(
            transfers.c.chain_id == chain_id,
            transfers.c.block_number >= min(block.position for block in blocks),
            transfers.c.block_number <= max(block.position for block in blocks),
            among(transfers.c.block_hash, "blocks"),
            transfers.c.fold.is_(None),
            transfers.c.reason.is_distinct_from(Reason.REORGED),
            _of_rail(rail),
        ),
        {"blocks": [block.block_hash or "" for block in blocks]},
    )
    ids = [row[0] for row in rows]
    await _orphan(tx, ids)
    return ids


async def doubt_above(tx: Tx, chain_id: int, rail: Rail, position: int) -> int:
    """Have everything of a rail above a position looked at again; return how many rows."""
    result = await tx.execute(
        update(transfers)
        .where(transfers.c.chain_id == chain_id, transfers.c.block_number > position, _of_rail(rail))
        .values(verified=False)
    )
    return result.rowcount


async def lost(tx: Tx, chain_id: int, limit: int) -> list[tuple[str, str]]:
    """Return (intent, transaction) of confirmed payments that left the chain and are not back."""
    rows = await tx.execute(
        select(transfers.c.intent_id, transfers.c.tx_hash)
        .where(transfers.c.chain_id == chain_id, Spelt(lost_condition))
        .order_by(transfers.c.id.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


async def own_anew(tx: Tx, transfer_id: int, intent_id: str | None, reason: Reason | None) -> None:
    """Give a transfer that settled nothing to the intent it really belongs to."""
    await tx.execute(
        update(transfers)
        .where(transfers.c.id == transfer_id)
        .values(intent_id=intent_id, reason=reason, counted=reason is None, surplus=None, verified=True)
    )


async def _orphan(tx: Tx, ids: Sequence[int]) -> None:
    if ids:
        await tx.execute(
            update(transfers)
            .where(among(transfers.c.id, "ids"))
            .values(reason=Reason.REORGED, counted=False, verified=False, surplus=None),
            {"ids": ids},
        )


_OF_INTENTS = as_json_rows(
    # Spelt out for the partial index: it holds only rows with an intent.
    select(*_STORED).where(transfers.c.intent_id.is_not(None), among(transfers.c.intent_id, "ids"))
)


async def of_intents(tx: Tx, ids: Collection[str]) -> dict[str, list[StoredTransfer]]:
    """Return every transfer of the given intents, in chain order."""
    found: dict[str, list[StoredTransfer]] = {intent_id: [] for intent_id in ids}
    for place, row in enumerate(await fetch_json_rows(tx, _OF_INTENTS, ids=ids)):
        if place % ROWS_A_STEP == ROWS_A_STEP - 1:
            await asyncio.sleep(0)  # a stranger may have sent one intent ten thousand dust transfers
        stored = _transfer(row)
        found[stored.intent_id or ""].append(stored)
    for rows in found.values():
        rows.sort(key=lambda stored: stored.order)
    return found


_JUDGED = as_json_rows(
    select(*_STORED).where(
        transfers.c.intent_id.is_not(None),  # as the index says it
        among(transfers.c.intent_id, "ids"),
        transfers.c.reason == bindparam("reason"),
    )
)


async def judged(tx: Tx, ids: Collection[str], reason: Reason) -> list[StoredTransfer]:
    """Return the transfers of the given intents that do not count for one reason."""
    rows = await fetch_json_rows(tx, _JUDGED, ids=ids, reason=reason.value)
    return [_transfer(row) for row in rows]


_ASKED = each_of("ids").table_valued("value", name="asked")
_HAVING = as_json_rows(
    select(_ASKED.c.value).where(
        select(transfers.c.id)
        .where(
            transfers.c.intent_id.is_not(None),  # as the index says it
            transfers.c.intent_id == _ASKED.c.value,
            transfers.c.reason == bindparam("reason"),
        )
        .exists()
    )
)


async def having(tx: Tx, ids: Collection[str], reason: Reason) -> set[str]:
    """Return which of the given intents have a transfer that does not count for one reason, however many there are."""
    return {row[0] for row in await fetch_json_rows(tx, _HAVING, ids=ids, reason=reason.value)}


_PAGE = as_json_rows(
    select(*_STORED)
    .where(
        transfers.c.intent_id.is_not(None),  # as the index says it
        transfers.c.intent_id == bindparam("intent"),
        transfers.c.id > bindparam("after"),
    )
    .order_by(transfers.c.id)
    .limit(bindparam("limit"))
)
_NEWEST = as_json_rows(
    select(*_STORED)
    .where(
        transfers.c.intent_id.is_not(None),
        transfers.c.intent_id == bindparam("intent"),
        or_(bindparam("hash", type_=Text).is_(None), transfers.c.tx_hash == bindparam("hash", type_=Text)),
    )
    .order_by(transfers.c.block_number.desc(), transfers.c.log_index.desc(), transfers.c.id.desc())
    .limit(bindparam("limit"))
)


async def page(tx: Tx, intent_id: str, *, after: int, limit: int) -> list[StoredTransfer]:
    """Return transfers of an intent, whatever came of them, in the order they were seen."""
    return [_transfer(row) for row in await fetch_json_rows(tx, _PAGE, intent=intent_id, after=after, limit=limit)]


async def newest(tx: Tx, intent_id: str, *, limit: int, tx_hash: str | None = None) -> list[StoredTransfer]:
    """Return the newest transfers of an intent, or of one transaction of it, in chain order."""
    rows = await fetch_json_rows(tx, _NEWEST, intent=intent_id, hash=tx_hash, limit=limit)
    return sorted(map(_transfer, rows), key=lambda stored: stored.order)


async def count_of(tx: Tx, intent_id: str) -> int:
    """Return how many transfers an intent has."""
    total = select(func.coalesce(func.sum(transfers.c.times), 0)).where(
        transfers.c.intent_id.is_not(None), transfers.c.intent_id == intent_id
    )
    return int((await tx.execute(total)).scalar_one())


_LIKE = as_json_rows(
    select(
        transfers.c.intent_id,
        transfers.c.reason,
        func.sum(transfers.c.times).label("times"),
        func.max(transfers.c.id).label("newest"),
    )
    .where(
        transfers.c.intent_id.is_not(None),
        among(transfers.c.intent_id, "ids"),
        transfers.c.reason.is_not(None),
        transfers.c.settled.is_(False),
    )
    .group_by(transfers.c.intent_id, transfers.c.reason)
)


async def alike(tx: Tx, ids: Collection[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return how many transfers of intents settle nothing, by intent and reason, and the id of the newest."""
    rows = await fetch_json_rows(tx, _LIKE, ids=ids)
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


_BY_ID = as_json_rows(select(*_STORED).where(among(transfers.c.id, "ids")))


async def by_ids(tx: Tx, ids: Collection[int]) -> dict[int, StoredTransfer]:
    """Return the rows that exist among these."""
    found = map(_transfer, await fetch_json_rows(tx, _BY_ID, ids=ids))
    return {stored.id: stored for stored in found}


_UNSEEN = as_json_rows(
    select(transfers.c.intent_id)
    .join(intents, intents.c.intent_id == transfers.c.intent_id)
    .where(
        transfers.c.chain_id == bindparam("chain"),
        transfers.c.intent_id.is_not(None),
        Spelt(unseen_condition),
        transfers.c.block_number <= bindparam("final"),
        transfers.c.block_number <= bindparam("tip", type_=Whole) + 1 - intents.c.confirmations_required,
    )
)


async def unseen(tx: Tx, chain_id: int, *, tip: int, final: int) -> set[str]:
    """Return the intents with transfers that stand, deep enough, and that nobody has looked at again yet."""
    return {row[0] for row in await fetch_json_rows(tx, _UNSEEN, chain=chain_id, tip=tip, final=final)}


async def set_verdict(tx: Tx, transfer_id: int, **values: Any) -> None:
    """Store what a second look or an allocation made of one transfer."""
    await tx.execute(update(transfers).where(transfers.c.id == transfer_id).values(**values))


_VERIFY = Bulk(
    columns_of(transfers, ("id", "sender", "block_time")),
    lambda row: (
        update(transfers)
        .where(transfers.c.id == row["id"])
        .values(verified=True, sender=row["sender"], block_time=row["block_time"])
    ),
)


async def verify_many(tx: Tx, seen: Sequence[tuple[int, str | None, int | None]]) -> None:
    """Store that transfers were looked at again, as (id, sender, block_time), all in one go."""
    if seen:
        rows, senders, times = zip(*seen, strict=True)
        await _VERIFY.run(tx, {"id": rows, "sender": senders, "block_time": times})


_ALLOT = Bulk(
    columns_of(transfers, ("id", "counted", "reason", "surplus")),
    lambda row: (
        update(transfers)
        .where(transfers.c.id == row["id"])
        .values(counted=row["counted"], reason=row["reason"], surplus=row["surplus"])
    ),
)


async def allot_many(tx: Tx, shares: Sequence[tuple[int, bool, Reason | None, int | None]]) -> None:
    """Store (id, counted, reason, surplus) of transfers, all in one go."""
    if not shares:
        return
    rows, counted, reasons, surplus = zip(*shares, strict=True)
    columns = {
        "id": rows,
        "counted": counted,
        "reason": [None if reason is None else reason.value for reason in reasons],
        "surplus": [None if over is None else str(over) for over in surplus],
    }
    await _ALLOT.run(tx, columns)


async def mark_settled(tx: Tx, ids: Sequence[int]) -> None:
    """Remember which transfers settled their intent."""
    await tx.execute(update(transfers).where(among(transfers.c.id, "ids")).values(settled=True), {"ids": ids})


LISTED = 20  # rows of one intent and reason that are listed one by one; those beyond are listed as one
MERGED_AT_ONCE = 2_000

_other = transfers.alias("other")
_FIRST_MERGED = (
    select(_other.c.id)
    .where(
        _other.c.intent_id.is_not(None),  # as the index says it
        _other.c.intent_id == transfers.c.intent_id,
        _other.c.reason == transfers.c.reason,
    )
    .order_by(_other.c.id)
    .offset(LISTED)
    .limit(1)
    .scalar_subquery()
)


@functools.cache
def _unmatched(given: frozenset[str]) -> JsonRows:
    # A stranger decides how many rows one intent has: what is beyond some is skipped in the engine.
    statement = (
        select(*_STORED, _FIRST_MERGED.label("first_merged"))
        .where(
            transfers.c.reason.is_not(None),
            transfers.c.id > bindparam("after"),
            or_(transfers.c.intent_id.is_(None), transfers.c.id <= func.coalesce(_FIRST_MERGED, transfers.c.id)),
        )
        .order_by(transfers.c.id)
        .limit(bindparam("limit"))
    )
    if "last" in given:
        statement = statement.where(bindparam("last") >= transfers.c.id)
    if "chain" in given:
        statement = statement.where(transfers.c.chain_id == bindparam("chain"))
    if "reason" in given:
        statement = statement.where(transfers.c.reason == bindparam("reason"))
    return as_json_rows(statement)


async def unmatched(
    tx: Tx, *, chain_id: int | None, reason: Reason | None, after: int, limit: int, last: int = EVERYTHING
) -> list[StoredTransfer]:
    """
    Return transfers, or parts of them, that settled nothing, in the order they were seen.

    `last` is the number up to which all rows are there.
    Beyond `LISTED` rows of one intent and reason the rest is one row, in the place of the first of them.
    """
    wanted = {
        "chain": chain_id,
        "reason": None if reason is None else reason.value,
        "last": None if last == EVERYTHING else last,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    rows = await fetch_json_rows(tx, _unmatched(frozenset(given)), **given, after=after, limit=limit)
    found = []
    for *values, first_merged in rows:
        stored = _transfer(values)
        found.append(await _merged(tx, stored) if stored.id == first_merged else stored)
    return found


_BEYOND = as_json_rows(
    select(*_STORED)
    .where(
        transfers.c.intent_id.is_not(None),  # as the index says it
        transfers.c.intent_id == bindparam("intent"),
        transfers.c.reason == bindparam("reason"),
        transfers.c.id > bindparam("after"),
    )
    .order_by(transfers.c.id)
    .limit(MERGED_AT_ONCE)
)


async def _merged(tx: Tx, first: StoredTransfer) -> StoredTransfer:
    """
    Add to a row all later ones of its intent and reason; what did not settle of each is what is added up.

    They may be of any number of tokens. Its amount is of its own token alone: a sum of two would say nothing.
    """
    merged, after = first, first.id
    while rows := await fetch_json_rows(tx, _BEYOND, intent=first.intent_id, reason=first.reason, after=after):
        for stored in map(_transfer, rows):
            merged = merged._replace(
                times=merged.times + stored.times,
                amount=merged.amount + (stored.amount if stored.token == first.token else 0),
                surplus=None if merged.surplus is None else merged.surplus + (stored.surplus or 0),
                last_tx_hash=stored.last_tx_hash or stored.tx_hash,
                last_block_number=stored.last_block_number or stored.block_number,
            )
            after = stored.id
    return merged
