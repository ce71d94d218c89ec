"""What webhooks say, one struct a subject (docs/events.md); which type of event carries which fields is a table."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from protocol.codec import encode
from protocol.wire import Change, Moment, Units, Wire
from protocol.words import EventType


class EventTransfer(Wire, kw_only=True):
    """One transfer behind an event of an intent; native coin is noticed in a balance, which knows no transaction."""

    tx_hash: str | None
    event_key: str | None = None
    block_number: int | None = None
    block_hash: str | None = None
    token: str | None = None  # the one that moved, which need not be the one that was asked for
    sender: str | None = None
    amount: Units


class BalanceTransfer(Wire, kw_only=True):
    """One transfer behind a change of a balance, as far as the chain told."""

    tx_hash: str | None
    block_number: int | None = None
    sender: str | None = None
    amount: Units


class IntentEvent(Wire, kw_only=True):
    """
    Something happened to an intent; only `payment.confirmed` means that it is paid.

    A field with a default is not in every event: `FIELDS` says which type has which.
    """

    event_id: str  # dedupe by it
    event_type: str
    intent_id: str
    payment_reference: str | None = None
    chain_id: int
    token: str
    amount: Units
    amount_received: Units | None = None
    tx_hash: str | None = None
    block_number: int | None = None
    confirmations: int | None = None
    status: str
    reason: str | None = None
    missing: Units | None = None
    sender: str | None = None
    rail: str | None = None
    destination: str | None = None  # never told by us; one that is another than was agreed is believed
    count: int | None = None  # how many transfers news is about, of which the newest is named
    transfers: tuple[EventTransfer, ...] | None = None
    transfer_count: int | None = None


class BalanceEvent(Wire, kw_only=True):
    """A watched balance is another than the one acknowledged last; whether that is a payment is yours to decide."""

    event_id: str  # dedupe by it
    event_type: str
    watch_id: str
    chain_id: int
    chain_type: str
    address: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    previous_balance: Units
    current_balance: Units
    delta: Change
    change_count: int
    checked_at: Moment
    status: str
    transfers: tuple[BalanceTransfer, ...] | None = None  # None when the chain did not tell
    transfer_count: int | None = None


_HEAD = ("event_id", "event_type", "intent_id", "payment_reference", "chain_id", "token", "amount", "amount_received")
_OF_TRANSFERS = ("tx_hash", "block_number", "reason", "count", "transfers", "transfer_count")
_OF_CONFIRMATION = ("tx_hash", "block_number", "confirmations", "sender", "rail", "transfers", "transfer_count")

# What an event of an intent says beside its head and the intent's status.
FIELDS: Mapping[EventType, tuple[str, ...]] = {
    EventType.CONFIRMED: _OF_CONFIRMATION,
    EventType.DETECTED: _OF_TRANSFERS,
    EventType.CONFIRMING: _OF_TRANSFERS,
    EventType.OVERPAID: _OF_TRANSFERS,
    EventType.LATE: _OF_TRANSFERS,
    EventType.REORGED: _OF_TRANSFERS,
    EventType.ANOMALY: _OF_TRANSFERS,
    EventType.PARTIAL: ("missing",),
    EventType.EXPIRED: (),
}
_NAMES = {field.name: field.encode_name for field in msgspec.structs.fields(IntentEvent)}


def intent_body(event: IntentEvent) -> bytes:
    """Return the body of a webhook about an intent, with the fields of its type and no others."""
    sent = {*_HEAD, "status", *FIELDS[EventType(event.event_type)]}
    return encode({_NAMES[name]: getattr(event, name) for name in IntentEvent.__struct_fields__ if name in sent})
