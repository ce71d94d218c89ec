"""The intents table."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from chains.types import Rail
from kernel.store.bulk import Bulk, BulkInsert
from kernel.store.database import Tx
from kernel.store.ddl import Whole
from kernel.store.dialects import (
    among,
    as_json_rows,
    columns_of,
    each_of,
    fetch_in_parts,
    fetch_json_rows,
    greatest,
    least,
    without_index,
)
from scanner.model import LIVE, EventType, Intent, IntentStatus
from scanner.store.tables import NEW, BaseUnits, intent_counts, intents

# A page of logs may load thousands: columns are asked for in the order of the fields of `Intent`.
COLUMNS = [intents.c[name] for name in Intent._fields]
_NAMES = list(Intent._fields)
_RAIL, _STATUS, _EVENTS = (_NAMES.index(name) for name in ("rail", "status", "events"))
_AMOUNTS = [i for i, column in enumerate(COLUMNS) if isinstance(column.type, BaseUnits)]
_RAILS = {rail.value: rail for rail in Rail}
_STATUSES = {status.value: status for status in IntentStatus}


def as_intent(values: list[Any]) -> Intent:
    """Return an intent of its row's columns."""
    values[_RAIL] = _RAILS[values[_RAIL]]
    values[_STATUS] = _STATUSES[values[_STATUS]]
    values[_EVENTS] = _events(values[_EVENTS])
    for place in _AMOUNTS:
        values[place] = int(values[place])
    return Intent._make(values)


@functools.lru_cache(maxsize=256)
def _events(text: str) -> tuple[EventType, ...]:
    return tuple(EventType(name) for name in json.loads(text))


async def _all(tx: Tx, statement: Select[Any]) -> list[Intent]:
    return [as_intent(row) for row in await fetch_json_rows(tx, as_json_rows(statement))]


_ONE = as_json_rows(select(*COLUMNS).where(intents.c.intent_id == bindparam("id")))
_BY_ID = as_json_rows(select(*COLUMNS).where(among(intents.c.intent_id, "ids")))


async def get(tx: Tx, intent_id: str) -> Intent | None:
    """Return one intent."""
    found = await fetch_json_rows(tx, _ONE, id=intent_id)
    return as_intent(found[0]) if found else None


_BY_PAY_TOKEN = as_json_rows(select(*COLUMNS).where(intents.c.pay_token == bindparam("token")))


async def by_pay_token(tx: Tx, token: str) -> Intent | None:
    """Return the intent a payment page is for."""
    found = await fetch_json_rows(tx, _BY_PAY_TOKEN, token=token)
    return as_intent(found[0]) if found else None


async def get_many(tx: Tx, ids: Collection[str]) -> dict[str, Intent]:
    """Return the intents that exist among `ids`."""
    found = map(as_intent, await fetch_json_rows(tx, _BY_ID, ids=ids))
    return {intent.intent_id: intent for intent in found}


ADD = BulkInsert(insert(intents), _NAMES)


def stored_columns(new: Sequence[Intent]) -> dict[str, Iterable[Any]]:
    """Return intents, of which there is one, as `ADD` takes them."""
    columns: dict[str, Iterable[Any]] = dict(zip(Intent._fields, zip(*new, strict=True), strict=True))
    columns |= {_NAMES[place]: map(str, columns[_NAMES[place]]) for place in _AMOUNTS}
    columns |= {name: map(str, columns[name]) for name in ("rail", "status")}  # plain text, not an enum
    columns["events"] = map(json.dumps, columns["events"])
    return columns


async def add_many(tx: Tx, new: Sequence[Intent]) -> None:
    """Insert new intents."""
    if new:
        await ADD.run(tx, stored_columns(new))


_TAKEN = as_json_rows(select(intents.c.chain_id, intents.c.topic_ref).where(among(intents.c.topic_ref, "refs")))


