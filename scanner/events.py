"""What webhooks say: event ids and bodies, built from facts without I/O (docs/events.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from chains.types import Movement
from kernel.clock import rfc3339
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
        {
            "txHash": intent.tx_hash,
            "blockNumber": intent.block_number,
            "confirmations": intent.confirmations,
            "status": "confirmed",
            "sender": intent.sender,
            "rail": intent.rail,
            "transfers": [transfer_facts(t) for t in newest],
            "transferCount": len(settled),
        },
    )


def about_transfer(
    intent: Intent, event: EventType, transfer: StoredTransfer, now: int, *, reason: Reason | None = None
) -> dict[str, Any]:
    """Return the outbox row of an opt-in event about one transfer."""
    return _row(
        intent,
        event,
        f"{transfer.tx_hash}/{transfer.event_key}/{transfer.block_hash}/{reason or ''}",
        now,
        {
            "txHash": transfer.tx_hash or None,
            "blockNumber": transfer.block_number,
            "status": "reorged" if event is EventType.REORGED else intent.status,
            "reason": reason,
            "count": transfer.times,
            "transfers": [transfer_facts(transfer)],
            "transferCount": transfer.times,
        },
    )


def summary(
    intent: Intent, event: EventType, newest: StoredTransfer | None, now: int, *, reason: Reason | None, count: int
) -> dict[str, Any]:
    """Return the outbox row of an event about many transfers, of which the newest is named."""
    last = "" if newest is None else f"{newest.tx_hash}/{newest.event_key}/{newest.block_hash}"
    return _row(
        intent,
        event,
        f"{count} up to {last}/{reason or ''}",
        now,
        {
            "txHash": None if newest is None else newest.tx_hash or None,
            "blockNumber": None if newest is None else newest.block_number,
            "status": "reorged" if event is EventType.REORGED else intent.status,
            "reason": reason,
            "count": count,
            "transfers": [] if newest is None else [transfer_facts(newest)],
            "transferCount": count,
        },
    )


def partial(intent: Intent, received: int, now: int) -> dict[str, Any]:
    """Return the outbox row of `payment.partial`."""
    fields = {"status": intent.status, "missing": str(intent.amount - received)}
    return _row(intent, EventType.PARTIAL, str(received), now, fields)


def expired(intent: Intent, now: int) -> dict[str, Any]:
    """Return the outbox row of `intent.expired`."""
    return _row(intent, EventType.EXPIRED, "", now, {"status": "expired"})


def transfer_facts(transfer: StoredTransfer) -> dict[str, Any]:
    """Return what a webhook tells of one transfer."""
    return {
        "txHash": transfer.tx_hash or None,
        "eventKey": transfer.event_key,
        "blockNumber": transfer.block_number,
        "blockHash": transfer.block_hash,
        "token": transfer.token,
        "sender": transfer.sender,
        "amount": str(transfer.amount),
    }


def balance_changed(watch: Watch, balance: int, transfers: Sequence[Movement] | None, now: int) -> dict[str, Any]:
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
    newest = None if transfers is None else [_movement(m) for m in list(reversed(transfers))[:MAX_TRANSFERS]]
    body = {
        "eventId": identity,
        "eventType": EventType.BALANCE_CHANGED,
        "watchId": watch.watch_id,
        "chainId": watch.chain_id,
        "chainType": watch.chain_type,
        "address": watch.address,
        "tokenAddress": watch.token_address,
        "tokenSymbol": watch.token_symbol,
        "decimals": watch.decimals,
        "previousBalance": str(before),
        "currentBalance": str(balance),
        "delta": str(balance - before),
        "changeCount": count,
        "checkedAt": rfc3339(now),
        "status": "balance_changed",
        "transfers": newest,
        "transferCount": None if transfers is None else len(transfers),
    }
    return {
        "event_id": identity,
        "subject_kind": WATCH,
        "subject_id": watch.watch_id,
        "event_type": EventType.BALANCE_CHANGED,
        "priority": priority_of(EventType.BALANCE_CHANGED).value,
        "chain_id": watch.chain_id,
        "body": orjson.dumps(body).decode(),
        "receiver": watch.receiver,
        "status": DeliveryStatus.PENDING,
        "round": 1,
        "attempts": 0,
        "next_attempt_at": now,
        "created_at": now,
    }


def _movement(movement: Movement) -> dict[str, Any]:
    return {
        "txHash": movement.tx_hash,
        "blockNumber": movement.block_number,
        "sender": movement.sender,
        "amount": str(movement.amount),
    }


def _row(intent: Intent, event: EventType, what: str, now: int, fields: dict[str, Any]) -> dict[str, Any]:
    identity = event_id(intent, event, what)
    body = {
        "eventId": identity,
        "eventType": event,
        "intentId": intent.intent_id,
        "paymentReference": intent.payment_reference,
        "chainId": intent.chain_id,
        "token": intent.token_address,
        "amount": str(intent.amount),
        "amountReceived": str(intent.amount_received),
        **fields,
    }
    return {
        "event_id": identity,
        "subject_kind": INTENT,
        "subject_id": intent.intent_id,
        "event_type": event,
        "priority": priority_of(event).value,
        "chain_id": intent.chain_id,
        "body": orjson.dumps(body).decode(),
        "receiver": intent.receiver,
        "status": DeliveryStatus.PENDING,
        "round": 1,
        "attempts": 0,
        "next_attempt_at": now,
        "created_at": now,
    }
