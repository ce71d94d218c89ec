"""Which token movement stands behind which proxy event: a pure rule, so that nothing counts twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chains.evm.address import ZERO_ADDRESS
from chains.evm.decode import Block, Credit, Receipt
from chains.types import Outcome, Transfer, Verification


class Pairing(NamedTuple):
    """What the token itself says about one proxy event."""

    outcome: Outcome  # CREDITED, SHORT or NO_TRANSFER_LOG
    credited: int  # base units, never more than the event claims
    sender: str | None  # who the token was taken from


def pair(events: Sequence[Transfer], movements: Sequence[Credit]) -> dict[int, Pairing]:
    """
    Give every proxy event of one transaction its own `Transfer` log; answers by the event's log index.

    Anyone may emit the event's twin many times in a transaction, and the event shows the amount that
    was asked for: only a movement that no earlier event has used proves that this one was paid.
    """
    return _use_up(events, sorted(movements))


def _use_up(events: Sequence[Transfer], unused: list[Credit]) -> dict[int, Pairing]:
    """Pair events with movements; what is left in `unused` is behind none of them."""
    return {e.log_index or 0: _pair_one(e, unused) for e in sorted(events, key=lambda e: e.log_index or 0)}


def _pair_one(event: Transfer, unused: list[Credit]) -> Pairing:
    # The fee moves last: taken first, it cannot be mistaken for the payment when both go to one address.
    fee_paid = _take_fee(event, unused)
    credit = _take(unused, event, event.destination, event.amount)
    if credit is None:
        return Pairing(Outcome.NO_TRANSFER_LOG, 0, None)
    credited = min(credit.value, event.amount)
    whole = fee_paid and credited == event.amount
    return Pairing(Outcome.CREDITED if whole else Outcome.SHORT, credited, credit.source)


def _take_fee(event: Transfer, unused: list[Credit]) -> bool:
    """Use up the fee's movement; say whether the fee, if there is one, was paid in full."""
    if event.fee_amount == 0 or event.fee_address in {None, ZERO_ADDRESS}:
        return True
    fee = _take(unused, event, event.fee_address or ZERO_ADDRESS, event.fee_amount)
    return fee is not None and fee.value >= event.fee_amount


def _take(unused: list[Credit], event: Transfer, destination: str, amount: int) -> Credit | None:
    """Take the movement that fits best: the exact value before any other, the latest before earlier ones."""
    fitting = [
        credit
        for credit in unused
        if credit.token == event.token
        and credit.destination == destination
        and credit.log_index < (event.log_index or 0)
    ]
    best = max(fitting, key=lambda credit: (credit.value == amount, credit.log_index), default=None)
    if best is not None:
        unused.remove(best)
    return best


def judge(transfer: Transfer, receipt: Receipt, block: Block) -> Verification:
    """Say what a receipt of the canonical chain proves of a transfer."""
    seen = transfer._replace(block_time=block.time, sender=receipt.sender)
    if not receipt.succeeded:
        return Verification(seen, Outcome.REVERTED, 0)
    if transfer.reference is None:
        return _judge_direct(seen, receipt)
    event = next((event for event in receipt.events if event.log_index == transfer.log_index), None)
    if event is None or _claim(event) != _claim(transfer):
        return Verification(transfer, Outcome.GONE, 0)
    found = pair(receipt.events, receipt.credits)[event.log_index or 0]
    return Verification(seen._replace(sender=found.sender or receipt.sender), found.outcome, found.credited)


def _judge_direct(transfer: Transfer, receipt: Receipt) -> Verification:
    """
    A plain transfer is the token's own log: it is there as it was seen, or it is gone.

    A log that stands behind a proxy event is that payment, which must not settle a second intent.
    """
    plain = sorted(receipt.credits)
    _use_up(receipt.events, plain)
    for credit in receipt.credits:
        if credit.log_index == transfer.log_index:
            same = (credit.token, credit.destination, credit.value) == (
                transfer.token,
                transfer.destination,
                transfer.amount,
            )
            if same and credit not in plain:
                return Verification(transfer._replace(sender=credit.source), Outcome.NO_TRANSFER_LOG, 0)
            if same:
                return Verification(transfer._replace(sender=credit.source), Outcome.CREDITED, credit.value)
    return Verification(transfer, Outcome.GONE, 0)


def _claim(transfer: Transfer) -> Transfer:
    """Return what the log itself says, without what was learnt elsewhere."""
    return transfer._replace(block_time=None, sender=None)
