"""What follows for intents from the transfers they have: allocation, confirmation, expiry, and the events of each."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from chains.types import Rail
from kernel.logging import fields
from kernel.store.database import Tx
from scanner import events
from scanner.lifecycle import next_status
from scanner.matching import GRACE_MS, AllocatedTransfer, Allocation, allocate
from scanner.model import (
    ALLOCATION_REASONS,
    LIVE,
    SETTLED,
    EventType,
    Intent,
    IntentStatus,
    Reason,
    StoredTransfer,
)
from scanner.page_result import PageResult
from scanner.store import intents, outbox, summaries, transfers, unread
from scanner.upkeep.summaries import EACH, Told

log = logging.getLogger(__name__)


async def reallocate(
    tx: Tx,
    ids: Collection[str],
    recorded: PageResult,
    *,
    now: int,
    fresh: Mapping[tuple[str, str], int] = MappingProxyType({}),
    loaded: Mapping[str, Intent] = MappingProxyType({}),
) -> None:
    """
    Let intents follow the transfers they have now.

    `fresh` says how many were just seen, by the key of their row; `loaded` are intents this transaction has read.
    """
    if not ids:
        return
    held = await transfers.of_intents(tx, ids)
    queue: list[dict[str, Any]] = []
    wanted: list[Told] = []
    shares: list[AllocatedTransfer] = []
    changes: list[tuple[Intent, Intent]] = []
    missing = [intent_id for intent_id in ids if intent_id not in loaded]
    others = await intents.get_many(tx, missing) if missing else {}
    for intent in (*loaded.values(), *others.values()):
        mine = held[intent.intent_id]
        allocation = allocate(intent.amount, mine, fee_amount=intent.fee_amount)
        after = _reallocated(intent, allocation)
        shares += [share for share in allocation.shares if _changed(share)]
        changes += [(intent, after)] if after != intent else []
        recorded.revived += intent.status is IntentStatus.EXPIRED and after.status in LIVE
        wanted += _about_transfers(after, intent, mine, allocation, fresh)
        queue += _about_confirming(after, intent, allocation, now)
    await transfers.allot_many(tx, [(s.transfer.id, s.counted, s.reason, s.surplus) for s in shares])
    await intents.follow_many(tx, changes, now)
    queue += await summaries.limited(tx, wanted, now=now)
    await outbox.add(tx, queue)
    recorded.queued += len(queue)


def _changed(share: AllocatedTransfer) -> bool:
    was = share.transfer
    return (share.counted, share.reason, share.surplus) != (was.counted, was.reason, was.surplus)


def evidence(allocation: Allocation) -> dict[str, Any]:
    """Return the columns that say which transfer completed the payment, or that none does."""
    last = allocation.completing_transfer
    return {
        "amount_received": allocation.received,
        "tx_hash": last.tx_hash if last else None,
        "log_index": last.log_index if last else None,
        "block_number": last.block_number if last else None,
        "block_hash": last.block_hash if last else None,
        "sender": last.sender if last else None,
    }


def _reallocated(intent: Intent, allocation: Allocation) -> Intent:
    """Return the intent as its transfers make it; evidence of a settled intent is history and stays."""
    if intent.status in SETTLED:
        return intent._replace(amount_received=allocation.received)
    return intent._replace(**evidence(allocation), status=next_status(intent, allocation))


def _about_transfers(
    intent: Intent,
    before: Intent,
    mine: Sequence[StoredTransfer],
    allocation: Allocation,
    fresh: Mapping[tuple[str, str], int],
) -> Iterator[Told]:
    """Return which opt-in events there are to tell of what was just seen."""
    reasons = {share.transfer.key: share.reason for share in allocation.shares}
    for transfer in mine:
        if transfer.key in fresh:
            reason = reasons.get(transfer.key, transfer.reason)
            if intent.wants(kind := _kind(reason)):
                yield Told(intent, kind, transfer, reason, fresh[transfer.key])
    if (
        intent.status is IntentStatus.PENDING
        and 0 < allocation.received != before.amount_received
        and intent.wants(EventType.PARTIAL)
    ):
        yield Told(intent, EventType.PARTIAL, allocation.counted[-1], None)


def _about_confirming(intent: Intent, before: Intent, allocation: Allocation, now: int) -> list[dict[str, Any]]:
    begins = before.status is not IntentStatus.CONFIRMING and intent.status is IntentStatus.CONFIRMING
    if not begins or allocation.completing_transfer is None or not intent.wants(EventType.CONFIRMING):
        return []
    return [events.about_transfer(intent, EventType.CONFIRMING, allocation.completing_transfer, now)]


def _kind(reason: Reason | None) -> EventType:
    if reason is Reason.LATE:
        return EventType.LATE
    if reason is None or reason in ALLOCATION_REASONS - {Reason.DUPLICATE}:
        return EventType.DETECTED
    return EventType.ANOMALY


async def queue_reorg_events(tx: Tx, ids: Collection[int], recorded: PageResult, *, now: int) -> set[str]:
    """
    Queue `payment.reorged` for these transfers if they are still gone; return the intents concerned.

    Who was told of a confirmation is told of this unasked: the goods may be on their way.
    """
    if not ids:
        return set()
    gone = [t for t in (await transfers.by_ids(tx, ids)).values() if t.intent_id and t.reason is Reason.REORGED]
    owners = await intents.get_many(tx, {t.intent_id or "" for t in gone})
    wanted: list[Told] = []
    queue: list[dict[str, Any]] = []
    lost: dict[str, list[StoredTransfer]] = {}
    for transfer in gone:
        intent = owners[transfer.intent_id or ""]
        if transfer.settled:
            lost.setdefault(intent.intent_id, []).append(transfer)
        elif intent.wants(EventType.REORGED):
            wanted.append(Told(intent, EventType.REORGED, transfer, Reason.REORGED))
    for intent_id, settled in lost.items():
        log.error(
            "[scanner] a payment that was confirmed left the canonical chain; it is being looked for again",
            extra=fields(chain=owners[intent_id].chain_id, intent=intent_id),
        )
        queue += _lost(owners[intent_id], settled, now)
    queue += await summaries.limited(tx, wanted, now=now)
    await outbox.add(tx, queue)
    recorded.queued += len(queue)
    return set(owners)


def _lost(intent: Intent, settled: Sequence[StoredTransfer], now: int) -> list[dict[str, Any]]:
    """Tell at once what a confirmed payment lost: its largest parts one by one, the dust beside them as one."""
    largest = sorted(settled, key=lambda t: t.amount, reverse=True)
    each = largest if len(largest) <= EACH else largest[: EACH - 1]
    told = [events.about_transfer(intent, EventType.REORGED, t, now, reason=Reason.REORGED) for t in each]
    if rest := largest[len(each) :]:
        newest, count = max(rest, key=lambda t: t.order), sum(t.times for t in rest)
        told.append(events.summary(intent, EventType.REORGED, newest, now, reason=Reason.REORGED, count=count))
    return told


async def settle(
    tx: Tx, ids: Collection[str], passed: Collection[tuple[str, str]], recorded: PageResult, *, now: int
) -> None:
    """
    Confirm the intents whose whole sum was just looked at again, and queue their webhooks.

    This is the only place that confirms.
    """
    held = await transfers.of_intents(tx, ids)
    confirmed: list[Intent] = []
    settled: list[int] = []
    queue: list[dict[str, Any]] = []
    due: list[tuple[Intent, Allocation, StoredTransfer]] = []
    for intent in (await intents.get_many(tx, ids)).values():
        allocation = allocate(intent.amount, held[intent.intent_id], fee_amount=intent.fee_amount)
        completing = allocation.completing_transfer
        if intent.status is not IntentStatus.CONFIRMING or completing is None:
            continue
        if all(t.key in passed and t.verified for t in allocation.counted):
            due.append((intent, allocation, completing))
    # What else these moved may belong to the same sum: it is read again at every poll.
    in_part = await unread.in_part(tx, {t.tx_hash for _, allocation, _ in due for t in allocation.counted})
    for intent, allocation, completing in due:
        counted = allocation.counted
        if any((intent.chain_id, t.tx_hash) in in_part for t in counted):
            continue
        values = evidence(allocation) | {
            "status": IntentStatus.CONFIRMED,
            "confirmations": intent.confirmations_required,
            "confirmed_at": now,
        }
        settled += [t.id for t in counted]
        after = intent._replace(**values)
        queue += _settled_events(after, allocation, now)
        confirmed.append(after)
        if completing.block_time is not None:
            recorded.latencies.append(max(0.0, now / 1000 - completing.block_time))
    recorded.confirmed += confirmed
    if confirmed:
        await intents.confirm_many(tx, confirmed, now)
        await transfers.mark_settled(tx, settled)
        await outbox.add(tx, queue)


def _settled_events(intent: Intent, allocation: Allocation, now: int) -> list[dict[str, Any]]:
    queue = [events.confirmed(intent, allocation.counted, now)]
    if allocation.surplus and allocation.completing_transfer and intent.wants(EventType.OVERPAID):
        queue.append(
            events.about_transfer(
                intent, EventType.OVERPAID, allocation.completing_transfer, now, reason=Reason.OVERPAID_SURPLUS
            )
        )
    return queue


async def anything_to_expire(tx: Tx, chain_id: int, rail: Rail, read_to: int) -> bool:
    """Say whether `expire` would find anything: a read, so that a quiet chain writes nothing."""
    before = read_to * 1000 - GRACE_MS
    return bool(await intents.due_to_expire(tx, chain_id, rail, before, grace_ms=GRACE_MS, limit=1))


async def expire(tx: Tx, chain_id: int, rail: Rail, read_to: int, *, now: int, moment: int) -> list[str]:
    """
    Expire the pending intents of a rail that was read to a block of a time (unix seconds).

    That time alone decides: a payment made before it would have been seen. `moment` is chain time in ms,
    from which the late watch runs.
    """
    expired = []
    due = await intents.due_to_expire(tx, chain_id, rail, read_to * 1000 - GRACE_MS, grace_ms=GRACE_MS)
    for intent in (await intents.get_many(tx, due)).values():
        values = {"status": IntentStatus.EXPIRED, "expired_at": moment}
        if await intents.change(tx, intent.intent_id, [IntentStatus.PENDING], now, **values):
            expired.append(intent.intent_id)
            if intent.wants(EventType.EXPIRED):
                await outbox.add(tx, [events.expired(intent._replace(status=IntentStatus.EXPIRED), now)])
    return expired
