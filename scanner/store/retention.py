"""Forgetting what is old, a few rows at a time."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, bindparam, delete, func, or_, select, tuple_

from kernel.store.database import Tx
from kernel.store.dialects import among, as_json_rows, defer_foreign_keys, fetch_json_rows
from scanner.model import DeliveryStatus, IntentStatus
from scanner.store.outbox import INTENT
from scanner.store.tables import attempts, events, fold_blocks, intents, transfers

_TOLD = (DeliveryStatus.DELIVERED, DeliveryStatus.SUPERSEDED)


# The oldest stand first. A walk ends at the first row that was made too lately to be old, so that it reads
# what is forgotten, what has to stay in spite of its age, and little more.
_OLD_EVENTS = as_json_rows(
    select(
        events.c.number.label("number"),
        events.c.event_id,
        events.c.created_at,
        and_(
            events.c.status.in_(_TOLD),
            func.coalesce(events.c.delivered_at, events.c.created_at) < bindparam("before"),
        ),
    )
    .where(events.c.number > bindparam("after"))
    .order_by(events.c.number)
    .limit(bindparam("most"))
)


async def old_events(tx: Tx, *, before: int, after: int, limit: int) -> tuple[list[str], int | None]:
    """
    Return delivered events that are older than a moment among the rows after a number.

    Returns also where to go on; None at the end. What was not delivered is never among them.
    """
    rows = await fetch_json_rows(tx, _OLD_EVENTS, before=before, after=after, most=limit)
    old = [row[1] for row in rows if row[3]]
    return old, rows[-1][0] if rows and rows[-1][2] < before else None


async def forget_events(tx: Tx, ids: Collection[str]) -> int:
    """Delete events with their attempts, unless one is to be delivered again by now; return how many there were."""
    told = select(events.c.event_id).where(among(events.c.event_id, "ids"), events.c.status.in_(_TOLD))
    still = {"ids": list((await tx.execute(told, {"ids": ids})).scalars())}
    await tx.execute(delete(attempts).where(among(attempts.c.event_id, "ids")), still)
    return (await tx.execute(delete(events).where(among(events.c.event_id, "ids")), still)).rowcount


async def forget_attempts(tx: Tx, *, before: int, limit: int) -> int:
    """Delete attempts that are older than a moment, of whichever event; return how many."""
    first = select(attempts.c.id, attempts.c.at).order_by(attempts.c.id).limit(limit)
    old = [row.id for row in await tx.execute(first) if row.at < before]
    if not old:
        return 0
    statement = delete(attempts).where(among(attempts.c.id, "ids"))
    return (await tx.execute(statement, {"ids": old})).rowcount


async def any_old_attempt(tx: Tx, *, before: int) -> bool:
    """Say whether the oldest attempt is older than a moment."""
    oldest = (await tx.execute(select(attempts.c.at).order_by(attempts.c.id).limit(1))).scalar_one_or_none()
    return oldest is not None and oldest < before


async def old_strays(tx: Tx, *, before: int, limit: int) -> list[int]:
    """Return rows about transfers of nobody's, of which the first was seen before a moment."""
    rows = await tx.execute(
        select(transfers.c.id)
        .where(transfers.c.intent_id.is_(None), transfers.c.seen_at < before)
        .order_by(transfers.c.seen_at)
        .limit(limit)
    )
    return list(rows.scalars())


async def forget_strays(tx: Tx, ids: Collection[int]) -> int:
    """Delete rows about transfers of nobody's, with what they were made of; return how many."""
    statement = delete(transfers).where(among(transfers.c.id, "ids"), transfers.c.intent_id.is_(None))
    return (await tx.execute(statement, {"ids": ids})).rowcount


async def forget_stray_blocks(tx: Tx, *, before: int, limit: int) -> int:
    """Delete what blocks brought of nobody's that was seen before a moment; return how many blocks."""
    old = select(fold_blocks.c.chain_id, fold_blocks.c.place, fold_blocks.c.rail).where(fold_blocks.c.seen_at < before)
    key = tuple_(fold_blocks.c.chain_id, fold_blocks.c.place, fold_blocks.c.rail)
    statement = delete(fold_blocks).where(key.in_(old.order_by(fold_blocks.c.seen_at).limit(limit)))
    return (await tx.execute(statement)).rowcount


async def any_old_stray_block(tx: Tx, *, before: int) -> bool:
    """Say whether `forget_stray_blocks` would find anything."""
    found = await tx.execute(select(fold_blocks.c.seen_at).where(fold_blocks.c.seen_at < before).limit(1))
    return found.first() is not None


_ENDED = func.coalesce(intents.c.webhook_delivered_at, intents.c.confirmed_at, intents.c.expired_at)
_UNTOLD = (
    select(events.c.event_id)
    .where(
        events.c.subject_kind == INTENT,
        events.c.subject_id == intents.c.intent_id,
        events.c.status.not_in(_TOLD),
    )
    .exists()
)
_OVER = and_(
    or_(
        intents.c.status == IntentStatus.EXPIRED,
        and_(intents.c.status == IntentStatus.CONFIRMED, intents.c.webhook_delivered_at.is_not(None)),
    ),
    bindparam("before") > _ENDED,
    ~_UNTOLD,
)
_OLD_INTENTS = as_json_rows(
    select(intents.c.number.label("number"), intents.c.intent_id, intents.c.created_at, _OVER)
    .where(intents.c.number > bindparam("after"))
    .order_by(intents.c.number)
    .limit(bindparam("most"))
)


async def old_intents(tx: Tx, *, before: int, after: int, limit: int) -> tuple[list[str], int | None]:
    """Return intents that ended before a moment and about which everything was told; and where to go on."""
    rows = await fetch_json_rows(tx, _OLD_INTENTS, before=before, after=after, most=limit)
    old = [row[1] for row in rows if row[3]]
    return old, rows[-1][0] if rows and rows[-1][2] < before else None


async def forget_intents(tx: Tx, ids: Collection[str], *, before: int) -> int:
    """Delete intents with their transfers, events and attempts, unless something happened; return how many."""
    over = select(intents.c.intent_id).where(among(intents.c.intent_id, "ids"), _OVER)
    given = {"ids": list((await tx.execute(over, {"ids": ids, "before": before})).scalars())}
    # The intent goes first: a settled transfer is kept as long as its intent is there.
    await defer_foreign_keys(tx)
    gone = (await tx.execute(delete(intents).where(among(intents.c.intent_id, "ids")), given)).rowcount
    await tx.execute(
        delete(transfers).where(transfers.c.intent_id.is_not(None), among(transfers.c.intent_id, "ids")), given
    )
    mine = select(events.c.event_id).where(events.c.subject_kind == INTENT, among(events.c.subject_id, "ids"))
    await tx.execute(delete(attempts).where(attempts.c.event_id.in_(mine)), given)
    await tx.execute(delete(events).where(events.c.subject_kind == INTENT, among(events.c.subject_id, "ids")), given)
    return gone