async def taken_references(tx: Tx, pairs: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Return which (chain, topic_ref) are in use already."""
    rows = await fetch_json_rows(tx, _TAKEN, refs={ref for _, ref in pairs})
    return {(row[0], row[1]) for row in rows} & set(pairs)


# A page carries thousands, most of them nobody's: they are walked through, where `among` would sort them first.
_REFERENCE = each_of("refs").table_valued("value", name="asked")
_BY_REFERENCE = as_json_rows(
    select(*COLUMNS)
    .select_from(_REFERENCE.join(intents, intents.c.topic_ref == _REFERENCE.c.value))
    .where(without_index(intents.c.chain_id) == bindparam("chain"))
)


async def by_references(tx: Tx, chain_id: int, refs: Collection[str]) -> dict[str, Intent]:
    """Return a chain's intents by topic_ref: one indexed look-up for a whole page of logs."""
    found = map(as_intent, await fetch_json_rows(tx, _BY_REFERENCE, chain=chain_id, refs=refs))
    return {intent.topic_ref: intent for intent in found}


_BEGINS: ColumnElement[int] = least(intents.c.created_at, intents.c.chain_created_at)  # as `Intent.begins_at`


def _awaited(ended_after: int | ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition of intents that may still be paid, or paid too late: live, or ended not long ago."""
    ended = func.coalesce(intents.c.confirmed_at, intents.c.expired_at)
    return or_(intents.c.status.in_(list(LIVE)), ended > ended_after)


async def oldest(tx: Tx, chain_id: int, ended_after: int) -> int | None:
    """Return when the first of a chain's intents was created that live or ended not long ago; None without any."""
    found = await tx.execute(select(func.min(_BEGINS)).where(intents.c.chain_id == chain_id, _awaited(ended_after)))
    created: int | None = found.scalar_one()
    return created


_DIRECT_DESTINATIONS = as_json_rows(
    select(intents.c.destination_key)
    .where(
        intents.c.chain_id == bindparam("chain"),
        intents.c.rail == text("'direct'"),  # as the index says it
        _awaited(bindparam("ended_after", type_=Whole)),
    )
    .distinct()
)


async def direct_destinations(tx: Tx, chain_id: int, ended_after: int) -> frozenset[str]:
    """Return where direct payments may still arrive: of live intents, and of those that ended not long ago."""
    found: set[str] = set()
    async for rows in fetch_in_parts(tx, _DIRECT_DESTINATIONS, chain=chain_id, ended_after=ended_after):
        found.update(row[0] for row in rows)
    return frozenset(found)


class Awaited(NamedTuple):
    """Where an intent is to be paid, and in what."""

    rail: Rail
    destination: str
    token: str


_AWAITED = (intents.c.rail, intents.c.destination_key, intents.c.token_key)
_AWAITED_NOW = as_json_rows(
    select(*_AWAITED, intents.c.status.in_(list(LIVE))).where(
        intents.c.chain_id == bindparam("chain"), _awaited(bindparam("ended_after", type_=Whole))
    )
)
_REGISTERED_SINCE = as_json_rows(
    select(*_AWAITED).where(
        intents.c.number > bindparam("number"), without_index(intents.c.chain_id) == bindparam("chain")
    )
)


async def newest_number(tx: Tx) -> int:
    """Return the number of the intent registered last, 0 before the first; one before it may not be there yet."""
    found: int | None = (await tx.execute(select(func.max(intents.c.number)))).scalar_one()
    return found or 0


async def awaited(tx: Tx, chain_id: int, ended_after: int) -> AsyncIterator[list[tuple[Awaited, bool]]]:
    """Return, in parts, what live intents wait for and those that ended not long ago; and whether one is live."""
    async for rows in fetch_in_parts(tx, _AWAITED_NOW, chain=chain_id, ended_after=ended_after):
        yield [(Awaited(_RAILS[rail], destination, token), bool(live)) for rail, destination, token, live in rows]


async def registered_since(tx: Tx, chain_id: int, number: int) -> list[Awaited]:
    """Return what intents wait for that were registered after one, by its number."""
    rows = await fetch_json_rows(tx, _REGISTERED_SINCE, chain=chain_id, number=number)
    return [Awaited(_RAILS[rail], destination, token) for rail, destination, token in rows]


_BY_DESTINATION = as_json_rows(
    select(*COLUMNS)
    .where(
        intents.c.chain_id == bindparam("chain"),
        intents.c.rail == text("'direct'"),
        among(intents.c.destination_key, "keys"),
    )
    # Not by creation: an intent registered by a host clock that was behind, while the chain's time was unknown, looked
    # older than the one before it at its address, which took its payment (docs/rules.md, "An address used again").
    .order_by(intents.c.number.desc())
)


async def by_destinations(tx: Tx, chain_id: int, keys: Collection[str]) -> dict[str, list[Intent]]:
    """Return a chain's direct intents by destination, the one registered last first."""
    found: dict[str, list[Intent]] = {}
    for intent in map(as_intent, await fetch_json_rows(tx, _BY_DESTINATION, chain=chain_id, keys=keys)):
        found.setdefault(intent.destination_key, []).append(intent)
    return found


_RESERVED = as_json_rows(
    select(intents.c.chain_id, intents.c.token_key, intents.c.destination_key, intents.c.intent_id).where(
        intents.c.rail == text("'direct'"),
        intents.c.status.in_([*LIVE]),
        intents.c.expired_at.is_(None),  # as the index says it
        among(intents.c.destination_key, "keys"),
    )
)


async def reserved(tx: Tx, wanted: Collection[tuple[int, str, str]]) -> dict[tuple[int, str, str], str]:
    """Return which (chain, token, destination) a live direct intent holds, and which intent."""
    rows = await fetch_json_rows(tx, _RESERVED, keys={destination for _, _, destination in wanted})
    found = {(row[0], row[1], row[2]): row[3] for row in rows}
    return {key: holder for key, holder in found.items() if key in wanted}


_DEEP = as_json_rows(
    select(intents.c.intent_id).where(
        intents.c.chain_id == bindparam("chain"),
        intents.c.status == IntentStatus.CONFIRMING,
        intents.c.block_number <= bindparam("final"),
        intents.c.block_number <= bindparam("tip", type_=Whole) + 1 - intents.c.confirmations_required,
    )
)


async def deep(tx: Tx, chain_id: int, *, tip: int, final: int) -> set[str]:
    """Return which intents wait for nothing but a second look: their last payment is deep enough."""
    return {row[0] for row in await fetch_json_rows(tx, _DEEP, chain=chain_id, tip=tip, final=final)}


async def change(tx: Tx, intent_id: str, expected: Collection[IntentStatus], now: int, **values: Any) -> bool:
    """Change an intent if it stands in one of the expected statuses; say whether it did."""
    result = await tx.execute(
        update(intents)
        .where(intents.c.intent_id == intent_id, intents.c.status.in_(list(expected)))
        .values(updated_at=now, **values)
    )
    return result.rowcount == 1


_FOLLOWING = (
    "status",
    "amount_received",
    "tx_hash",
    "log_index",
    "block_number",
    "block_hash",
    "sender",
)
_FOLLOW = Bulk(
    {"id": intents.c.intent_id, "before": intents.c.status} | columns_of(intents, (*_FOLLOWING, "updated_at")),
    lambda row: (
        update(intents)
        .where(intents.c.intent_id == row["id"], without_index(intents.c.status) == row["before"])
        .values({name: row[name] for name in (*_FOLLOWING, "updated_at")})
    ),
)


async def follow_many(tx: Tx, changes: Sequence[tuple[Intent, Intent]], now: int) -> None:
    """Write what (before, after) pairs say of status, sums and evidence, all in one go."""
    if not changes:
        return
    after: dict[str, Iterable[Any]] = {
        name: [getattr(follower, name) for _, follower in changes] for name in _FOLLOWING
    }
    columns = after | {
        "id": [before.intent_id for before, _ in changes],
        "before": [before.status.value for before, _ in changes],
        "status": map(str, after["status"]),
        "amount_received": map(str, after["amount_received"]),
        "updated_at": repeat(now),
    }
    await _FOLLOW.run(tx, columns)


_CONFIRMING = (*_FOLLOWING, "confirmations", "confirmed_at")
_CONFIRM = Bulk(
    {"id": intents.c.intent_id} | columns_of(intents, (*_CONFIRMING, "updated_at")),
    lambda row: (
        update(intents)
        .where(intents.c.intent_id == row["id"], without_index(intents.c.status) == IntentStatus.CONFIRMING)
        .values({name: row[name] for name in (*_CONFIRMING, "updated_at")})
    ),
)


async def confirm_many(tx: Tx, confirmed: Sequence[Intent], now: int) -> None:
    """Write what intents say of status, sums and evidence that this transaction has read as `confirming`."""
    columns: dict[str, Iterable[Any]] = {name: [getattr(i, name) for i in confirmed] for name in _CONFIRMING}
    columns |= {
        "id": [i.intent_id for i in confirmed],
        "status": map(str, columns["status"]),
        "amount_received": map(str, columns["amount_received"]),
        "updated_at": repeat(now),
    }
    await _CONFIRM.run(tx, columns)


_PENDING = text("status = 'pending'")  # as the index says it
_READ_TWICE = or_(
    intents.c.unread.is_not(None), intents.c.swept_to * 1000 >= intents.c.expires_at + bindparam("grace", type_=Whole)
)


async def due_to_expire(
    tx: Tx, chain_id: int, rail: Rail, before: int, *, grace_ms: int, limit: int = 500
) -> list[str]:
    """
    Return a rail's pending intents whose time ran out before a moment (unix ms).

    Of direct ones only those that were read from before their creation, and a second time to their end.
    """
    conditions: list[Any] = [
        intents.c.chain_id == chain_id,
        intents.c.rail == rail,
        _PENDING,
        intents.c.expires_at < before,
    ]
    if rail is Rail.DIRECT:
        conditions += [intents.c.looked_back, _READ_TWICE]
    rows = await tx.execute(
        select(intents.c.intent_id).where(*conditions).order_by(intents.c.expires_at).limit(limit),
        {"grace": grace_ms} if rail is Rail.DIRECT else {},
    )
    return [row[0] for row in rows]


class Reading(NamedTuple):
    """What a direct intent has to be read for besides the running scan. Times are unix ms but `swept_to`, seconds."""

    intent_id: str
    destination: str
    created_at: int
    expires_at: int | None
    swept_to: int | None


_READING = (
    intents.c.intent_id,
    intents.c.destination_key,
    _BEGINS,
    intents.c.expires_at,
    intents.c.swept_to,
)


async def not_looked_back(tx: Tx, chain_id: int) -> list[Reading]:
    """Return the live direct intents the minutes before whose creation were not read yet."""
    rows = await tx.execute(
        select(*_READING).where(
            intents.c.chain_id == chain_id,
            text(NEW),  # as the index says it
            intents.c.looked_back.is_(False),
        )
    )
    return [Reading(*row) for row in rows]


async def set_looked_back(tx: Tx, ids: Collection[str]) -> None:
    """Remember that the minutes before the creation of these were read."""
    await tx.execute(update(intents).where(among(intents.c.intent_id, "ids")).values(looked_back=True), {"ids": ids})


async def to_read_again(tx: Tx, chain_id: int, before: int, *, grace_ms: int, limit: int) -> list[Reading]:
    """Return the direct intents that would expire and were not read a second time to their end."""
    rows = await tx.execute(
        select(*_READING)
        .where(
            intents.c.chain_id == chain_id,
            intents.c.rail == text("'direct'"),
            _PENDING,
            intents.c.expires_at < before,
            intents.c.looked_back,
            intents.c.unread.is_(None),
            or_(intents.c.swept_to.is_(None), intents.c.swept_to * 1000 < intents.c.expires_at + grace_ms),
        )
        .order_by(intents.c.expires_at)
        .limit(limit)
    )
    return [Reading(*row) for row in rows]


_WAITING_DIRECT = as_json_rows(
    select(*_READING).where(
        intents.c.chain_id == bindparam("chain"),
        intents.c.rail == text("'direct'"),
        intents.c.status.in_(list(LIVE)),
    )
)


async def waiting_direct(tx: Tx, chain_id: int) -> list[Reading]:
    """Return the live direct intents."""
    return [Reading(*row) async for rows in fetch_in_parts(tx, _WAITING_DIRECT, chain=chain_id) for row in rows]


async def any_awaited_proxy(tx: Tx, chain_id: int, ended_after: int) -> bool:
    """Say whether any intent waits for a payment through the proxy, or did not long ago."""
    found = await tx.execute(
        select(intents.c.intent_id)
        .where(intents.c.chain_id == chain_id, intents.c.rail == Rail.PROXY, _awaited(ended_after))
        .limit(1)
    )
    return found.first() is not None


async def created_earlier(tx: Tx, chain_id: int, *, by: int, latest: int) -> list[str]:
    """
    Put back the creation (unix ms) of live intents that were registered by a clock ahead of the chain's `latest`.

    Returns which.
    """
    blind = intents.c.chain_position.is_(None) & (intents.c.chain_created_at > latest)
    changed = await tx.execute(
        update(intents)
        .where(intents.c.chain_id == chain_id, intents.c.status.in_([*LIVE]), blind)
        .values(chain_created_at=least(intents.c.created_at - by, latest))
        .returning(intents.c.intent_id)
    )
    return list(changed.scalars())


async def set_swept_to(tx: Tx, ids: Collection[str], until: int) -> None:
    """Remember that these were read a second time up to a moment (unix seconds)."""
    further = greatest(func.coalesce(intents.c.swept_to, 0), until)
    await tx.execute(update(intents).where(among(intents.c.intent_id, "ids")).values(swept_to=further), {"ids": ids})


async def set_unread(tx: Tx, intent_id: str, why: str) -> None:
    """Remember why an intent could not be read a second time before it ends."""
    await tx.execute(update(intents).where(intents.c.intent_id == intent_id).values(unread=why))


async def unread(tx: Tx, chain_id: int, ended_after: int, limit: int) -> list[tuple[str, str]]:
    """Return (intent, why) of those that ended not long ago without having been read a second time."""
    rows = await tx.execute(
        select(intents.c.intent_id, intents.c.unread)
        .where(intents.c.chain_id == chain_id, text("unread IS NOT NULL"), intents.c.expired_at > ended_after)
        .order_by(intents.c.expired_at.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


async def undelivered(tx: Tx) -> list[Intent]:
    """Return every confirmed intent whose backend has not acknowledged it, whatever its age."""
    return await _all(
        tx,
        select(*COLUMNS).where(intents.c.status == IntentStatus.CONFIRMED, intents.c.webhook_delivered_at.is_(None)),
    )


_ANY_LIVE = select(
    exists().where(
        intent_counts.c.chain_id == bindparam("chain"),
        intent_counts.c.status.in_(list(LIVE)),
        intent_counts.c.count > 0,
    )
)


async def any_live(tx: Tx, chain_id: int) -> bool:
    """Say whether any intent of a chain waits to be paid, or to be confirmed."""
    return bool((await tx.execute(_ANY_LIVE, {"chain": chain_id})).scalar_one())


async def count_by_status(tx: Tx) -> dict[tuple[int, str], int]:
    """Return how many intents each chain has in each status."""
    rows = await tx.execute(select(intent_counts).where(intent_counts.c.count != 0))
    return {(row[0], row[1]): row[2] for row in rows}
