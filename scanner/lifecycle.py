"""Where an intent goes next: pure decisions, no I/O (scanner.md section 5)."""

from __future__ import annotations

from typing import assert_never

from chains.types import Head
from config.catalog import Finality
from scanner.matching import Allocation
from scanner.model import Intent, IntentStatus, StoredTransfer


def next_status(intent: Intent, allocation: Allocation) -> IntentStatus:
    """Return the status that follows from what is on the canonical chain; confirming is decided elsewhere."""
    match intent.status:
        case IntentStatus.PENDING | IntentStatus.CONFIRMING:
            return IntentStatus.PENDING if allocation.completing is None else IntentStatus.CONFIRMING
        case IntentStatus.CONFIRMED | IntentStatus.WEBHOOK_FAILED | IntentStatus.EXPIRED:
            return intent.status
        case _:
            assert_never(intent.status)


def depth(block_number: int, head: Head) -> int:
    """Return how many blocks stand on a block, itself included; 0 when the head is below it."""
    return max(0, head.position - block_number + 1)


def is_deep(block_number: int, head: Head, required: int, finality: Finality) -> bool:
    """Say whether a block is as irreversible as the chain's policy and the intent ask."""
    final = head.finalized is not None and block_number <= head.finalized
    deep = depth(block_number, head) >= required
    match finality:
        case Finality.DEPTH:
            return deep
        case Finality.FINALIZED:
            return final
        case Finality.BOTH:
            return deep and final
        case _:
            assert_never(finality)


def ready(intent: Intent, allocation: Allocation, head: Head, finality: Finality) -> list[StoredTransfer]:
    """Return the transfers to look at again before the intent is confirmed; empty while it is too early."""
    if allocation.completing is None:
        return []
    counted = allocation.counted
    deep = all(is_deep(t.block_number, head, intent.confirmations_required, finality) for t in counted)
    return counted if deep else []
