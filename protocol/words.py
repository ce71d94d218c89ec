"""The words that go over the wire: states, kinds and reasons, each with one spelling."""

from __future__ import annotations

from enum import StrEnum


class ChainType(StrEnum):
    """The families of chains."""

    EVM = "evm"
    TRON = "tron"
    TON = "ton"


class Rail(StrEnum):
    """How a payment is recognised (docs/api.md)."""

    PROXY = "proxy"
    DIRECT = "direct"


class IntentStatus(StrEnum):
    """Where an intent stands (docs/api.md)."""

    PENDING = "pending"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    WEBHOOK_FAILED = "webhook_failed"
    EXPIRED = "expired"


class PaymentState(StrEnum):
    """What a buyer is told of a payment (docs/payment-page.md)."""

    WAITING = "waiting"
    SEEN = "seen"  # it is on the chain, and how deep is not known
    CONFIRMING = "confirming"
    PARTIAL = "partial"
    PAID = "paid"
    TIME_UP = "time_up"  # nobody should pay any more; what was paid in time still counts
    EXPIRED = "expired"
    LATE = "late"  # money came after the time
    CANCELLED = "cancelled"
    REORGED = "reorged"  # it was paid, and a reorganisation took the money away


class Reason(StrEnum):
    """Why a transfer, or a part of it, settled nothing (docs/events.md)."""

    UNKNOWN_REFERENCE = "unknown_reference"
    WRONG_TOKEN = "wrong_token"  # noqa: S105
    WRONG_DESTINATION = "wrong_destination"
    WRONG_ASSET = "wrong_asset"
    UNDERPAID = "underpaid"
    NO_TRANSFER_LOG = "no_transfer_log"
    FEE_ON_TRANSFER = "fee_on_transfer"
    ZERO_AMOUNT = "zero_amount"
    REVERTED = "reverted"
    REORGED = "reorged"
    LATE = "late"
    DUPLICATE = "duplicate"
    CANCELLED = "cancelled"
    BEFORE_INTENT = "before_intent"
    OVERPAID_SURPLUS = "overpaid_surplus"
    SPAM = "spam"


class EventType(StrEnum):
    """What a webhook can tell (docs/events.md)."""

    CONFIRMED = "payment.confirmed"
    DETECTED = "payment.detected"
    CONFIRMING = "payment.confirming"
    PARTIAL = "payment.partial"
    OVERPAID = "payment.overpaid"
    LATE = "payment.late"
    REORGED = "payment.reorged"
    ANOMALY = "payment.anomaly"
    EXPIRED = "intent.expired"
    BALANCE_CHANGED = "balance_changed"


class DeliveryStatus(StrEnum):
    """Where an outbox event stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    SUPERSEDED = "superseded"  # what it told is no longer so


class WatchStatus(StrEnum):
    """Where a balance watch stands."""

    WATCHING = "watching"
    STOPPED = "stopped"
    EXPIRED = "expired"


class ChainState(StrEnum):
    """What a chain's worker is doing."""

    SYNCING = "syncing"  # reading blocks behind the head, or has not finished a poll yet
    READY = "ready"  # read up to the head at the last poll
    STALE = "stale"  # no endpoint knows a block that is new enough
    FAILING = "failing"  # the last poll failed


class SocketState(StrEnum):
    """How a socket for new heads is doing."""

    CONNECTING = "connecting"  # nothing was announced yet
    CONNECTED = "connected"  # announces new blocks
    FAILING = "failing"  # is connected to again after a while


class EndpointState(StrEnum):
    """How an endpoint is doing."""

    OK = "ok"
    RESTING = "resting"  # left alone for a while after it failed
    STALE = "stale"  # its newest block is older than another endpoint's, or stands still
    LYING = "lying"  # shows a head that cannot be true, or receipts that hashes disprove
    FAILING = "failing"  # its last answer was an error
