"""The outbox: events waiting for their receivers, their schedule, and every attempt made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    text,
    true,
    union_all,
    update,
)

from kernel.store.bulk import Bulk, BulkInsert, Row
from kernel.store.database import Tx
from kernel.store.ddl import Whole
from kernel.store.dialects import JsonRows, among, as_json_rows, columns_of, fetch_json_rows, upsert, without_index
from kernel.store.leases import LANE
from scanner.model import DeliveryStatus, EventType, IntentStatus, OutboxEvent, Priority
from scanner.secrets.rotation import Rotation, signing_secrets
from scanner.store import watches
from scanner.store.tables import attempts, balance_watches, callback_rotations, events, intents, leases, nodes

INTENT = "intent"
WATCH = "watch"


class AttemptRecord(NamedTuple):
    """One finished attempt and what follows from it."""

    event: OutboxEvent
    at: int
    ok: bool
    status: int | None
    latency_ms: int
    response: str
    error: str | None
    retry_at: int | None  # None: delivered, or the round is spent


class Backlog(NamedTuple):
    """What still has to be told on one chain."""

    pending: int
    failed: int
    oldest_created_at: int


async def add(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Queue events; an event that is queued already stays as it is."""
    if rows:
        await tx.execute(upsert(events).on_conflict_do_nothing(index_elements=[events.c.event_id]), rows)


_WAITING = and_(
    events.c.status == DeliveryStatus.PENDING,
    not_(among(events.c.event_id, "in_flight")),
    *(
        or_(events.c.priority != priority, not_(among(events.c.receiver, f"saturated_{priority.name}")))
        for priority in Priority
    ),
)
_SENT = {
    "body": events.c.body,
    "callback_url": func.coalesce(intents.c.callback_url, balance_watches.c.callback_url),
    "secrets": func.coalesce(intents.c.callback_secret, balance_watches.c.callback_secret),
}
_REGISTERED = func.coalesce(intents.c.created_at, balance_watches.c.created_at)


def _due_statement(*only: ColumnElement[bool], lane: ColumnElement[Any]) -> JsonRows:
    sent = _SENT | {"lane": lane}
    statement = (
        select(
            *(sent[name].label(name) if name in sent else events.c[name] for name in OutboxEvent._fields),
            _REGISTERED.label("registered_at"),
            *callback_rotations.c,
        )
        .outerjoin(intents, and_(events.c.subject_kind == INTENT, events.c.subject_id == intents.c.intent_id))
        .outerjoin(
            balance_watches, and_(events.c.subject_kind == WATCH, events.c.subject_id == balance_watches.c.watch_id)
        )
        .outerjoin(callback_rotations, callback_rotations.c.callback_url == _SENT["callback_url"])
        .where(_WAITING, events.c.next_attempt_at <= bindparam("now"), *only)
        .order_by(events.c.priority, events.c.next_attempt_at)
        .limit(bindparam("most"))
    )
    return as_json_rows(statement)


def _next_statement(*only: ColumnElement[bool]) -> CompoundSelect[Any]:
    earliest = select(func.min(events.c.next_attempt_at))
    return union_all(*(earliest.where(events.c.priority == each.value, _WAITING, *only) for each in Priority))


_DUE = _due_statement(lane=literal(None, Text))
_NEXT_DUE = _next_statement()
# Where several processes deliver, each sends what is in lanes of its own: one lane a receiver.
_LANE = literal(LANE) + events.c.receiver
_MINE = select(leases.c.name).where(leases.c.name == _LANE, leases.c.holder == bindparam("me")).exists()
_HELD = (
    select(leases.c.name)
    .join(nodes, nodes.c.incarnation == leases.c.holder)
    .where(leases.c.name == _LANE, nodes.c.seen_at > bindparam("alive_since", type_=Whole))
    .exists()
)
_TERM = select(leases.c.term).where(leases.c.name == _LANE).scalar_subquery()
_DUE_IN_LANES = _due_statement(_MINE, lane=_TERM)
_NEXT_IN_LANES = _next_statement(_MINE)
_UNCLAIMED = (
    select(events.c.receiver)
    .where(_WAITING, events.c.next_attempt_at <= bindparam("now"), ~_MINE, ~_HELD)
    .order_by(events.c.priority, events.c.next_attempt_at)
    .limit(bindparam("most"))
)
Saturated = Mapping[Priority, Collection[str]]
NONE_SATURATED: Saturated = MappingProxyType({})


