"""
Write down what a chain told us: transfers, what follows for intents, and what to tell backends.

Everything here runs inside the caller's transaction, so that a checkpoint never moves without the
findings below it and no state changes without its event.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from chains.types import Cursor, Outcome, Transfer, Verification
from config.logging import fields
from scanner import events
from scanner.lifecycle import next_status
from scanner.matching import Allocation, Share, allocate, choose, judge, judge_time
from scanner.model import (
    ALLOCATION_REASONS,
    SETTLED,
    EventType,
    Intent,
    IntentStatus,
    Reason,
    StoredTransfer,
)
from scanner.store import checkpoints, intents, outbox, transfers

log = logging.getLogger(__name__)

STRANGERS_LOGGED = 50  # lines a page


@dataclass(slots=True)
class Recorded:
    """What a transaction found; counted into metrics once it is committed."""

    matched: int = 0
    rejected: Counter[Reason] = field(default_factory=Counter)
    reorged: int = 0
    confirmed: list[Intent] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # seconds from block time to confirmed
    queued: int = 0  # events


async def record(tx: AsyncConnection, chain_id: int, found: Sequence[Transfer], *, now: int, late_ms: int) -> Recorded:
    """Store the transfers of a page and let the intents they name follow."""
    recorded = Recorded()
    if not found:
        return recorded
    known = await transfers.reconcile(tx, chain_id, found)
    fresh = [t for t in found if (t.tx_hash, t.event_key) not in known.same] if known.same else found
    owner_of = await _owners(tx, chain_id, fresh)
    owners: dict[str, Intent] = {}
    ids: list[str | None] = []
    reasons: list[Reason | None] = []
    for transfer in fresh:
        intent = owner_of(transfer)
        # Most are strangers': a call for each would be felt.
        reason = Reason.UNKNOWN_REFERENCE if intent is None else judge(transfer, intent, now=now, late_ms=late_ms)
        if intent is not None and reason is not Reason.UNKNOWN_REFERENCE:
            owners[intent.intent_id] = intent
            ids.append(intent.intent_id)
        else:
            ids.append(None)
        reasons.append(reason)
        if (transfer.tx_hash, transfer.event_key) not in known.keys:
            _count(recorded, transfer, reason)
    _log_strangers(recorded, chain_id)
    await transfers.add_many(tx, fresh, intent_ids=ids, reasons=reasons, now=now)
    keys = {(t.tx_hash, t.event_key) for t, owner in zip(fresh, ids, strict=True) if owner}
    await follow(tx, known.moved | owners.keys(), recorded, now=now, fresh=keys, loaded=owners)
    return recorded


async def record_coins(tx: AsyncConnection, chain_id: int, rises: Sequence[Transfer], *, now: int) -> Recorded:
    """Store native coin that reached direct destinations, each with the newest intent it was sent to."""
    recorded = Recorded()
    by_destination = await intents.by_destinations(tx, chain_id, {rise.destination for rise in rises})
    meant = [next(iter(by_destination.get(rise.destination, [])), None) for rise in rises]
    owners = {intent.intent_id: intent for intent in meant if intent is not None}
    for rise in rises:
        _count(recorded, rise, Reason.WRONG_ASSET)
    await transfers.add_many(
        tx,
        rises,
        intent_ids=[intent and intent.intent_id for intent in meant],
        reasons=[Reason.WRONG_ASSET] * len(rises),
        now=now,
    )
    await follow(tx, owners, recorded, now=now, fresh={(r.tx_hash, r.event_key) for r in rises}, loaded=owners)
    return recorded


async def _owners(
    tx: AsyncConnection, chain_id: int, found: Collection[Transfer]
) -> Callable[[Transfer], Intent | None]:
    """Look up whom a page concerns: one query for all references, one for all destinations."""
    references = {t.reference for t in found if t.reference}
    destinations = {t.destination for t in found if not t.reference}
    by_reference = await intents.by_references(tx, chain_id, references) if references else {}
    by_destination = await intents.by_destinations(tx, chain_id, destinations) if destinations else {}

    def owner(transfer: Transfer) -> Intent | None:
        if transfer.reference:
            return by_reference.get(transfer.reference)
        return choose(transfer, by_destination.get(transfer.destination, []))

    return owner


def _count(recorded: Recorded, transfer: Transfer, reason: Reason | None) -> None:
    if reason is None:
        recorded.matched += 1
        return
    recorded.rejected[reason] += 1
    # Strangers use the same public proxies: their payments must not drown the lines that concern us.
    stranger = reason is Reason.UNKNOWN_REFERENCE
    if not stranger or recorded.rejected[reason] <= STRANGERS_LOGGED:
        _reject(
            logging.INFO if stranger else logging.WARNING,
            reason,
            transfer.chain_id,
            transfer.tx_hash,
            transfer.event_key,
        )


def _reject(level: int, reason: Reason, chain_id: int, tx_hash: str, event_key: str) -> None:
    log.log(level, "REJECT %s", reason, extra=fields(chain=chain_id, tx=tx_hash, event=event_key))


def _log_strangers(recorded: Recorded, chain_id: int) -> None:
    more = recorded.rejected[Reason.UNKNOWN_REFERENCE] - STRANGERS_LOGGED
    if more > 0:
        log.info("REJECT %s and more of them", Reason.UNKNOWN_REFERENCE, extra=fields(chain=chain_id, more=more))


async def follow(
    tx: AsyncConnection,
    ids: Collection[str],
    recorded: Recorded,
    *,
    now: int,
    fresh: Collection[tuple[str, str]] = (),
    loaded: Mapping[str, Intent] = MappingProxyType({}),
) -> None:
    """
    Let intents follow the transfers they have now.

    `fresh` are the keys of those just seen, `loaded` the intents this transaction has read already.
    """
    if not ids:
        return
    held = await transfers.of_intents(tx, ids)
    queue: list[dict[str, Any]] = []
    shares: list[Share] = []
    changes: list[tuple[Intent, Intent]] = []
    missing = [intent_id for intent_id in ids if intent_id not in loaded]
    others = await intents.get_many(tx, missing) if missing else {}
    for intent in (*loaded.values(), *others.values()):
        mine = held[intent.intent_id]
        allocation = allocate(intent.amount, mine, fee_amount=intent.fee_amount)
        after = _followed(intent, allocation)
        shares += [share for share in allocation.shares if _changed(share)]
        changes += [(intent, after)] if after != intent else []
        queue += _tell(after, intent, mine, allocation, fresh, now)
    await transfers.allot_many(tx, [(s.transfer.id, s.counted, s.reason, s.surplus) for s in shares])
    await intents.follow_many(tx, changes, now)
    await outbox.add(tx, queue)
    recorded.queued += len(queue)


def _changed(share: Share) -> bool:
    was = share.transfer
    return (share.counted, share.reason, share.surplus) != (was.counted, was.reason, was.surplus)


def evidence(intent: Intent, allocation: Allocation) -> dict[str, Any]:
    """Return the columns that say which transfer completed the payment, or that none does."""
    last = allocation.completing
    return {
        "amount_received": allocation.received,
        "tx_hash": last.tx_hash if last else None,
        "log_index": last.log_index if last else None,
        "block_number": last.block_number if last else None,
        "block_hash": last.block_hash if last else None,
        "sender": last.sender if last else None,
        "confirmations": intent.confirmations if last else 0,
    }


def _followed(intent: Intent, allocation: Allocation) -> Intent:
    """Return the intent as its transfers make it; evidence of a settled intent is history and stays."""
    if intent.status in SETTLED:
        return intent._replace(amount_received=allocation.received)
    return intent._replace(**evidence(intent, allocation), status=next_status(intent, allocation))


def _tell(
    intent: Intent,
    before: Intent,
    mine: Sequence[StoredTransfer],
    allocation: Allocation,
    fresh: Collection[tuple[str, str]],
    now: int,
) -> list[dict[str, Any]]:
    """Return the opt-in events that follow from what was just seen."""
    reasons = {share.transfer.key: share.reason for share in allocation.shares}
    queue = []
    for transfer in mine:
        if transfer.key not in fresh:
            continue
        reason = reasons.get(transfer.key, transfer.reason)
        kind = _kind(reason)
        if intent.wants(kind):
            queue.append(events.about_transfer(intent, kind, transfer, now, reason=reason))
    if (
        allocation.completing is not None
        and before.status is IntentStatus.PENDING
        and intent.status is IntentStatus.CONFIRMING
    ):
        if intent.wants(EventType.CONFIRMING):
            queue.append(events.about_transfer(intent, EventType.CONFIRMING, allocation.completing, now))
    elif (
        intent.status is IntentStatus.PENDING
        and 0 < allocation.received != before.amount_received
        and intent.wants(EventType.PARTIAL)
    ):
        queue.append(events.partial(intent, allocation.received, now))
    return queue


def _kind(reason: Reason | None) -> EventType:
    if reason is Reason.LATE:
        return EventType.LATE
    if reason is None or reason in ALLOCATION_REASONS - {Reason.DUPLICATE}:
        return EventType.DETECTED
    return EventType.ANOMALY


async def rewind(tx: AsyncConnection, chain_id: int, to: Cursor, *, now: int) -> Recorded:
    """Take back everything above a position: it is to be read again from there."""
    recorded = Recorded()
    concerned, recorded.reorged = await transfers.orphan_above(tx, chain_id, to.position)
    await checkpoints.rewind(tx, chain_id, to, now=now)
    await tell_reorged(tx, concerned, recorded, now=now)
    await follow(tx, concerned, recorded, now=now)
    return recorded


async def tell_reorged(tx: AsyncConnection, ids: Collection[str], recorded: Recorded, *, now: int) -> None:
    """Queue `payment.reorged` for the intents that asked, and report settled ones loudly."""
    queue = []
    held = await transfers.of_intents(tx, ids)
    for intent in (await intents.get_many(tx, ids)).values():
        gone = [t for t in held[intent.intent_id] if t.reason is Reason.REORGED]
        if intent.status in SETTLED and any(t.settled for t in gone):
            log.error(
                "[scanner] a payment that was confirmed left the canonical chain; it is being looked for again",
                extra=fields(chain=intent.chain_id, intent=intent.intent_id),
            )
        if intent.wants(EventType.REORGED):
            queue += [events.about_transfer(intent, EventType.REORGED, t, now, reason=Reason.REORGED) for t in gone]
    await outbox.add(tx, queue)
    recorded.queued += len(queue)


_REFUSED = {
    Outcome.SHORT: Reason.FEE_ON_TRANSFER,
    Outcome.NO_TRANSFER_LOG: Reason.NO_TRANSFER_LOG,
    Outcome.REVERTED: Reason.REVERTED,
    Outcome.GONE: Reason.REORGED,
}


async def apply_verdicts(
    tx: AsyncConnection, chain_id: int, looked: Sequence[tuple[StoredTransfer, Verification]], *, now: int
) -> tuple[Recorded, list[StoredTransfer]]:
    """
    Store what a second look found and let the intents follow.

    Returns also the transfers that passed and still stand in the block they were looked at in:
    only those may settle anything.
    """
    recorded = Recorded()
    ids = {stored.intent_id for stored, _ in looked if stored.intent_id}
    current = {t.id: t for rows in (await transfers.of_intents(tx, ids)).values() for t in rows}
    owners = await intents.get_many(tx, ids)
    behind = {seen.behind for _, seen in looked if seen.behind}
    paid_otherwise = await intents.by_references(tx, chain_id, behind) if behind else {}
    passed = []
    fresh: set[tuple[str, str]] = set()
    verified: list[tuple[int, str | None, int | None]] = []
    for stored, looked_at in looked:
        # The token's side of a payment that names an intent of its own: it must not settle a second one.
        seen = replace(looked_at, outcome=Outcome.NO_TRANSFER_LOG) if looked_at.behind in paid_otherwise else looked_at
        now_stored = current.get(stored.id)
        if now_stored is None or not now_stored.stands or now_stored.block_hash != stored.block_hash:
            continue  # changed while we looked: the next round looks again
        if seen.outcome is Outcome.NOT_YET:
            continue
        reason = _verdict(seen, now_stored, owners[stored.intent_id or ""])
        facts = (stored.id, seen.transfer.sender, seen.transfer.block_time)
        if reason is None:
            verified.append(facts)
            passed += [now_stored] if now_stored.counted else []
            continue
        if reason is not Reason.REORGED:
            verified.append(facts)
        fresh |= {stored.key} if seen.outcome in _REFUSED else set()
        await transfers.set_verdict(tx, stored.id, counted=False, reason=reason, surplus=None)
        recorded.rejected[reason] += 1
        _reject(logging.WARNING, reason, chain_id, stored.tx_hash, stored.event_key)
    await transfers.verify_many(tx, verified)
    await follow(tx, ids, recorded, now=now, fresh=fresh)
    return recorded, passed


def _verdict(seen: Verification, stored: StoredTransfer, intent: Intent) -> Reason | None:
    """Return the reason that takes the place of the one stored; None when nothing new was learnt."""
    if seen.outcome is not Outcome.CREDITED:
        return _REFUSED[seen.outcome]
    # A reason that is a fact about the transfer stays. The others hold for a transfer that came in time.
    timely = stored.reason is None or stored.reason in ALLOCATION_REASONS
    return judge_time(seen.transfer.block_time, intent) if timely else None


async def settle(
    tx: AsyncConnection, ids: Collection[str], passed: Collection[tuple[str, str]], recorded: Recorded, *, now: int
) -> None:
    """
    Confirm the intents whose whole sum was just looked at again, and queue their webhooks.

    This is the only place that confirms.
    """
    held = await transfers.of_intents(tx, ids)
    confirmed: list[Intent] = []
    settled: list[int] = []
    queue: list[dict[str, Any]] = []
    for intent in (await intents.get_many(tx, ids)).values():
        allocation = allocate(intent.amount, held[intent.intent_id], fee_amount=intent.fee_amount)
        counted = allocation.counted
        if intent.status is not IntentStatus.CONFIRMING or allocation.completing is None:
            continue
        if not all(t.key in passed and t.verified for t in counted):
            continue
        values = evidence(intent, allocation) | {
            "status": IntentStatus.CONFIRMED,
            "confirmations": intent.confirmations_required,
            "confirmed_at": now,
        }
        settled += [t.id for t in counted]
        after = intent._replace(**values)
        queue += _settled_events(after, allocation, now)
        confirmed.append(after)
        if allocation.completing.block_time is not None:
            recorded.latencies.append(max(0.0, now / 1000 - allocation.completing.block_time))
    recorded.confirmed += confirmed
    if confirmed:
        await intents.confirm_many(tx, confirmed, now)
        await transfers.mark_settled(tx, settled)
        await outbox.add(tx, queue)


def _settled_events(intent: Intent, allocation: Allocation, now: int) -> list[dict[str, Any]]:
    queue = [events.confirmed(intent, allocation.counted, now)]
    if allocation.surplus and allocation.completing and intent.wants(EventType.OVERPAID):
        queue.append(
            events.about_transfer(
                intent, EventType.OVERPAID, allocation.completing, now, reason=Reason.OVERPAID_SURPLUS
            )
        )
    return queue


async def anything_to_expire(tx: AsyncConnection, chain_id: int, until: int) -> bool:
    """Say whether `expire` would find anything: a read, so that a quiet chain writes nothing."""
    return bool(await intents.due_to_expire(tx, chain_id, until, limit=1))


async def expire(tx: AsyncConnection, chain_id: int, until: int, *, now: int) -> list[str]:
    """Expire the pending intents whose time ran out before `until`, up to which the chain was read."""
    expired = []
    for intent in (await intents.get_many(tx, await intents.due_to_expire(tx, chain_id, until))).values():
        values = {"status": IntentStatus.EXPIRED, "expired_at": now}
        if await intents.change(tx, intent.intent_id, [IntentStatus.PENDING], now, **values):
            expired.append(intent.intent_id)
            if intent.wants(EventType.EXPIRED):
                await outbox.add(tx, [events.expired(intent._replace(status=IntentStatus.EXPIRED), now)])
    return expired
