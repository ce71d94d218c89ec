"""The words of the daemon: intents, stored transfers, events, and their states."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from protocol.words import DeliveryStatus as DeliveryStatus
from protocol.words import EventType as EventType
from protocol.words import IntentStatus as IntentStatus
from protocol.words import Rail
from protocol.words import Reason as Reason
from protocol.words import WatchStatus as WatchStatus

NATIVE = "native"  # the token of a transfer of the chain's own coin
NO_TX = ""  # the transaction of a transfer that is known from a balance alone

SETTLED = frozenset({IntentStatus.CONFIRMED, IntentStatus.WEBHOOK_FAILED})
LIVE = frozenset({IntentStatus.PENDING, IntentStatus.CONFIRMING})

# Reasons that follow from the other transfers of the same intent and are computed anew each time;
# every other reason is a fact about the transfer itself and stays.
ALLOCATION_REASONS = frozenset({Reason.UNDERPAID, Reason.DUPLICATE, Reason.OVERPAID_SURPLUS})

# Money that came and settled nothing, as far as the first look can tell: somebody may send it back, so it is
# looked at again like money that counts. What a wrong token's contract says of itself proves nothing either time.
RETURNABLE = ALLOCATION_REASONS | {Reason.WRONG_DESTINATION, Reason.LATE, Reason.CANCELLED, Reason.BEFORE_INTENT}


# What can never count, whatever else comes: anybody can make thousands of these in one transaction for nothing.
WORTHLESS = frozenset({Reason.ZERO_AMOUNT, Reason.WRONG_TOKEN, Reason.SPAM})


OPT_IN_EVENTS = frozenset(EventType) - {EventType.CONFIRMED, EventType.BALANCE_CHANGED}


class Priority(IntEnum):
    """What goes first in a receiver's queue: whoever can make thousands of the last must not delay the first."""

    MONEY = 0
    CORRECTION = 1
    REST = 2


def priority_of(event: EventType) -> Priority:
    """Return where an event stands in a receiver's queue."""
    match event:
        case EventType.CONFIRMED:
            return Priority.MONEY
        case EventType.REORGED | EventType.BALANCE_CHANGED:
            return Priority.CORRECTION
        case _:
            return Priority.REST


class ChainTime(NamedTuple):
    """What time it is on a chain, by a fresh head."""

    ms: int  # unix milliseconds; a little less rather than more
    position: int  # of the head


class Intent(NamedTuple):
    """
    One payment a backend waits for. Times are unix milliseconds, amounts base units.

    `token_address`, `destination` and `fee_address` are as the caller (or the registry) wrote them;
    the `*_key` fields beside them are the canonical forms that are compared.
    """

    intent_id: str
    chain_id: int
    chain_type: str
    rail: Rail
    token_address: str
    token_key: str
    token_symbol: str | None
    decimals: int | None
    destination: str
    destination_key: str
    amount: int
    fee_amount: int
    fee_address: str
    payment_reference: str
    topic_ref: str
    salt: str
    callback_url: str
    callback_secret: str
    receiver: str  # scheme://host:port of the callback: deliveries queue up per receiver
    events: tuple[EventType, ...]
    request: str  # canonical JSON of what the caller asked, to recognise a replay
    confirmations_required: int
    expires_at: int | None
    created_at: int
    chain_created_at: int  # by the chain's own time, where a fresh head told it
    chain_position: int | None  # of that head: what lies at or below it was sent before
    updated_at: int
    # What becomes of it.
    status: IntentStatus = IntentStatus.PENDING
    amount_received: int = 0
    tx_hash: str | None = None
    log_index: int | None = None
    block_number: int | None = None
    block_hash: str | None = None
    confirmations: int = 0
    sender: str | None = None
    webhook_delivered_at: int | None = None
    confirmed_at: int | None = None
    expired_at: int | None = None
    cancelled_at: int | None = None
    pay_token: str | None = None  # whoever knows it may see the payment page, and nothing else

    def __repr__(self) -> str:
        """Name the intent only: the rest holds a secret."""
        return f"Intent({self.intent_id!r}, {self.status})"

    def wants(self, event: EventType, *, settled: bool = False) -> bool:
        """Say whether the backend is told: of a confirmation always, and of one that left the chain; else if asked."""
        return event is EventType.CONFIRMED or event in self.events or (settled and event is EventType.REORGED)

    @property
    def holds_address(self) -> bool:
        """Whether its direct address is its own: one that expired and was paid in time gave it up."""
        return self.status in LIVE and self.expired_at is None

    @property
    def begins_at(self) -> int:
        """When it was created by the clock that says the earlier; in unix ms."""
        return min(self.created_at, self.chain_created_at)

    @property
    def ended_at(self) -> int | None:
        """When it was confirmed, expired or cancelled, in unix ms; None while it waits."""
        return self.expired_at if self.confirmed_at is None else self.confirmed_at


