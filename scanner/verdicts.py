"""What a second look at deep transfers found, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from chains.types import Transfer, TransferProof, Verification, VerificationOutcome
from kernel.store.database import Tx
from scanner.matching import rejection_reason, select_intent, timing_reason
from scanner.model import (
    ALLOCATION_REASONS,
    Intent,
    Reason,
    StoredTransfer,
)
from scanner.page_result import PageResult, count_rejected, log_rest
from scanner.settlement import queue_reorg_events, reallocate
from scanner.store import intents, proofs, transfers

_REFUSED = {
    VerificationOutcome.SHORT: Reason.FEE_ON_TRANSFER,
    VerificationOutcome.NO_TRANSFER_LOG: Reason.NO_TRANSFER_LOG,
    VerificationOutcome.REVERTED: Reason.REVERTED,
    VerificationOutcome.GONE: Reason.REORGED,
}


async def apply_verdicts(
    tx: Tx,
    chain_id: int,
    looked: Sequence[tuple[StoredTransfer, Verification]],
    *,
    now: int,
    late_ms: int,
    moment: int | None = None,
) -> tuple[PageResult, list[StoredTransfer]]:
    """
    Store what a second look found and let the intents follow.

    Returns also the transfers that passed and still stand in the block they were looked at in:
    only those may settle anything. `moment` is chain time in ms.
    """
    recorded, applied = PageResult(), _Applied()
    current = await transfers.by_ids(tx, {stored.id for stored, _ in looked})
    owners = await intents.get_many(tx, {stored.intent_id for stored, _ in looked if stored.intent_id})
    behind = {seen.event_reference for stored, seen in looked if seen.event_reference and not stored.settled}
    paid_otherwise = await intents.by_references(tx, chain_id, behind) if behind else {}
    owner_of = await _anew(tx, chain_id, looked, late_ms=late_ms)
    places = {stored.id: proofs.place_of(seen.proof) for stored, seen in looked if seen.proof is not None}
    whose = await proofs.whose(tx, set(places.values())) if places else {}
    for stored, looked_at in looked:
        # The token's side of a payment that names an intent of its own: it must not settle a second one.
        doubled = looked_at.event_reference in paid_otherwise
        if stored.id in places and whose.setdefault(places[stored.id], stored.id) != stored.id:
            # The same log under another hash, which is a label: a node that renames it once would be credited twice.
            doubled = True
        seen = replace(looked_at, outcome=VerificationOutcome.NO_TRANSFER_LOG) if doubled else looked_at
        now_stored = current.get(stored.id)
        if now_stored is None or _has_changed(stored, now_stored) or seen.outcome is VerificationOutcome.NOT_YET:
            continue  # changed while we looked, or not judged: the next round looks again
        owner = owner_of(now_stored, seen)
        if owner.intent_id != stored.intent_id:
            await _own_anew(tx, seen.transfer, stored, owner, now if moment is None else moment, late_ms)
            applied.moved(stored, seen, owner)
        elif (reason := _verdict(seen, now_stored, owners[stored.intent_id or ""])) is None:
            applied.passes(now_stored, seen)
        else:
            applied.refused(stored, seen, reason)
            await transfers.set_verdict(tx, stored.id, counted=False, reason=reason, surplus=None)
            count_rejected(recorded, reason, chain_id, stored.tx_hash, stored.event_key)
    log_rest(recorded, chain_id)
    await transfers.verify_many(tx, applied.verified)
    await proofs.keep(tx, applied.proofs)
    recorded.reorged = len(applied.gone)
    await queue_reorg_events(tx, applied.gone, recorded, now=now)
    await reallocate(tx, applied.changed, recorded, now=now, fresh=dict.fromkeys(applied.fresh, 1))
    return recorded, applied.passed


@dataclass(slots=True)
class _Applied:
    """What became of the transfers that were looked at."""

    passed: list[StoredTransfer] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    verified: list[tuple[int, str | None, int | None]] = field(default_factory=list)  # id, sender, block time
    changed: set[str] = field(default_factory=set)  # intents
    fresh: set[tuple[str, str]] = field(default_factory=set)  # transfers there is something to tell of
    proofs: dict[int, TransferProof] = field(default_factory=dict)  # of what counts, by row

    def moved(self, stored: StoredTransfer, seen: Verification, owner: Intent) -> None:
        self.changed |= {stored.intent_id or "", owner.intent_id}
        self._verified(stored, seen)

    def passes(self, stored: StoredTransfer, seen: Verification) -> None:
        self.passed += [stored] if stored.counted else []
        if stored.counted and seen.proof is not None:
            self.proofs[stored.id] = seen.proof
        self._verified(stored, seen)

    def refused(self, stored: StoredTransfer, seen: Verification, reason: Reason) -> None:
        if reason is Reason.REORGED:
            self.gone.append(stored.id)  # told as gone: as an anomaly it would be money that lies there
        else:
            self._verified(stored, seen)
            self.fresh.add(stored.key)
        self.changed.add(stored.intent_id or "")

    def _verified(self, stored: StoredTransfer, seen: Verification) -> None:
        self.verified.append((stored.id, seen.transfer.sender, seen.transfer.block_time))


def _has_changed(stored: StoredTransfer, now_stored: StoredTransfer) -> bool:
    """Say whether a transfer is another one than when it was looked at."""
    same = now_stored.block_hash == stored.block_hash and now_stored.intent_id == stored.intent_id
    return not same or not now_stored.is_live_money


async def _own_anew(tx: Tx, seen: Transfer, stored: StoredTransfer, owner: Intent, moment: int, late_ms: int) -> None:
    """Give a transfer to whose it really is."""
    reason = rejection_reason(seen, owner, now=moment, late_ms=late_ms)
    mine = None if reason is Reason.UNKNOWN_REFERENCE else owner.intent_id
    await transfers.own_anew(tx, stored.id, mine, reason)


async def _anew(
    tx: Tx, chain_id: int, looked: Sequence[tuple[StoredTransfer, Verification]], *, late_ms: int
) -> Callable[[StoredTransfer, Verification], Intent]:
    """Look up whose plain transfers are, now that the time of their blocks is known."""
    undated = {t.destination for t, _ in looked if t.reference is None and not t.settled and t.block_time is None}
    by_destination = await intents.by_destinations(tx, chain_id, undated) if undated else {}
    current = await intents.get_many(tx, {stored.intent_id for stored, _ in looked if stored.intent_id})

    def owner(stored: StoredTransfer, seen: Verification) -> Intent:
        mine = current[stored.intent_id or ""]
        if stored.settled or stored.reference is not None or stored.block_time is not None:
            return mine
        if seen.outcome is not VerificationOutcome.CREDITED:
            return mine
        return select_intent(seen.transfer, by_destination.get(stored.destination, []), late_ms=late_ms) or mine

    return owner


def _verdict(seen: Verification, stored: StoredTransfer, intent: Intent) -> Reason | None:
    """Return the reason that takes the place of the one stored; None when nothing new was learnt."""
    if seen.outcome is not VerificationOutcome.CREDITED:
        return _REFUSED[seen.outcome]
    # A reason that is a fact about the transfer stays. The others hold for a transfer that came in time.
    timely = stored.reason is None or stored.reason in ALLOCATION_REASONS
    return timing_reason(seen.transfer.block_time, intent) if timely else None
