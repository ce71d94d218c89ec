"""
Write down what a chain told us: transfers, what follows for intents, and what to tell backends.

Everything here runs inside the caller's transaction, so that a checkpoint never moves without the
findings below it and no state changes without its event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from chains.types import Cursor, Rail, Transfer
from kernel.store.database import Tx
from scanner.matching import rejection_reason, select_intent, timing_reason
from scanner.model import (
    Intent,
    IntentStatus,
    Reason,
)
from scanner.page_result import PageResult, count_strays, count_transfer, log_rest
from scanner.reading.folding import (
    Folded,
    Judged,
    Paid,
    StrayKey,
    by_stray_key,
    fold_owned,
    kind_of,
    member,
    moved_behind,
    plain_kind,
    rail_of,
    unpack,
)
from scanner.settlement import queue_reorg_events, reallocate
from scanner.store import checkpoints, folds, intents, transfers
from scanner.store.transfers import Known

log = logging.getLogger(__name__)

BREATH = 1_000  # transfers judged before others may go on


async def record_page(
    tx: Tx,
    chain_id: int,
    found: Sequence[Transfer],
    *,
    now: int,
    late_ms: int,
    moment: int | None = None,
) -> PageResult:
    """
    Store the transfers of a page and let the intents they name follow.

    `moment` is chain time in ms: how long ago an intent ended is not for the host's clock to say.
    """
    recorded = PageResult()
    if not found:
        return recorded
    known = await transfers.reconcile(tx, chain_id, found)
    found = [known.renamed(transfer) for transfer in found] if known.numbered else found
    judgement = await _judge(tx, chain_id, found, known, moment=now if moment is None else moment, late_ms=late_ms)
    folded = fold_owned(judgement.owned, known.worthless)
    _count(recorded, folded, known)
    held = await folds.parts_of(tx, chain_id, found)
    await _claim(tx, chain_id, held, judgement.owned, now=now)
    if known.gone:
        await transfers.take_over(tx, folded, known)
    await transfers.add_many(tx, folded.rows, now=now)
    await transfers.grow_many(tx, folded.grown.values())
    # Left out before it is stored: blocks are read again, and each time it would be counted and taken off.
    strays = await _without_what_moved_behind(tx, chain_id, held, found, judgement.strays, known, now=now)
    await _record_strays(tx, chain_id, held, folds.unheld(held, strays, now=now), recorded, now=now)
    log_rest(recorded, chain_id)
    await queue_reorg_events(tx, known.orphans, recorded, now=now)
    touched = {each.intent_id for each in folded.rows} | {intent_id for _, intent_id, _ in folded.grown}
    loaded = {intent_id: intent for intent_id, intent in judgement.owners.items() if intent_id in touched}
    await reallocate(tx, known.moved | loaded.keys(), recorded, now=now, fresh=folded.fresh, loaded=loaded)
    return recorded


class _Judgement(NamedTuple):
    """Whom the new transfers of a page concern, and why those that do not count do not."""

    owned: list[Judged]
    owners: dict[str, Intent]
    strays: list[Transfer]  # nobody's


async def _judge(
    tx: Tx, chain_id: int, found: Sequence[Transfer], known: Known, *, moment: int, late_ms: int
) -> _Judgement:
    fresh = [t for t in found if (t.tx_hash, t.event_key) not in known.same] if known.same else found
    by_reference, by_destination = await _owners(tx, chain_id, fresh)
    owned, owners, strays = judgement = _Judgement([], {}, [])
    for number, transfer in enumerate(fresh):
        if number % BREATH == BREATH - 1:
            await asyncio.sleep(0)  # a stranger chooses how many there are; everybody else waits
        if transfer.reference:
            intent = by_reference.get(transfer.reference)
        else:
            intent = select_intent(transfer, by_destination.get(transfer.destination, ()), late_ms=late_ms)
        if intent is None and not known.keys:
            strays.append(transfer)  # as most are: nothing of these transactions was ever stored
            continue
        key = (transfer.tx_hash, transfer.event_key)
        settles = known.settled.get(key)
        if settles is not None and (intent is None or intent.intent_id != settles):
            intent = await intents.get(tx, settles)
        # Most are strangers': a call for each would be felt.
        reason = (
            Reason.UNKNOWN_REFERENCE
            if intent is None
            else rejection_reason(transfer, intent, now=moment, late_ms=late_ms)
        )
        if intent is not None and (reason is not Reason.UNKNOWN_REFERENCE or settles is not None):
            owners[intent.intent_id] = intent
            owned.append(Judged(transfer, intent.intent_id, reason))
        elif key not in known.keys:  # else it was somebody's, and is listed so
            strays.append(transfer)
    return judgement


def _count(recorded: PageResult, folded: Folded, known: Known) -> None:
    """Count what was not stored before: rows that are new, and what others stand for besides."""
    for each in folded.rows:
        if (each.transfer.tx_hash, each.transfer.event_key) not in known.keys:
            count_transfer(recorded, each.transfer, each.reason, each.times)
    for place, row in folded.grown.items():
        recorded.rejected[Reason(place[2])] += row.times - known.worthless[place].times


async def _without_what_moved_behind(
    tx: Tx,
    chain_id: int,
    held: folds.Held,
    found: Collection[Transfer],
    strays: Sequence[Transfer],
    known: Known,
    *,
    now: int,
) -> Sequence[Transfer]:
    """
    Leave out, and take off, which plain transfers of nobody's are the token's side of a payment through the proxy.

    That payment is stored by itself, and whoever reads both would count one sum of money twice. They may
    come in either order: the rails are read apart. `held` is what these blocks brought before this page.
    """
    plain = [transfer for transfer in strays if transfer.reference is None]
    shown = {transfer.tx_hash for transfer in found} if held else set()
    listed = {key for key in held if key[0] in shown and rail_of(key[1]) is Rail.DIRECT}
    if not plain and not listed:
        return strays
    hashes = {transfer.tx_hash for transfer in plain} | {tx_hash for tx_hash, _ in listed}
    paid = await transfers.proxied(tx, chain_id, hashes)
    payments = [each for each in found if each.reference is not None and each.tx_hash in hashes]
    new = _add_nobodys(paid, held, payments, strays, known, hashes)
    # Most are in no transaction of a payment; nothing at all is behind nothing.
    looked_at = {tx_hash for tx_hash, _ in paid} | {transfer.tx_hash for transfer in plain if transfer.amount == 0}
    by_key = by_stray_key(transfer for transfer in plain if transfer.tx_hash in looked_at)
    behind: list[Transfer] = []
    for key, theirs in by_key.items():
        behind += moved_behind(theirs, paid.get(key, ()), listed=_members(held, key), new=key in new)
    await folds.claim(tx, chain_id, held, by_stray_key(behind), now=now)
    # Which of them are behind which is told by the page that shows them; of all together it is clear at once.
    gone = [held[key] for key in listed - by_key.keys() if held[key].amount <= new.get(key, -1)]
    await folds.take_off(tx, chain_id, held, gone, now=now)
    left_out = {(transfer.tx_hash, transfer.event_key) for transfer in behind}
    return [each for each in strays if (each.tx_hash, each.event_key) not in left_out] if left_out else strays


def _add_nobodys(
    paid: dict[StrayKey, list[Paid]],
    held: folds.Held,
    payments: Sequence[Transfer],
    strays: Sequence[Transfer],
    known: Known,
    hashes: Collection[str],
) -> dict[StrayKey, int]:
    """Add nobody's payments to what intents were `paid`; return how much of all a page tells for the first time."""
    for (tx_hash, kind), part in held.items():
        if tx_hash in hashes and rail_of(kind) is Rail.PROXY:
            paid.setdefault((tx_hash, plain_kind(kind)), []).append(Paid(part.amount, part.times))
    if not payments:
        return {}
    nobodys = {(each.tx_hash, each.event_key) for each in strays if each.tx_hash in hashes}
    worthless = {(tx_hash, each) for (tx_hash, *_), row in known.worthless.items() for each in row.set}
    told: dict[StrayKey, frozenset[str]] = {}
    new: dict[StrayKey, int] = {}
    for transfer in {(each.tx_hash, each.event_key): each for each in payments}.values():
        kind, name = kind_of(transfer), member(transfer.event_key)
        mine = (transfer.tx_hash, kind)
        if mine not in told:
            told[mine] = _members(held, mine)
        known_before = (transfer.tx_hash, transfer.event_key) in known.same or (transfer.tx_hash, name) in worthless
        if known_before or name in told[mine]:
            continue
        key = (transfer.tx_hash, plain_kind(kind))
        new[key] = new.get(key, 0) + transfer.amount
        if (transfer.tx_hash, transfer.event_key) in nobodys:
            paid.setdefault(key, []).append(Paid(transfer.amount))
    return new


