"""What webhooks say: event ids and bodies, built from facts without I/O (docs/events.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from chains.types import TokenReceipt
from protocol import codec
from protocol.events import BalanceEvent, BalanceTransfer, EventTransfer, IntentEvent, intent_body
from protocol.wire import Change, Moment, Units
from scanner.model import DeliveryStatus, EventType, Intent, Reason, StoredTransfer, Watch, priority_of
from scanner.store.outbox import INTENT, WATCH

MAX_TRANSFERS = 20  # the newest ones; `transferCount` tells of the rest


def event_id(intent: Intent, event: EventType, what: str) -> str:
    """
    Return an id that follows from the fact itself.

    Telling the same fact again, even from a restored backup, carries the same id, so that a receiver
    that dedupes by it sees each event once.
    """
    fact = "\n".join((str(intent.chain_id), intent.intent_id, intent.payment_reference, event, what))
    return f"evt_{hashlib.sha256(fact.encode()).hexdigest()[:32]}"


def confirmed(intent: Intent, settled: Sequence[StoredTransfer], now: int) -> dict[str, Any]:
    """Return the outbox row of `payment.confirmed`; `intent` carries its evidence already."""
    newest = sorted(settled, key=lambda t: t.order, reverse=True)[:MAX_TRANSFERS]
    return _row(
        intent,
        EventType.CONFIRMED,
        "",
        now,
        tx_hash=intent.tx_hash,
        block_number=intent.block_number,
        confirmations=intent.confirmations,
        status="confirmed",
        sender=intent.sender,
        rail=intent.rail,
        transfers=tuple(transfer_facts(t) for t in newest),
        transfer_count=len(settled),
    )


def about_transfer(
    intent: Intent, event: EventType, transfer: StoredTransfer, now: int, *, reason: Reason | None = None
) -> dict[str, Any]:
    """Return the outbox row of an opt-in event about one transfer."""
    what = f"{transfer.tx_hash}/{transfer.event_key}/{transfer.block_hash}/{reason or ''}"
    return _of_transfers(intent, event, what, transfer, now, reason=reason, count=transfer.times)


def summary(
    intent: Intent, event: EventType, newest: StoredTransfer | None, now: int, *, reason: Reason | None, count: int
) -> dict[str, Any]:
    """Return the outbox row of an event about many transfers, of which the newest is named."""
    last = "" if newest is None else f"{newest.tx_hash}/{newest.event_key}/{newest.block_hash}"
    return _of_transfers(intent, event, f"{count} up to {last}/{reason or ''}", newest, now, reason=reason, count=count)


def _of_transfers(
    intent: Intent,
    event: EventType,
    what: str,
    newest: StoredTransfer | None,
    now: int,
    *,
    reason: Reason | None,
    count: int,
) -> dict[str, Any]:
    return _row(
        intent,
        event,
        what,
        now,
        tx_hash=None if newest is None else newest.tx_hash or None,
        block_number=None if newest is None else newest.block_number,
        status="reorged" if event is EventType.REORGED else intent.status,
        reason=reason,
        count=count,
        transfers=() if newest is None else (transfer_facts(newest),),
        transfer_count=count,
    )


def partial(intent: Intent, received: int, newest: StoredTransfer | None, now: int) -> dict[str, Any]:
    """
    Return the outbox row of `payment.partial`; `newest` is the last transfer that counts.

    A part that a reorganisation moved adds up to the same sum, and is another fact than before it was gone.
    """
    place = "" if newest is None else f"{newest.tx_hash}/{newest.event_key}/{newest.block_hash}"
    missing = Units(intent.amount - received)
    return _row(intent, EventType.PARTIAL, f"{received} up to {place}", now, status=intent.status, missing=missing)


def expired(intent: Intent, now: int) -> dict[str, Any]:
    """Return the outbox row of `intent.expired`."""
    return _row(intent, EventType.EXPIRED, "", now, status="expired")


def transfer_facts(transfer: StoredTransfer) -> EventTransfer:
    """Return what a webhook tells of one transfer."""
    return codec.of(EventTransfer, transfer, tx_hash=transfer.tx_hash or None)


def balance_changed(watch: Watch, balance: int, transfers: Sequence[TokenReceipt] | None, now: int) -> dict[str, Any]:
    """
    Return the outbox row of `balance_changed`; the change is measured from what was acknowledged last.

    `transfers` is None when the chain could not tell what is behind the change.
    """
    before = watch.current_balance
    count = watch.change_count + 1
    fact = "\n".join(
        (str(watch.chain_id), watch.watch_id, str(watch.created_at), str(count), str(before), str(balance))
    )
    identity = f"evt_{hashlib.sha256(fact.encode()).hexdigest()[:32]}"
    newest = None if transfers is None else list(reversed(transfers))[:MAX_TRANSFERS]
    event = codec.of(
        BalanceEvent,
        watch,
        event_id=identity,
        event_type=EventType.BALANCE_CHANGED,
        previous_balance=Units(before),
        current_balance=Units(balance),
        delta=Change(balance - before),
        change_count=count,
        checked_at=Moment(now),
        status="balance_changed",
        transfers=None if newest is None else tuple(codec.of(BalanceTransfer, each) for each in newest),
        transfer_count=None if transfers is None else len(transfers),
    )
    return _queued(
        event.event_id,
        EventType.BALANCE_CHANGED,
        codec.encode(event),
        now,
        subject_kind=WATCH,
        subject_id=watch.watch_id,
        chain_id=watch.chain_id,
        receiver=watch.receiver,
    )


def _row(intent: Intent, event: EventType, what: str, now: int, **said: Any) -> dict[str, Any]:
    identity = event_id(intent, event, what)
    told = IntentEvent(
        event_id=identity,
        event_type=event,
        intent_id=intent.intent_id,
        payment_reference=intent.payment_reference,
        chain_id=intent.chain_id,
        token=intent.token_address,
        amount=Units(intent.amount),
        amount_received=Units(intent.amount_received),
        **said,
    )
    return _queued(
        identity,
        event,
        intent_body(told),
        now,
        subject_kind=INTENT,
        subject_id=intent.intent_id,
        chain_id=intent.chain_id,
        receiver=intent.receiver,
    )


def _queued(identity: str, event: EventType, body: bytes, now: int, **subject: Any) -> dict[str, Any]:
    """Return the row of an event that waits for its first attempt."""
    return {
        "event_id": identity,
        **subject,
        "event_type": event,
        "priority": priority_of(event).value,
        "body": body.decode(),
        "status": DeliveryStatus.PENDING,
        "round": 1,
        "attempts": 0,
        "next_attempt_at": now,
        "created_at": now,
    }
