"""
Write down what a chain told us: transfers, what follows for intents, and what to tell backends.

Everything here runs inside the caller's transaction, so that a checkpoint never moves without the
findings below it and no state changes without its event.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from chains.types import Cursor, Outcome, Rail, Transfer, Verification
from config.logging import fields
from scanner import events
from scanner.folding import Judged, StrayKey, by_stray_key, fold_owned, kind_of, plain_kind, rail_of, reason_of
from scanner.lifecycle import next_status
from scanner.matching import GRACE_MS, Allocation, Share, allocate, choose, judge, judge_time
from scanner.model import (
    ALLOCATION_REASONS,
    SETTLED,
    EventType,
    Intent,
    IntentStatus,
    Reason,
    StoredTransfer,
)
from scanner.store import checkpoints, folds, intents, outbox, summaries, transfers
from scanner.summaries import EACH, Told

log = logging.getLogger(__name__)

LOGGED = 50  # lines a reason and transaction of the store
BREATH = 1_000  # transfers judged before others may go on


@dataclass(slots=True)
class Recorded:
    """What a transaction found; counted into metrics once it is committed."""

    matched: int = 0
    rejected: Counter[Reason] = field(default_factory=Counter)
    logged: Counter[Reason] = field(default_factory=Counter)  # lines
    logged_times: Counter[Reason] = field(default_factory=Counter)  # transfers those lines stand for
    reorged: int = 0
    confirmed: list[Intent] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # seconds from block time to confirmed
    queued: int = 0  # events


async def record(
    tx: AsyncConnection,
    chain_id: int,
    found: Sequence[Transfer],
    *,
    now: int,
    late_ms: int,
    moment: int | None = None,
) -> Recorded:
    """
    Store the transfers of a page and let the intents they name follow.

    `moment` is chain time in ms: how long ago an intent ended is not for the host's clock to say.
    """
    recorded = Recorded()
    if not found:
        return recorded
    moment = now if moment is None else moment
    known = await transfers.reconcile(tx, chain_id, found)
    found = [known.renamed(transfer) for transfer in found] if known.numbered else found
    fresh = [t for t in found if (t.tx_hash, t.event_key) not in known.same] if known.same else found
    owner_of = await _owners(tx, chain_id, fresh, late_ms=late_ms)
    owners: dict[str, Intent] = {}
    owned: list[Judged] = []
    strays: list[tuple[Transfer, Reason]] = []
    for number, transfer in enumerate(fresh):
        if number % BREATH == BREATH - 1:
            await asyncio.sleep(0)  # a stranger chooses how many there are; everybody else waits
        key = (transfer.tx_hash, transfer.event_key)
        settles = known.settled.get(key)
        intent = owner_of(transfer)
        if settles is not None and (intent is None or intent.intent_id != settles):
            intent = await intents.get(tx, settles)
        # Most are strangers': a call for each would be felt.
        reason = Reason.UNKNOWN_REFERENCE if intent is None else judge(transfer, intent, now=moment, late_ms=late_ms)
        if intent is not None and (reason is not Reason.UNKNOWN_REFERENCE or settles is not None):
            owners[intent.intent_id] = intent
            owned.append(Judged(transfer, intent.intent_id, reason))
        elif key not in known.keys:  # else it was somebody's, and is listed so
            strays.append((transfer, Reason.UNKNOWN_REFERENCE))
    folded = fold_owned(owned, known.worthless)
    for each in folded.rows:
        if (each.transfer.tx_hash, each.transfer.event_key) not in known.keys:
            _count(recorded, each.transfer, each.reason, each.times)
    for place, row in folded.grown.items():
        recorded.rejected[Reason(place[2])] += row.times - known.worthless[place].times
    await folds.claim(tx, chain_id, _as_strays(folded.rows))
    await transfers.add_many(tx, folded.rows, now=now)
    await transfers.grow_many(tx, folded.grown.values())
    await _record_strays(tx, chain_id, strays, recorded, now=now)
    await _forget_doubled(tx, chain_id, found)
    _log_rest(recorded, chain_id)
    await tell_reorged(tx, known.orphans, recorded, now=now)
    touched = {each.intent_id for each in folded.rows} | {intent_id for _, intent_id, _ in folded.grown}
    loaded = {intent_id: intent for intent_id, intent in owners.items() if intent_id in touched}
    await follow(tx, known.moved | loaded.keys(), recorded, now=now, fresh=folded.fresh, loaded=loaded)
    return recorded


async def _forget_doubled(tx: AsyncConnection, chain_id: int, found: Collection[Transfer]) -> None:
    """
    Take off plain transfers of nobody's that are the token's side of a payment through the proxy.

    That payment is stored by itself, and whoever reads both would count one sum of money twice. They may
    come in either order: the rails are read apart. A token that keeps a fee moves less than the event says.
    """
    parts = await folds.parts_of(tx, chain_id, {t.tx_hash for t in found})
    plain = {key: part for key, part in parts.items() if rail_of(key[1]) is Rail.DIRECT}
    if not plain:
        return
    through = await transfers.proxied(tx, chain_id, {tx_hash for tx_hash, _ in plain})
    for (tx_hash, kind), part in parts.items():
        if rail_of(kind) is Rail.PROXY:
            through[tx_hash, plain_kind(kind)] += part.amount
    doubled = [part for key, part in plain.items() if part.amount <= through[key]]
    await folds.take_off(tx, chain_id, doubled)


def _as_strays(rows: Iterable[Judged]) -> set[StrayKey]:
    return {(each.transfer.tx_hash, kind_of(each.transfer, Reason.UNKNOWN_REFERENCE)) for each in rows}


async def _record_strays(
    tx: AsyncConnection, chain_id: int, strays: Sequence[tuple[Transfer, Reason]], recorded: Recorded, *, now: int
) -> None:
    if not strays:
        return
    for (_, kind), group in await folds.record(tx, chain_id, by_stray_key(strays), now=now):
        _count(recorded, group.first, reason_of(kind), group.times)


async def undated(tx: AsyncConnection, chain_id: int, found: Sequence[Transfer]) -> list[Transfer]:
    """
    Return one transfer for each block whose time decides at once what becomes of a transfer in it.

    Where logs carry no time, only that of the block says whether an expired intent was paid in time, and
    which of several intents held an address.
    """
    blind = [t for t in found if t.block_time is None]
    if not blind:
        return []
    references = {t.reference for t in blind if t.reference}
    destinations = {t.destination for t in blind if not t.reference}
    by_reference = await intents.by_references(tx, chain_id, references) if references else {}
    by_destination = await intents.by_destinations(tx, chain_id, destinations) if destinations else {}
    blocks: dict[tuple[int, str | None], Transfer] = {}
    for transfer in blind:
        named = by_reference.get(transfer.reference or "")
        mine = by_destination.get(transfer.destination, []) if transfer.reference is None else [named] if named else []
        of_token = [intent for intent in mine if intent.token_key == transfer.token]
        if len(of_token) > 1 or any(intent.status is IntentStatus.EXPIRED for intent in of_token):
            blocks.setdefault((transfer.block_number, transfer.block_hash), transfer)
    return list(blocks.values())


async def record_coins(tx: AsyncConnection, chain_id: int, rises: Sequence[Transfer], *, now: int) -> Recorded:
    """Store native coin that reached direct destinations, each with the newest intent it was sent to."""
    recorded = Recorded()
    by_destination = await intents.by_destinations(tx, chain_id, {rise.destination for rise in rises})
    meant = [next(iter(by_destination.get(rise.destination, [])), None) for rise in rises]
    owners = {intent.intent_id: intent for intent in meant if intent is not None}
    for rise in rises:
        _count(recorded, rise, Reason.WRONG_ASSET)
    _log_rest(recorded, chain_id)
    found = [
        Judged(rise, intent and intent.intent_id, Reason.WRONG_ASSET) for rise, intent in zip(rises, meant, strict=True)
    ]
    await transfers.add_many(tx, found, now=now)
    await follow(tx, owners, recorded, now=now, fresh={(r.tx_hash, r.event_key): 1 for r in rises}, loaded=owners)
    return recorded


async def _owners(
    tx: AsyncConnection, chain_id: int, found: Collection[Transfer], *, late_ms: int
) -> Callable[[Transfer], Intent | None]:
    """Look up whom a page concerns: one query for all references, one for all destinations."""
    references = {t.reference for t in found if t.reference}
    destinations = {t.destination for t in found if not t.reference}
    by_reference = await intents.by_references(tx, chain_id, references) if references else {}
    by_destination = await intents.by_destinations(tx, chain_id, destinations) if destinations else {}

    def owner(transfer: Transfer) -> Intent | None:
        if transfer.reference:
            return by_reference.get(transfer.reference)
        return choose(transfer, by_destination.get(transfer.destination, []), late_ms=late_ms)

    return owner


def _count(recorded: Recorded, transfer: Transfer, reason: Reason | None, times: int = 1) -> None:
    if reason is None:
        recorded.matched += times
    else:
        _reject(recorded, reason, transfer.chain_id, transfer.tx_hash, transfer.event_key, times)


def _reject(recorded: Recorded, reason: Reason, chain_id: int, tx_hash: str, event_key: str, times: int = 1) -> None:
    """Count and log; a stranger who sends thousands of worthless transfers must not choose the size of the log."""
    recorded.rejected[reason] += times
    if recorded.logged[reason] >= LOGGED:
        return
    recorded.logged[reason] += 1
    recorded.logged_times[reason] += times
    more = {} if times == 1 else {"count": times}
    log.log(_level(reason), "REJECT %s", reason, extra=fields(chain=chain_id, tx=tx_hash, event=event_key, **more))


def _level(reason: Reason) -> int:
    # Strangers use the same public proxies: their payments must not drown the lines that concern us.
    return logging.INFO if reason is Reason.UNKNOWN_REFERENCE else logging.WARNING


def _log_rest(recorded: Recorded, chain_id: int) -> None:
    for reason, times in recorded.rejected.items():
        more = times - recorded.logged_times[reason]
        if more > 0:
            log.log(_level(reason), "REJECT %s and more of them", reason, extra=fields(chain=chain_id, more=more))


async def measure_creations(tx: AsyncConnection, chain_id: int, *, by: int, latest: int, now: int) -> Recorded:
    """
    Measure by the chain what was registered before its time was known, by a host clock that was ahead.

    What came meanwhile was judged by that clock: a payment that only looked older than its intent counts now.
    """
    recorded = Recorded()
    ids = await intents.created_earlier(tx, chain_id, by=by, latest=latest)
    owners = await intents.get_many(tx, ids)
    for intent_id, held in (await transfers.of_intents(tx, ids)).items():
        for stored in held:
            if stored.reason is Reason.BEFORE_INTENT and judge_time(stored.block_time, owners[intent_id]) is None:
                await transfers.set_verdict(tx, stored.id, counted=True, reason=None, surplus=None)
    await follow(tx, ids, recorded, now=now)
    return recorded


async def follow(
    tx: AsyncConnection,
    ids: Collection[str],
    recorded: Recorded,
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
        wanted += _about_transfers(after, intent, mine, allocation, fresh)
        queue += _about_confirming(after, intent, allocation, now)
    await transfers.allot_many(tx, [(s.transfer.id, s.counted, s.reason, s.surplus) for s in shares])
    await intents.follow_many(tx, changes, now)
    queue += await summaries.limited(tx, wanted, now=now)
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
        yield Told(intent, EventType.PARTIAL, mine[-1], None)


def _about_confirming(intent: Intent, before: Intent, allocation: Allocation, now: int) -> list[dict[str, Any]]:
    begins = before.status is not IntentStatus.CONFIRMING and intent.status is IntentStatus.CONFIRMING
    if not begins or allocation.completing is None or not intent.wants(EventType.CONFIRMING):
        return []
    return [events.about_transfer(intent, EventType.CONFIRMING, allocation.completing, now)]


def _kind(reason: Reason | None) -> EventType:
    if reason is Reason.LATE:
        return EventType.LATE
    if reason is None or reason in ALLOCATION_REASONS - {Reason.DUPLICATE}:
        return EventType.DETECTED
    return EventType.ANOMALY


async def rewind(
    tx: AsyncConnection,
    chain_id: int,
    rail: Rail,
    to: Cursor,
    *,
    gone: Collection[Cursor],
    now: int,
) -> Recorded:
    """
    Read a rail again from a block that is still canonical, and take back what is no longer where it was.

    `gone` are the blocks with transfers that are not canonical any more.
    """
    recorded = Recorded()
    ids = await transfers.orphan_in(tx, chain_id, rail, gone)
    recorded.reorged = len(ids) + await folds.take_off_in(tx, chain_id, rail, gone)
    await checkpoints.rewind(tx, chain_id, rail, to, now=now)
    concerned = await tell_reorged(tx, ids, recorded, now=now)
    await follow(tx, concerned, recorded, now=now)
    return recorded


async def tell_reorged(tx: AsyncConnection, ids: Collection[int], recorded: Recorded, *, now: int) -> set[str]:
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


_REFUSED = {
    Outcome.SHORT: Reason.FEE_ON_TRANSFER,
    Outcome.NO_TRANSFER_LOG: Reason.NO_TRANSFER_LOG,
    Outcome.REVERTED: Reason.REVERTED,
    Outcome.GONE: Reason.REORGED,
}


async def apply_verdicts(
    tx: AsyncConnection,
    chain_id: int,
    looked: Sequence[tuple[StoredTransfer, Verification]],
    *,
    now: int,
    late_ms: int,
    moment: int | None = None,
) -> tuple[Recorded, list[StoredTransfer]]:
    """
    Store what a second look found and let the intents follow.

    Returns also the transfers that passed and still stand in the block they were looked at in:
    only those may settle anything. `moment` is chain time in ms.
    """
    recorded = Recorded()
    current = await transfers.by_ids(tx, {stored.id for stored, _ in looked})
    owners = await intents.get_many(tx, {stored.intent_id for stored, _ in looked if stored.intent_id})
    behind = {seen.behind for stored, seen in looked if seen.behind and not stored.settled}
    paid_otherwise = await intents.by_references(tx, chain_id, behind) if behind else {}
    owner_of = await _anew(tx, chain_id, looked, late_ms=late_ms)
    passed: list[StoredTransfer] = []
    gone: list[int] = []
    verified: list[tuple[int, str | None, int | None]] = []
    changed: set[str] = set()
    fresh: set[tuple[str, str]] = set()
    for stored, looked_at in looked:
        # The token's side of a payment that names an intent of its own: it must not settle a second one.
        seen = replace(looked_at, outcome=Outcome.NO_TRANSFER_LOG) if looked_at.behind in paid_otherwise else looked_at
        now_stored = current.get(stored.id)
        if now_stored is None or not now_stored.stands or now_stored.block_hash != stored.block_hash:
            continue  # changed while we looked: the next round looks again
        if now_stored.intent_id != stored.intent_id or seen.outcome is Outcome.NOT_YET:
            continue
        owner = owner_of(now_stored, seen)
        if owner.intent_id != stored.intent_id:
            await _own_anew(tx, seen.transfer, stored, owner, now if moment is None else moment, late_ms)
            changed |= {stored.intent_id or "", owner.intent_id}
            verified.append((stored.id, seen.transfer.sender, seen.transfer.block_time))
            continue
        reason = _verdict(seen, now_stored, owners[stored.intent_id or ""])
        facts = (stored.id, seen.transfer.sender, seen.transfer.block_time)
        if reason is None:
            verified.append(facts)
            passed += [now_stored] if now_stored.counted else []
            continue
        if reason is Reason.REORGED:
            gone.append(stored.id)
        else:
            verified.append(facts)
        changed.add(stored.intent_id or "")
        fresh.add(stored.key)
        await transfers.set_verdict(tx, stored.id, counted=False, reason=reason, surplus=None)
        _reject(recorded, reason, chain_id, stored.tx_hash, stored.event_key)
    _log_rest(recorded, chain_id)
    await transfers.verify_many(tx, verified)
    recorded.reorged = len(gone)
    await tell_reorged(tx, gone, recorded, now=now)
    await follow(tx, changed, recorded, now=now, fresh=dict.fromkeys(fresh, 1))
    return recorded, passed


async def _own_anew(
    tx: AsyncConnection, seen: Transfer, stored: StoredTransfer, owner: Intent, moment: int, late_ms: int
) -> None:
    """Give a transfer to whose it really is."""
    reason = judge(seen, owner, now=moment, late_ms=late_ms)
    mine = None if reason is Reason.UNKNOWN_REFERENCE else owner.intent_id
    await transfers.own_anew(tx, stored.id, mine, reason)


async def _anew(
    tx: AsyncConnection, chain_id: int, looked: Sequence[tuple[StoredTransfer, Verification]], *, late_ms: int
) -> Callable[[StoredTransfer, Verification], Intent]:
    """Look up whose plain transfers are, now that the time of their blocks is known."""
    undated = {t.destination for t, _ in looked if t.reference is None and not t.settled and t.block_time is None}
    by_destination = await intents.by_destinations(tx, chain_id, undated) if undated else {}
    current = await intents.get_many(tx, {stored.intent_id for stored, _ in looked if stored.intent_id})

    def owner(stored: StoredTransfer, seen: Verification) -> Intent:
        mine = current[stored.intent_id or ""]
        if stored.settled or stored.reference is not None or stored.block_time is not None:
            return mine
        if seen.outcome is not Outcome.CREDITED:
            return mine
        return choose(seen.transfer, by_destination.get(stored.destination, []), late_ms=late_ms) or mine

    return owner


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


async def anything_to_expire(tx: AsyncConnection, chain_id: int, rail: Rail, read_to: int) -> bool:
    """Say whether `expire` would find anything: a read, so that a quiet chain writes nothing."""
    before = read_to * 1000 - GRACE_MS
    return bool(await intents.due_to_expire(tx, chain_id, rail, before, grace_ms=GRACE_MS, limit=1))


async def expire(tx: AsyncConnection, chain_id: int, rail: Rail, read_to: int, *, now: int, moment: int) -> list[str]:
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