def _members(held: folds.Held, key: StrayKey) -> frozenset[str]:
    """Return which transfers of a transaction and kind are listed."""
    part = held.get(key)
    return frozenset() if part is None else unpack(part.members, part.event_key)


async def _claim(tx: Tx, chain_id: int, held: folds.Held, owned: Iterable[Judged], *, now: int) -> None:
    """Take off, and out of `held`, what turned out to be somebody's."""
    if held:
        known = {tx_hash for tx_hash, _ in held}  # a page may bring thousands, and few of their transactions are known
        theirs = by_stray_key(each.transfer for each in owned if each.transfer.tx_hash in known)
        await folds.claim(tx, chain_id, held, theirs, now=now)


async def _record_strays(
    tx: Tx, chain_id: int, held: folds.Held, new: Sequence[folds.New], recorded: PageResult, *, now: int
) -> None:
    if new:
        await folds.record(tx, chain_id, held, new, now=now)
        count_strays(recorded, [(group.first, group.times) for _, _, group in new])


async def undated(tx: Tx, chain_id: int, found: Sequence[Transfer]) -> list[Transfer]:
    """
    Return one transfer for each block whose time decides at once what becomes of a transfer in it.

    Where logs carry no time, only that of the block says whether an expired intent was paid in time, and
    which of several intents held an address.
    """
    blind = [t for t in found if t.block_time is None]
    if not blind:
        return []
    by_reference, by_destination = await _owners(tx, chain_id, blind)
    blocks: dict[tuple[int, str | None], Transfer] = {}
    for transfer in blind:
        named = by_reference.get(transfer.reference or "")
        mine = by_destination.get(transfer.destination, []) if transfer.reference is None else [named] if named else []
        of_token = [intent for intent in mine if intent.token_key == transfer.token]
        if len(of_token) > 1 or any(intent.status is IntentStatus.EXPIRED for intent in of_token):
            blocks.setdefault((transfer.block_number, transfer.block_hash), transfer)
    return list(blocks.values())


