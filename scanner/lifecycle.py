"""Where an intent goes next: pure decisions, no I/O (docs/api.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from chains.types import Head
from config.catalog import Finality
from scanner.matching import Allocation, allocate
from scanner.model import Intent, IntentStatus, StoredTransfer

NOTHING, ANYTHING = -1, 2**62  # block numbers


def next_status(intent: Intent, allocation: Allocation) -> IntentStatus:
    """Return the status that follows from what is on the canonical chain; confirming is decided elsewhere."""
    match intent.status:
        case IntentStatus.PENDING | IntentStatus.CONFIRMING | IntentStatus.EXPIRED:
            if intent.cancelled_at is not None:
                return IntentStatus.EXPIRED
            if allocation.completing_transfer is not None:  # of an expired intent only what came in time counts
                return IntentStatus.CONFIRMING
            ended = intent.status is IntentStatus.EXPIRED or intent.expired_at is not None
            return IntentStatus.EXPIRED if ended else IntentStatus.PENDING
        case IntentStatus.CONFIRMED | IntentStatus.WEBHOOK_FAILED:
            return intent.status
        case _:
            assert_never(intent.status)


def depth(block_number: int, head: int) -> int:
    """Return how many blocks stand on a block, itself included; 0 when the head is below it."""
    return max(0, head - block_number + 1)


def with_depth(intent: Intent, head: int | None) -> Intent:
    """
    Return an intent with as many confirmations as the block of its payment has under a head, capped at what it needs.

    It is counted when somebody asks: written down at each block it would be a row a block for everybody who waits.
    """
    if head is None or intent.status is not IntentStatus.CONFIRMING or intent.block_number is None:
        return intent
    return intent._replace(confirmations=min(depth(intent.block_number, head), intent.confirmations_required))


class Horizon(NamedTuple):
    """Below what blocks are irreversible: both limits count."""

    tip: int  # depth is counted from here
    final: int  # nothing above is deep, however little is asked


def horizon(head: Head, finality: Finality) -> Horizon:
    """Return the chain's policy as limits on block numbers."""
    final = NOTHING if head.finalized is None else head.finalized
    match finality:
        case Finality.DEPTH:
            return Horizon(head.position, ANYTHING)
        case Finality.FINALIZED:
            return Horizon(ANYTHING, final)
        case Finality.BOTH:
            return Horizon(head.position, final)
        case _:
            assert_never(finality)


def is_sufficiently_confirmed(block_number: int, head: Head, required: int, finality: Finality) -> bool:
    """Say whether a block is as irreversible as the chain's policy and the intent ask."""
    tip, final = horizon(head, finality)
    return block_number <= final and tip - block_number + 1 >= required


def ready(intent: Intent, allocation: Allocation, head: Head, finality: Finality) -> list[StoredTransfer]:
    """Return the transfers to look at again before the intent is confirmed; empty while it is too early."""
    if allocation.completing_transfer is None:
        return []
    counted = allocation.counted
    deep = all(
        is_sufficiently_confirmed(t.block_number, head, intent.confirmations_required, finality) for t in counted
    )
    return counted if deep else []


def due_for_verification(
    intent: Intent, held: Sequence[StoredTransfer], head: Head, finality: Finality
) -> list[StoredTransfer]:
    """Return what is to be looked at again: the whole sum when it is deep enough, and what nobody has looked at."""
    whole: list[StoredTransfer] = []
    if intent.status is IntentStatus.CONFIRMING:
        whole = ready(intent, allocate(intent.amount, held, fee_amount=intent.fee_amount), head, finality)
    deep = [
        t
        for t in held
        if _unverified(t) and is_sufficiently_confirmed(t.block_number, head, intent.confirmations_required, finality)
    ]
    known = {transfer.id for transfer in whole}  # comparing rows would cost the square of a stranger's dust
    return whole + [t for t in deep if t.id not in known]


def _unverified(transfer: StoredTransfer) -> bool:
    return transfer.is_live_money and not transfer.verified