class StoredTransfer(NamedTuple):
    """A transfer as the store holds it, with what the scanner made of it."""

    id: int
    chain_id: int
    tx_hash: str
    event_key: str
    log_index: int | None
    block_number: int
    block_hash: str | None
    block_time: int | None
    token: str
    sender: str | None
    destination: str
    amount: int
    fee_amount: int
    fee_address: str | None
    reference: str | None
    intent_id: str | None
    reason: Reason | None
    counted: bool  # part of the sum that settles its intent
    settled: bool  # was part of that sum when the intent was confirmed
    verified: bool  # looked at again at the required depth
    surplus: int | None  # the part beyond the amount asked, when `reason` is overpaid_surplus
    seen_at: int
    times: int = 1  # how many transfers the row stands for; the first gives hash, key and block, `amount` is the sum
    last_tx_hash: str | None = None  # of several: the newest
    last_block_number: int | None = None
    fold: str | None = None  # of transfers of nobody's: what they have in common
    members: str | None = None  # of several of one transaction: which

    @property
    def is_live_money(self) -> bool:
        """Whether it is money that came, for all that is known: it counts, or could be sent back."""
        return self.intent_id is not None and (self.reason is None or self.reason in RETURNABLE)

    @property
    def rail(self) -> Rail:
        """Which rail it is read on: what went through the proxy carries a reference."""
        return Rail.DIRECT if self.reference is None else Rail.PROXY

    @property
    def key(self) -> tuple[str, str]:
        """Identity on its chain."""
        return (self.tx_hash, self.event_key)

    @property
    def order(self) -> tuple[int, str, str]:
        """Order of blocks, and what the same chain shows everybody within one: nodes number logs differently."""
        return (self.block_number, self.tx_hash, self.event_key)


class Watch(NamedTuple):
    """A balance a backend wants to be told of. Times are unix milliseconds, balances base units."""

    watch_id: str
    chain_id: int
    chain_type: str
    token_address: str | None  # None: the chain's own coin
    token_key: str | None
    token_symbol: str | None
    decimals: int | None
    address: str
    address_key: str
    baseline_balance: int
    current_balance: int  # what the backend has acknowledged
    status: WatchStatus
    callback_url: str
    callback_secret: str
    receiver: str
    last_checked_at: int | None
    next_check_at: int
    last_position: int | None  # block of the last good read
    change_count: int  # changes acknowledged
    last_notified_at: int | None
    expires_at: int
    created_at: int
    updated_at: int

    def __repr__(self) -> str:
        """Name the watch only: the rest holds a secret."""
        return f"Watch({self.watch_id!r}, {self.status})"


class OutboxEvent(NamedTuple):
    """One thing to tell one backend, exactly as it will be sent."""

    event_id: str
    subject_kind: str
    subject_id: str
    event_type: str
    chain_id: int
    body: bytes
    receiver: str
    callback_url: str
    secrets: tuple[str, ...]  # to sign with, sealed
    round: int
    attempts: int  # made in this round
    next_attempt_at: int
    created_at: int
    priority: int = Priority.REST
    lane: str | None = None  # the term of its receiver's lane when it was taken, where several processes deliver

    def __repr__(self) -> str:
        """Name the event only: the rest holds a secret."""
        return f"OutboxEvent({self.event_id!r}, {self.event_type})"