async def record_coins(tx: Tx, chain_id: int, rises: Sequence[Transfer], *, now: int) -> PageResult:
    """Store native coin that reached direct destinations, each with the newest intent it was sent to."""
    recorded = PageResult()
    by_destination = await intents.by_destinations(tx, chain_id, {rise.destination for rise in rises})
    meant = [next(iter(by_destination.get(rise.destination, [])), None) for rise in rises]
    owners = {intent.intent_id: intent for intent in meant if intent is not None}
    for rise in rises:
        count_transfer(recorded, rise, Reason.WRONG_ASSET)
    log_rest(recorded, chain_id)
    found = [
        Judged(rise, intent and intent.intent_id, Reason.WRONG_ASSET) for rise, intent in zip(rises, meant, strict=True)
    ]
    await transfers.add_many(tx, found, now=now)
    await reallocate(tx, owners, recorded, now=now, fresh={(r.tx_hash, r.event_key): 1 for r in rises}, loaded=owners)
    return recorded


async def _owners(
    tx: Tx, chain_id: int, found: Collection[Transfer]
) -> tuple[dict[str, Intent], dict[str, list[Intent]]]:
    """Look up whom a page may concern, by reference and by destination: one query for all of each."""
    references = {t.reference for t in found if t.reference}
    destinations = {t.destination for t in found if not t.reference}
    by_reference = await intents.by_references(tx, chain_id, references) if references else {}
    by_destination = await intents.by_destinations(tx, chain_id, destinations) if destinations else {}
    return by_reference, by_destination


async def measure_creations(tx: Tx, chain_id: int, *, by: int, latest: int, now: int) -> PageResult:
    """
    Measure by the chain what was registered before its time was known, by a host clock that was ahead.

    What came meanwhile was judged by that clock: a payment that only looked older than its intent counts now.
    """
    recorded = PageResult()
    ids = await intents.created_earlier(tx, chain_id, by=by, latest=latest)
    # Everything that was registered meanwhile may be a hundred thousand: only what was paid early is loaded.
    early = [(t, t.intent_id) for t in await transfers.judged(tx, ids, Reason.BEFORE_INTENT) if t.intent_id]
    owners = await intents.get_many(tx, {owner for _, owner in early})
    timely = [(t, owner) for t, owner in early if timing_reason(t.block_time, owners[owner]) is None]
    for stored, _ in timely:
        await transfers.set_verdict(tx, stored.id, counted=True, reason=None, surplus=None)
    await reallocate(tx, {owner for _, owner in timely}, recorded, now=now)
    return recorded


async def rewind(
    tx: Tx,
    chain_id: int,
    rail: Rail,
    to: Cursor,
    *,
    gone: Collection[Cursor],
    now: int,
) -> PageResult:
    """
    Read a rail again from a block that is still canonical, and take back what is no longer where it was.

    `gone` are the blocks with transfers that are not canonical any more.
    """
    recorded = await take_back(tx, chain_id, rail, gone, now=now)
    await checkpoints.rewind(tx, chain_id, rail, to, now=now)
    return recorded


async def blocks_between(tx: Tx, chain_id: int, rail: Rail, above: int, last: int) -> set[Cursor]:
    """Return the blocks above one height, up to another, in which something that a rail found is stored."""
    between = (tx, chain_id, rail, above, last)
    return await transfers.blocks_between(*between) | await folds.blocks_between(*between)


async def take_back(tx: Tx, chain_id: int, rail: Rail, gone: Collection[Cursor], *, now: int) -> PageResult:
    """Take back what a rail found in blocks that are not canonical any more."""
    recorded = PageResult()
    ids = await transfers.orphan_in(tx, chain_id, rail, gone)
    recorded.reorged = len(ids) + await folds.take_off_in(tx, chain_id, rail, gone, now=now)
    concerned = await queue_reorg_events(tx, ids, recorded, now=now)
    await reallocate(tx, concerned, recorded, now=now)
    return recorded