async def due(
    tx: Tx,
    now: int,
    *,
    in_flight: Collection[str],
    saturated: Saturated = NONE_SATURATED,
    limit: int,
    me: str | None = None,
) -> list[OutboxEvent]:
    """
    Return events to send now: what is urgent first, then what waits longest.

    Without those in hand, and without those of a priority of which a receiver has enough (`saturated`).
    """
    asked = {"now": now, "most": limit, "in_flight": in_flight, **_saturated(saturated)}
    if me is None:
        rows = await fetch_json_rows(tx, _DUE, **asked)
    else:
        rows = await fetch_json_rows(tx, _DUE_IN_LANES, **asked, me=me)
    return [_event(row, now) for row in rows]


def _saturated(saturated: Saturated) -> dict[str, Collection[str]]:
    return {f"saturated_{priority.name}": saturated.get(priority, ()) for priority in Priority}


_EVENT = len(OutboxEvent._fields)


def _event(row: list[Any], now: int) -> OutboxEvent:
    event = OutboxEvent._make(row[:_EVENT])
    own, registered_at, newer = row[_SECRET], row[_EVENT], row[_EVENT + 1 :]
    rotation = Rotation._make(newer) if newer[0] is not None else None
    return event._replace(body=row[_BODY].encode(), secrets=signing_secrets(own, registered_at, rotation, now))


_BODY, _SECRET = OutboxEvent._fields.index("body"), OutboxEvent._fields.index("secrets")


async def next_due(
    tx: Tx, *, in_flight: Collection[str], saturated: Saturated = NONE_SATURATED, me: str | None = None
) -> int | None:
    """Return when the next event wants to be sent, leaving out what `due` would leave out."""
    asked: dict[str, Any] = {"in_flight": in_flight, **_saturated(saturated)}
    if me is None:
        found = await tx.execute(_NEXT_DUE, asked)
    else:
        found = await tx.execute(_NEXT_IN_LANES, asked | {"me": me})
    return min((moment for moment in found.scalars() if moment is not None), default=None)


async def unclaimed(tx: Tx, now: int, *, me: str, alive_since: int, limit: int) -> set[str]:
    """Return receivers to whom something is due, and whose lanes nobody that is alive has."""
    asked = {"in_flight": (), **_saturated(NONE_SATURATED)}
    rows = await tx.execute(_UNCLAIMED, asked | {"now": now, "me": me, "alive_since": alive_since, "most": limit})
    return set(rows.scalars())


_ATTEMPTED = BulkInsert(insert(attempts), [column.name for column in attempts.c if column.name != "id"])
_MOVED = ("status", "attempts", "next_attempt_at", "delivered_at", "failed_at")


def _acknowledged(row: Row) -> ColumnElement[bool]:
    """Say whether the round of an attempt was acknowledged before."""
    return exists().where(attempts.c.event_id == row["id"], attempts.c.round == row["round"], attempts.c.ok.is_(true()))


_MOVE = Bulk(
    {"id": events.c.event_id} | columns_of(events, (*_MOVED, "round")),
    lambda row: (
        update(events)
        # A lane may be lost and come back. What was sent before a round began says nothing about that round: not of
        # what was delivered before an operator sent it again, and of nothing that it was refused.
        .where(
            events.c.event_id == row["id"],
            without_index(events.c.status) == DeliveryStatus.PENDING,
            or_(
                events.c.round == row["round"],
                and_(row["status"] == DeliveryStatus.DELIVERED, ~_acknowledged(row)),
            ),
        )
        .values({name: row[name] for name in _MOVED})
    ),
)
_STATUS = without_index(intents.c.status)
_SETTLED = or_(_STATUS == IntentStatus.CONFIRMED, _STATUS == IntentStatus.WEBHOOK_FAILED)
_DELIVERED = Bulk(
    {"id": intents.c.intent_id, "at": intents.c.updated_at},
    lambda row: (
        update(intents)
        .where(intents.c.intent_id == row["id"], _SETTLED)
        .values(status=IntentStatus.CONFIRMED, webhook_delivered_at=row["at"], updated_at=row["at"])
    ),
)
_GIVEN_UP = Bulk(
    {"id": intents.c.intent_id, "at": intents.c.updated_at},
    lambda row: (
        update(intents)
        # Sent again by an operator and refused, it was told all the same: the intent stays confirmed.
        .where(intents.c.intent_id == row["id"], _SETTLED, without_index(intents.c.webhook_delivered_at).is_(None))
        .values(status=IntentStatus.WEBHOOK_FAILED, updated_at=row["at"])
    ),
)


