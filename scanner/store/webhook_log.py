"""The outbox as operators read it: pages of events, one with its body and tries, and events to be sent again."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from sqlalchemy import bindparam, case, func, literal_column, select, text, update

from kernel.store.database import Tx
from kernel.store.dialects import JsonRows, among, as_json_rows, fetch_json_rows
from kernel.store.horizon import EVERYTHING
from scanner.model import DeliveryStatus
from scanner.store.tables import attempts, events

WALKED = 20_000  # events looked through for a page: a receiver with few among millions must not cost a walk of all
TRIES_SHOWN = 100  # the newest: whoever has an event sent again decides how many there are
SCHEMES = ("https", "http")


class LoggedEvent(NamedTuple):
    """One webhook: what it is about, where it goes, and what became of it. Times are unix milliseconds."""

    number: int
    event_id: str
    event_type: str
    subject_kind: str
    subject_id: str
    receiver: str  # scheme://host:port
    status: DeliveryStatus
    attempts: int  # in all rounds, as far as they are kept
    next_attempt_at: int
    created_at: int
    delivered_at: int | None


class LoggedPage(NamedTuple):
    """A page of events; `after` is where the next one begins, None at the end."""

    events: list[LoggedEvent]
    after: int | None


_TRIES = select(func.count()).where(attempts.c.event_id == events.c.event_id).scalar_subquery()
_COLUMNS = [
    _TRIES.label("attempts") if name == "attempts" else events.c[name].label(name) for name in LoggedEvent._fields
]


def _only(status: DeliveryStatus | None) -> list[Any]:
    """Return the condition of a status in the words of the index that leads to it."""
    if status is None:
        return []
    only: list[Any] = [events.c.status == literal_column(f"'{status.value}'")]
    return only if status is DeliveryStatus.DELIVERED else [*only, text("events.status <> 'delivered'")]


@functools.cache
def _page(status: DeliveryStatus | None, *, of_receiver: bool) -> JsonRows:
    statement = (
        select(*_COLUMNS)
        .where(events.c.number > bindparam("after"), bindparam("last") >= events.c.number, *_only(status))
        .order_by(events.c.number)
        .limit(bindparam("most"))
    )
    return as_json_rows(statement.where(among(events.c.receiver, "receivers")) if of_receiver else statement)


@functools.cache
def _walk(status: DeliveryStatus | None) -> JsonRows:
    statement = (
        select(events.c.number)
        .where(events.c.number > bindparam("after"), *_only(status))
        .order_by(events.c.number)
        .offset(WALKED - 1)
        .limit(1)
    )
    return as_json_rows(statement)


async def page(
    tx: Tx,
    *,
    status: DeliveryStatus | None,
    receiver: str | None,
    after: int,
    limit: int,
    last: int = EVERYTHING,
) -> LoggedPage:
    """
    Return a page in the order in which events were queued; `receiver` is `host:port`.

    It may hold fewer than `limit`, even none, before the end: no more than `WALKED` events are looked at.
    `last` is the number up to which all rows are there.
    """
    walked = await fetch_json_rows(tx, _walk(status), after=after)
    end = min(last, walked[0][0] if walked else EVERYTHING)
    asked: dict[str, Any] = {"after": after, "last": end, "most": limit + 1}
    if receiver is not None:
        asked["receivers"] = _spelt(receiver)
    rows = await fetch_json_rows(tx, _page(status, of_receiver=receiver is not None), **asked)
    found = [_logged(row) for row in rows]
    if len(found) > limit:
        return LoggedPage(found[:limit], found[limit - 1].number)
    return LoggedPage(found, end if walked and end == walked[0][0] else None)


def _spelt(receiver: str) -> list[str]:
    return [f"{scheme}://{receiver.lower()}" for scheme in SCHEMES]


_STATUS = LoggedEvent._fields.index("status")


def _logged(row: list[Any]) -> LoggedEvent:
    row[_STATUS] = DeliveryStatus(row[_STATUS])
    return LoggedEvent._make(row)


_ONE = as_json_rows(select(*_COLUMNS, events.c.body).where(events.c.event_id == bindparam("id")))
_NEWEST_TRIES = (
    select(attempts).where(attempts.c.event_id == bindparam("id")).order_by(attempts.c.id.desc()).limit(TRIES_SHOWN)
)


async def get(tx: Tx, event_id: str) -> tuple[LoggedEvent, str, list[dict[str, Any]]] | None:
    """Return an event, its body and its newest tries, the oldest of them first."""
    rows = await fetch_json_rows(tx, _ONE, id=event_id)
    if not rows:
        return None
    *row, body = rows[0]
    tries = (await tx.execute(_NEWEST_TRIES, {"id": event_id})).all()
    return _logged(row), body, [each._asdict() for each in reversed(tries)]


_WAITS = events.c.status == DeliveryStatus.PENDING
_SEND_AGAIN = (
    update(events)
    .where(events.c.event_id == bindparam("id"), events.c.status != DeliveryStatus.SUPERSEDED)
    .values(
        status=DeliveryStatus.PENDING,
        delivered_at=None,
        failed_at=None,
        round=case((_WAITS, events.c.round), else_=events.c.round + 1),
        attempts=case((_WAITS, events.c.attempts), else_=0),
        next_attempt_at=bindparam("now"),
    )
)


_SEND_FAILED_AGAIN = (
    update(events)
    .where(events.c.status == literal_column("'failed'"), among(events.c.receiver, "receivers"))
    .values(
        status=DeliveryStatus.PENDING,
        failed_at=None,
        round=events.c.round + 1,
        attempts=0,
        next_attempt_at=bindparam("now"),
    )
)


async def send_failed_again(tx: Tx, receiver: str, now: int) -> int:
    """Start a new round for all that failed of a receiver (`host:port`); return how many events that is."""
    return (await tx.execute(_SEND_FAILED_AGAIN, {"receivers": _spelt(receiver), "now": now})).rowcount


async def send_again(tx: Tx, event_id: str, now: int) -> bool:
    """Let an event be due now, a delivered one too; say whether it is. What was superseded is no longer so."""
    return (await tx.execute(_SEND_AGAIN, {"id": event_id, "now": now})).rowcount == 1
