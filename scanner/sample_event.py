"""What a test event says: a body of each type as a real one would have it, marked, about nothing that exists."""

from __future__ import annotations

from protocol.codec import as_object, encode
from protocol.events import BalanceEvent, EventTransfer, IntentEvent, intent_body
from protocol.wire import Change, Moment, Units
from scanner.model import EventType, Reason

SUBJECT = "test"
CHAIN_ID = 97
TOKEN = "0x109F54Dab34426D5477986b0460aE5dFBA65f022"  # noqa: S105 - a contract
SENDER = "0x1111111111111111111111111111111111111111"
TX_HASH = "0x" + "00" * 32
AMOUNT = Units(1_000_000)
_TRANSFER = EventTransfer(tx_hash=TX_HASH, event_key="0", block_number=1, token=TOKEN, sender=SENDER, amount=AMOUNT)
_STATUSES = {
    EventType.CONFIRMED: "confirmed",
    EventType.DETECTED: "pending",
    EventType.CONFIRMING: "confirming",
    EventType.PARTIAL: "pending",
    EventType.OVERPAID: "confirming",
    EventType.LATE: "expired",
    EventType.REORGED: "reorged",
    EventType.ANOMALY: "pending",
    EventType.EXPIRED: "expired",
}
_REASONS = {EventType.OVERPAID: Reason.OVERPAID_SURPLUS, EventType.LATE: Reason.LATE, EventType.ANOMALY: Reason.SPAM}


def sample_body(event_id: str, event_type: EventType, now: int) -> bytes:
    """Return a body of a type with `test: true`."""
    body = _balance(event_id, now) if event_type is EventType.BALANCE_CHANGED else _intent(event_id, event_type)
    found = as_object(body)
    assert found is not None  # noqa: S101 - we have just written it
    return encode({**found, "test": True})


def _intent(event_id: str, event_type: EventType) -> bytes:
    return intent_body(
        IntentEvent(
            event_id=event_id,
            event_type=event_type,
            intent_id=SUBJECT,
            payment_reference="0x0000000000000000",
            chain_id=CHAIN_ID,
            token=TOKEN,
            amount=AMOUNT,
            amount_received=AMOUNT,
            tx_hash=TX_HASH,
            block_number=1,
            confirmations=1,
            status=_STATUSES[event_type],
            reason=_REASONS.get(event_type),
            missing=Units(1),
            sender=SENDER,
            rail="direct",
            count=1,
            transfers=(_TRANSFER,),
            transfer_count=1,
        )
    )


def _balance(event_id: str, now: int) -> bytes:
    return encode(
        BalanceEvent(
            event_id=event_id,
            event_type=EventType.BALANCE_CHANGED,
            watch_id=SUBJECT,
            chain_id=CHAIN_ID,
            chain_type="evm",
            address=SENDER,
            token_address=TOKEN,
            token_symbol="USDT",  # noqa: S106 - a symbol
            decimals=6,
            previous_balance=Units(0),
            current_balance=AMOUNT,
            delta=Change(AMOUNT),
            change_count=1,
            checked_at=Moment(now),
            status="balance_changed",
            transfers=(),
            transfer_count=0,
        )
    )
