"""What a transfer means for the intent it names: pure decisions, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chains.types import Transfer
from scanner.model import ALLOCATION_REASONS, SETTLED, Intent, IntentStatus, Reason, StoredTransfer

# A block is made a little after the payment was sent: this long after its expiry an intent still takes one.
GRACE_MS = 60 * 1000
# A buyer may pay before the backend has registered the intent.
LOOK_BACK_MS = 10 * 60 * 1000


def rejection_reason(transfer: Transfer, intent: Intent | None, *, now: int, late_ms: int) -> Reason | None:
    """
    Say why a transfer cannot count towards the intent its reference names; None when it can.

    `now` is chain time, in ms. Whether it completes, exceeds or repeats the payment is decided by `allocate`.
    """
    if intent is None or _forgotten(intent, now, late_ms):
        return Reason.UNKNOWN_REFERENCE
    if transfer.token != intent.token_key:
        return Reason.WRONG_TOKEN
    if transfer.destination != intent.destination_key:
        return Reason.WRONG_DESTINATION
    if transfer.amount == 0:
        return Reason.ZERO_AMOUNT
    return _fee_reason(transfer, intent) or _ended_reason(intent) or timing_reason(transfer.block_time, intent)


def select_intent(transfer: Transfer, intents: Sequence[Intent], *, late_ms: int) -> Intent | None:
    """
    Return the direct intent a plain transfer belongs to; `intents` share its destination, newest first.

    Of those for that token the one that held the address when the block was made, else whoever held it
    for another token.
    """
    of_token = [intent for intent in intents if intent.token_key == transfer.token]
    return _holder(transfer, of_token or intents, late_ms)


def _holder(transfer: Transfer, intents: Sequence[Intent], late_ms: int) -> Intent | None:
    """
    Return who held an address when a transfer was sent; `intents` used it one after the other, newest first.

    A second payment of what an earlier intent was paid, or one that came late, must not settle a later
    intent at the same address: what was sent before the later one began belongs to the earlier one.
    """
    block_time = transfer.block_time
    if block_time is None:  # decided once the block is read
        live = [intent for intent in intents if intent.holds_address]
        return next(iter([*live, *intents]), None)
    for place, intent in enumerate(intents):
        earlier = intents[place + 1 :]
        if not earlier or _began_before(transfer.block_number, block_time, intent):
            return intent
        if block_time * 1000 >= intent.begins_at - LOOK_BACK_MS and _was_free(intent, earlier, late_ms):
            return intent
    return None


def _began_before(block_number: int, block_time: int, intent: Intent) -> bool:
    """Say whether an intent began before a block. Several blocks may carry one second: their numbers tell."""
    sent_after = intent.chain_position is None or block_number > intent.chain_position
    return sent_after and block_time * 1000 >= intent.chain_created_at


def _was_free(intent: Intent, earlier: Sequence[Intent], late_ms: int) -> bool:
    """Say whether nobody held the address, or was watched for late money there, shortly before an intent."""
    since = intent.chain_created_at - max(LOOK_BACK_MS, late_ms)
    return all(other.ended_at is not None and other.ended_at < since for other in earlier)


def _forgotten(intent: Intent, now: int, late_ms: int) -> bool:
    ended = intent.expired_at if intent.status is IntentStatus.EXPIRED else None
    return ended is not None and now > ended + late_ms


def _fee_reason(transfer: Transfer, intent: Intent) -> Reason | None:
    """The fee is part of what was issued: anything else was not asked for."""
    if transfer.fee_amount == intent.fee_amount == 0:
        return None
    if transfer.fee_amount < intent.fee_amount:
        return Reason.UNDERPAID
    if transfer.fee_amount > intent.fee_amount or transfer.fee_address != intent.fee_address:
        return Reason.WRONG_DESTINATION
    return None


def _ended_reason(intent: Intent) -> Reason | None:
    """
    Judge a transfer that is seen only now, when the backend may have ended the intent.

    An expired intent takes what came in time, whenever it is seen: only block time says what is late.
    """
    return Reason.CANCELLED if intent.cancelled_at is not None else None


def timing_reason(block_time: int | None, intent: Intent) -> Reason | None:
    """
    Judge when a transfer happened; `block_time` in unix seconds, None while the block is unread.

    What counted while its intent was live still counts when it is looked at again after the end.
    """
    if block_time is None or intent.status in SETTLED:
        return None
    if block_time * 1000 < intent.begins_at - LOOK_BACK_MS:
        return Reason.BEFORE_INTENT
    return Reason.LATE if is_late(block_time, intent) else None


def is_late(block_time: int, intent: Intent) -> bool:
    """Say whether a block (unix seconds) was made too late for an intent."""
    return intent.expires_at is not None and block_time * 1000 > intent.expires_at + GRACE_MS


@dataclass(frozen=True, slots=True)
class AllocatedTransfer:
    """What one transfer contributes to its intent."""

    transfer: StoredTransfer
    counted: bool
    reason: Reason | None
    surplus: int | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """How the transfers of one intent add up."""

    shares: tuple[AllocatedTransfer, ...]
    received: int
    completing_transfer: StoredTransfer | None  # the transfer that brought the sum to the amount

    @property
    def counted(self) -> list[StoredTransfer]:
        return [share.transfer for share in self.shares if share.counted]

    @property
    def surplus(self) -> int:
        return sum(share.surplus or 0 for share in self.shares)


def allocate(amount: int, transfers: Sequence[StoredTransfer], *, fee_amount: int = 0) -> Allocation:
    """
    Add up an intent's transfers in chain order until the amount is reached.

    Depends on the set of transfers alone, not on the order they were seen in, so that re-reading,
    restarting and reorganisations end in the same answer. What settled the intent goes first.
    A transfer whose fee is below `fee_amount` adds nothing, however large it is.
    """
    eligible = [
        t for t in transfers if (t.reason is None or t.reason in ALLOCATION_REASONS) and t.fee_amount >= fee_amount
    ]
    eligible.sort(key=lambda t: (not t.settled, t.order))
    received = 0
    completing_transfer: StoredTransfer | None = None
    summed: list[StoredTransfer] = []
    duplicates: list[StoredTransfer] = []
    for transfer in eligible:
        if completing_transfer is not None:
            duplicates.append(transfer)
            continue
        summed.append(transfer)
        received += transfer.amount
        if received >= amount:
            completing_transfer = transfer
    shares = [_share(t, completing_transfer, received - amount) for t in summed]
    shares += [AllocatedTransfer(t, counted=False, reason=Reason.DUPLICATE) for t in duplicates]
    return Allocation(tuple(shares), received, completing_transfer)


def _share(transfer: StoredTransfer, completing_transfer: StoredTransfer | None, over: int) -> AllocatedTransfer:
    if completing_transfer is None:
        return AllocatedTransfer(transfer, counted=True, reason=Reason.UNDERPAID)
    if transfer is completing_transfer and over > 0:
        return AllocatedTransfer(transfer, counted=True, reason=Reason.OVERPAID_SURPLUS, surplus=over)
    return AllocatedTransfer(transfer, counted=True, reason=None)
