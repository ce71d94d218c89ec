"""News about an intent that credits nothing: on its way, in part, late, beside the point, or taken back."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from clients.python.amn_scanner_client import Event, IntentEvent, Transfer
from marketplace.model import OPEN_PAYMENTS, EscrowState, Payment, PaymentStatus
from marketplace.payments import settlement
from marketplace.payments.event_reader import ENDED_UNPAID, PARTIAL, EventReading
from marketplace.payments.observation import SHOWN
from marketplace.payments.spelling import normal_tx_hash
from marketplace.payments.unapplied_funds import (
    UNAPPLIED,
    add_up,
    has_paid,
    has_part,
    record_all_unapplied,
    record_part,
    record_unapplied,
    record_unread_unapplied,
    set_part,
)
from marketplace.store import inbox, payments
from marketplace.unit_of_work import UnitOfWork

log = logging.getLogger(__name__)

AFTER_THE_END = frozenset({"cancelled", "late"})  # reasons of money that is told of by itself
REORGED = "payment.reorged"
CREDITED = frozenset({PaymentStatus.COMPLETED, PaymentStatus.REFUNDED})
BEFORE_DEPTH = frozenset({"pending", "confirming", "expired"})  # the intent's status in the events of older scanners
ON_ITS_WAY = frozenset({"payment.detected", "payment.confirming"})


async def wait_for_list(work: UnitOfWork, payment: Payment, why: str) -> str:
    """Note that money was confirmed whose transfers cannot be read now; the sweep reads them."""
    log.warning("[webhook] the transfers of %s cannot be read: %s", payment.id, why)
    if payment.hold_reason is None:
        values = {"status": PaymentStatus.PROCESSING}
        await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **values)
    return inbox.UNREAD


async def record(work: UnitOfWork, payment_id: str, event: Event | None, reading: EventReading, family: str) -> str:
    """Keep news about an intent, and return what became of it."""
    payment = await payments.get(work.tx, payment_id)
    if payment is None or not isinstance(event, IntentEvent):
        raise LookupError(f"payment {payment_id} is gone")
    if event.event_type in UNAPPLIED:
        await _unapplied(work, payment, event, reading)
    elif event.event_type == PARTIAL and payment.status in ENDED_UNPAID and reading.listed is not None:
        await _set_part(work, payment, event, reading.listed)
    elif event.event_type in ON_ITS_WAY:
        observed = {"status": PaymentStatus.PROCESSING, "evidence": _document(event), "tx_hash": event.tx_hash}
        await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PENDING,), **observed)
    elif event.event_type == PARTIAL and payment.status in ENDED_UNPAID:
        await record_part(work, payment, event.amount_received or 0, _document(event))
    elif event.event_type == PARTIAL and event.missing is not None and payment.hold_reason is None:
        part = {"status": PaymentStatus.PROCESSING, "escrow_state": EscrowState.PARTIAL, "evidence": _document(event)}
        if await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **part):
            await settlement.tell_underpaid(work, payment, event.missing)
    elif event.event_type == REORGED:
        await _reorged(work, payment, event, family)
    return inbox.UNREAD if reading.unlisted else inbox.NOTED


async def _unapplied(work: UnitOfWork, payment: Payment, event: IntentEvent, reading: EventReading) -> None:
    """List money that settles nothing, and take off a part what is told of by itself now."""
    several = (event.count or 1) > 1
    if several and reading.listed is not None:
        await record_all_unapplied(work, payment, event, _document(event), add_up(reading.listed, event.reason))
    elif several:
        await record_unread_unapplied(work, payment, event, _document(event))
    elif not await has_paid(work, payment, event):
        await record_unapplied(work, payment, event, _document(event))
    if reading.listed is not None and payment.status in ENDED_UNPAID and await has_part(work.tx, payment):
        await _set_part(work, payment, event, reading.listed)


async def _set_part(work: UnitOfWork, payment: Payment, event: IntentEvent, listed: Iterable[Transfer]) -> None:
    counted, beside = 0, 0
    for each in listed:
        counted += each.amount if each.counted else 0
        beside += each.amount if each.reason in AFTER_THE_END else 0
    received = (event.amount_received or 0) if event.event_type == PARTIAL else 0
    await set_part(work, payment, counted, beside, received, _document(event))


async def _reorged(work: UnitOfWork, payment: Payment, event: IntentEvent, family: str) -> None:
    """Block what was credited and may be gone; open again what was on its way."""
    if payment.status in CREDITED:
        if await _took_back(work, payment, event, family):
            await payments.set_observed(work.tx, payment.id, work.now, reorged_at=work.now)
            await record_unapplied(work, payment, event, _document(event))
    elif payment.hold_reason is None:
        gone = {"status": PaymentStatus.PENDING, "escrow_state": None, "evidence": _document(event), "tx_hash": None}
        await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PROCESSING,), **gone)


async def _took_back(work: UnitOfWork, payment: Payment, event: IntentEvent, family: str) -> bool:
    """
    Say whether what paid may be gone: all news of it but what is plainly about something else.

    That is another transaction, or what moved while it was still on its way, however late it is told.
    """
    if event.status in BEFORE_DEPTH:
        return False
    # All of them: of many a payment shows the newest to people, and strangers choose how many there are.
    credited = await inbox.credited_blocks(work.tx, payment.id)
    if _stood_elsewhere(credited, event, family):
        return False
    told = [event.tx_hash] if event.tx_hash is not None else [each.tx_hash for each in event.transfers or ()]
    named = {normal_tx_hash(tx_hash, family) for tx_hash in told if tx_hash is not None}
    return not named or bool(named & credited.keys())


def _stood_elsewhere(credited: Mapping[str, str | None], event: IntentEvent, family: str) -> bool:
    """
    Say whether everything an event is about stood in other blocks than what was credited.

    A payment that moved before it was deep is told so, and may be told after its confirmation: what settles goes
    first in the queue (docs/rules.md, urgent first). Without the hashes of both nothing is ruled out.
    """
    told = [(normal_tx_hash(each.tx_hash or "", family), each.block_hash) for each in event.transfers or ()]
    return bool(told) and all(
        tx is not None and None not in {here, credited.get(tx)} and here != credited.get(tx) for tx, here in told
    )


def _document(event: IntentEvent) -> dict[str, object]:
    return {
        "chainId": event.chain_id,
        "tokenAddress": event.token,
        "amountReceivedBaseUnits": None if event.amount_received is None else str(event.amount_received),
        "txHash": event.tx_hash,
        "blockNumber": event.block_number,
        "confirmations": event.confirmations or 0,
        "sender": event.sender,
        "reason": event.reason or event.event_type,
        "transfers": [
            {
                "txHash": t.tx_hash,
                "eventKey": t.event_key,
                "blockHash": t.block_hash,
                "amountBaseUnits": str(t.amount),
                "sender": t.sender,
            }
            for t in (event.transfers or ())[-SHOWN:]
        ],
    }