async def record(tx: Tx, records: Sequence[AttemptRecord]) -> None:
    """Keep attempts and move their events, and the intents behind confirmations, accordingly."""
    await _MOVE.run(tx, _columns(map(_event_row, records)))  # by what was told before these attempts
    await _ATTEMPTED.run(tx, _columns(map(_attempt_row, records)))
    confirmations = [r for r in records if r.event.event_type == EventType.CONFIRMED]
    delivered = [{"id": r.event.subject_id, "at": r.at} for r in confirmations if r.ok]
    spent = [{"id": r.event.subject_id, "at": r.at} for r in confirmations if not r.ok and r.retry_at is None]
    if delivered:
        await _DELIVERED.run(tx, _columns(delivered))
    if spent:
        await _GIVEN_UP.run(tx, _columns(spent))
    await _acknowledge_watches(tx, [r for r in records if r.ok and r.event.subject_kind == WATCH])


def _columns(rows: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows with the same names into columns."""
    found = list(rows)
    return {name: [row[name] for row in found] for name in found[0]}


async def _acknowledge_watches(tx: Tx, told: Sequence[AttemptRecord]) -> None:
    """What a backend has acknowledged is what the next change is measured from."""
    if not told:
        return
    counts = await watches.change_counts(tx, {record.event.subject_id for record in told})
    rows = []
    for record in told:
        body = orjson.loads(record.event.body)
        # A late answer to an older event says nothing new: what is queued is measured from a newer one.
        if body["changeCount"] <= counts.get(record.event.subject_id, 0):
            continue
        counts[record.event.subject_id] = body["changeCount"]
        rows.append(
            {
                "id": record.event.subject_id,
                "new_current_balance": int(body["currentBalance"]),
                "new_change_count": body["changeCount"],
                "at": record.at,
            }
        )
    await watches.acknowledge(tx, rows)
    await supersede(tx, WATCH, [row["id"] for row in rows])


_SUPERSEDE = (
    update(events)
    .where(
        events.c.subject_kind == bindparam("kind"),
        among(events.c.subject_id, "subjects"),
        events.c.status.in_([DeliveryStatus.PENDING, DeliveryStatus.FAILED]),
        not_(among(events.c.event_id, "but")),
    )
    .values(status=DeliveryStatus.SUPERSEDED, failed_at=None)
)


async def supersede(tx: Tx, kind: str, subjects: Collection[str], *, but: Collection[str] = ()) -> None:
    """Take back what is queued for these subjects, except for some events: it is no longer so."""
    if subjects:
        await tx.execute(_SUPERSEDE, {"kind": kind, "subjects": subjects, "but": but})


async def requeue(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Queue events that may have been queued before: one that was not acknowledged is due at once."""
    if not rows:
        return
    statement = upsert(events)
    new = statement.excluded
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[events.c.event_id],
            set_={
                "status": DeliveryStatus.PENDING,
                "failed_at": None,
                "round": case((events.c.status == DeliveryStatus.PENDING, events.c.round), else_=events.c.round + 1),
                "attempts": case((events.c.status == DeliveryStatus.PENDING, events.c.attempts), else_=0),
                "next_attempt_at": new.next_attempt_at,
            },
            where=events.c.status != DeliveryStatus.DELIVERED,
        ),
        list(rows),
    )


