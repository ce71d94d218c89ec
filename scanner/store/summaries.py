"""What was told of intents' transfers, and what waits to be told together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import bindparam, select

from kernel.store.database import Tx
from kernel.store.dialects import among, as_json_rows, fetch_json_rows, upsert
from scanner import events
from scanner.model import EventType, Intent, IntentStatus, Reason, StoredTransfer
from scanner.store import intents, transfers
from scanner.store.tables import summaries
from scanner.upkeep.summaries import INTERVAL_MS, Summary, Told, choose, still_so

Key = tuple[str, str, str]  # intent, event type, reason

_HELD = as_json_rows(select(summaries).where(among(summaries.c.intent_id, "ids")))
_DUE = as_json_rows(
    select(summaries)
    .where(summaries.c.waiting > 0, summaries.c.told_at <= bindparam("before"))
    .order_by(summaries.c.told_at)
    .limit(bindparam("most"))
)


async def limited(tx: Tx, wanted: Sequence[Told], *, now: int) -> list[dict[str, Any]]:
    """Return the outbox rows of what is told now; the rest is remembered and told together later."""
    if not wanted:
        return []
    held = _by_key(await fetch_json_rows(tx, _HELD, ids={told.intent.intent_id for told in wanted}))
    rows: list[dict[str, Any]] = []
    after: dict[Key, Summary] = {}
    for key, group in groupby(sorted(wanted, key=_key), key=_key):
        same = list(group)
        each, summary = choose(held.get(key, Summary()), same, now)
        rows += [_one(told, now) for told in each]
        if summary.is_due(now):
            rows.append(_together(same[-1].intent, key, same[-1].transfer, summary.waiting, now))
            summary = summary.told_together(now)
        after[key] = summary
    await _put(tx, after)
    return rows


async def anything_due(tx: Tx, *, now: int) -> bool:
    """Say whether `due` would find anything: a read, so that a quiet hour writes nothing."""
    return bool(await fetch_json_rows(tx, _DUE, before=now - INTERVAL_MS, most=1))


async def due(tx: Tx, *, now: int, limit: int) -> list[dict[str, Any]]:
    """Return the outbox rows of what has waited for long enough."""
    held = _by_key(await fetch_json_rows(tx, _DUE, before=now - INTERVAL_MS, most=limit))
    owners = await intents.get_many(tx, {key[0] for key in held})
    alike = await transfers.alike(tx, {key[0] for key in held})
    waiting = {key: still_so(summary, EventType(key[1]), alike.get((key[0], key[2]))) for key, summary in held.items()}
    newest = await transfers.by_ids(tx, [s.last_transfer for s in waiting.values() if s.last_transfer is not None])
    await _put(tx, {key: summary.told_together(now) for key, summary in held.items()})
    return [
        _together(owners[key[0]], key, newest.get(summary.last_transfer or 0), summary.waiting, now)
        for key, summary in waiting.items()
        if summary.waiting and (key[1] != EventType.PARTIAL or owners[key[0]].status is IntentStatus.PENDING)
    ]


def _key(told: Told) -> Key:
    return told.key


def _by_key(rows: Sequence[list[Any]]) -> dict[Key, Summary]:
    return {(row[0], row[1], row[2]): Summary(*row[3:]) for row in rows}


def _one(told: Told, now: int) -> dict[str, Any]:
    if told.event is EventType.PARTIAL:
        return events.partial(told.intent, told.intent.amount_received, told.transfer, now)
    return events.about_transfer(told.intent, told.event, told.transfer, now, reason=told.reason)


def _together(intent: Intent, key: Key, newest: StoredTransfer | None, count: int, now: int) -> dict[str, Any]:
    if key[1] == EventType.PARTIAL:
        return events.partial(intent, intent.amount_received, newest, now)
    reason = Reason(key[2]) if key[2] else None
    return events.summary(intent, EventType(key[1]), newest, now, reason=reason, count=count)


async def _put(tx: Tx, after: Mapping[Key, Summary]) -> None:
    if not after:
        return
    statement = upsert(summaries)
    rows = [
        {
            "intent_id": key[0],
            "event_type": key[1],
            "reason": key[2],
            "told": summary.told,
            "told_at": summary.told_at,
            "waiting": summary.waiting,
            "last_transfer": summary.last_transfer,
        }
        for key, summary in after.items()
    ]
    new = {name: statement.excluded[name] for name in ("told", "told_at", "waiting", "last_transfer")}
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[summaries.c.intent_id, summaries.c.event_type, summaries.c.reason], set_=new
        ),
        rows,
    )