def _attempt_row(record: AttemptRecord) -> dict[str, Any]:
    return {
        "event_id": record.event.event_id,
        "round": record.event.round,
        "number": record.event.attempts + 1,
        "at": record.at,
        "ok": record.ok,
        "status": record.status,
        "latency_ms": record.latency_ms,
        "response": record.response,
        "error": record.error,
    }


def _event_row(record: AttemptRecord) -> dict[str, Any]:
    status = DeliveryStatus.PENDING
    if record.ok:
        status = DeliveryStatus.DELIVERED
    elif record.retry_at is None:
        status = DeliveryStatus.FAILED
    return {
        "id": record.event.event_id,
        "round": record.event.round,
        "status": status.value,
        "attempts": record.event.attempts + 1,
        "next_attempt_at": record.retry_at or record.at,
        "delivered_at": record.at if status is DeliveryStatus.DELIVERED else None,
        "failed_at": record.at if status is DeliveryStatus.FAILED else None,
    }


def _given_up(before: int) -> ColumnElement[bool]:
    return and_(text("status = 'failed'"), events.c.failed_at <= before)  # as the index says it


async def any_given_up(tx: Tx, *, failed_before: int) -> bool:
    """Say whether `requeue_failed` would find anything: a read, so that a quiet minute writes nothing."""
    found = await tx.execute(select(events.c.event_id).where(_given_up(failed_before)).limit(1))
    return found.first() is not None


async def requeue_failed(tx: Tx, now: int, *, failed_before: int) -> int:
    """Start a new round for every event that was given up; return how many intents that concerns."""
    given_up = _given_up(failed_before)
    concerned = (await tx.execute(select(func.count(events.c.subject_id.distinct())).where(given_up))).scalar_one()
    if concerned:
        await tx.execute(
            update(events)
            .where(given_up)
            .values(
                status=DeliveryStatus.PENDING,
                failed_at=None,
                round=events.c.round + 1,
                attempts=0,
                next_attempt_at=now,
            )
        )
    return int(concerned)


_EXISTING = as_json_rows(select(events.c.event_id).where(among(events.c.event_id, "ids")))


async def existing(tx: Tx, ids: Collection[str]) -> set[str]:
    """Return which event ids are in the outbox."""
    return {row[0] for row in await fetch_json_rows(tx, _EXISTING, ids=ids)}


async def backlog(tx: Tx) -> dict[int, Backlog]:
    """Return what is undelivered, by chain."""
    rows = await tx.execute(
        select(
            events.c.chain_id,
            func.count().filter(events.c.status == DeliveryStatus.PENDING),
            func.count().filter(events.c.status == DeliveryStatus.FAILED),
            func.min(events.c.created_at),
        )
        .where(events.c.status.in_([DeliveryStatus.PENDING, DeliveryStatus.FAILED]))
        .group_by(events.c.chain_id)
    )
    return {row[0]: Backlog(row[1], row[2], row[3]) for row in rows}


EVENTS_SHOWN = 20
ATTEMPTS_SHOWN = 20


async def history(tx: Tx, kind: str, subject_id: str) -> list[dict[str, Any]]:
    """Return a subject's newest events, each with its newest attempts; what was always sent is among them."""
    mine = (events.c.subject_kind == kind, events.c.subject_id == subject_id)
    chosen = (
        select(events.c.event_id)
        .where(*mine)
        .order_by(events.c.priority, events.c.created_at.desc(), events.c.event_id)
        .limit(EVENTS_SHOWN)
    )
    rows = await tx.execute(
        select(events).where(events.c.event_id.in_(chosen)).order_by(events.c.created_at, events.c.event_id)
    )
    found = {row.event_id: {**row._asdict(), "tries": []} for row in rows}
    for event_id, event in found.items():
        tries = await tx.execute(
            select(attempts).where(attempts.c.event_id == event_id).order_by(attempts.c.id.desc()).limit(ATTEMPTS_SHOWN)
        )
        event["tries"] = [row._asdict() for row in reversed(tries.all())]
    return list(found.values())


async def count_of(tx: Tx, kind: str, subject_id: str) -> int:
    """Return how many events a subject has."""
    total = select(func.count()).where(events.c.subject_kind == kind, events.c.subject_id == subject_id)
    return int((await tx.execute(total)).scalar_one())
