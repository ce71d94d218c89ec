"""The words of the marketplace: statuses and the frozen facts that rows become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Provider(StrEnum):
    """Who takes a pay-in, or (`escrow`) carries an instruction out: a person with a key."""

    SCANNER = "amn.scanner"
    REQUEST_NETWORK = "request.network"
    SHKEEPER = "shkeeper"
    ESCROW = "escrow"
    OTHER = "other"


HOSTED = (Provider.REQUEST_NETWORK, Provider.SHKEEPER)  # who say that something was paid; the scanner sees whether


class Role(StrEnum):
    ADMIN = "admin"
    BUYER = "buyer"
    SELLER = "seller"
    RESOLVER = "resolver"


class ProductType(StrEnum):
    PHYSICAL = "physical_product"
    DIGITAL = "digital_product"
    SERVICE = "service"
    CONSULTATION = "consultation"


class RequestStatus(StrEnum):
    PENDING_PAYMENT = "pending_payment"
    PENDING = "pending"
    ACTIVE = "active"
    RECEIVED_OFFERS = "received_offers"
    IN_NEGOTIATION = "in_negotiation"
    PAYMENT = "payment"
    PROCESSING = "processing"
    DELIVERY = "delivery"
    DELIVERED = "delivered"
    CONFIRMING = "confirming"
    COMPLETED = "completed"
    SELLER_PAID = "seller_paid"
    CANCELLED = "cancelled"


OPEN_FOR_OFFERS = (
    RequestStatus.PENDING,
    RequestStatus.ACTIVE,
    RequestStatus.RECEIVED_OFFERS,
    RequestStatus.IN_NEGOTIATION,
)


class OfferStatus(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"  # under negotiation, or its terms came from one
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


OPEN_OFFERS = (OfferStatus.PENDING, OfferStatus.ACTIVE)


class Rail(StrEnum):
    PROXY = "proxy"
    DIRECT = "direct"
    DIRECT_BALANCE = "direct_balance"


class Mode(StrEnum):
    CHECK = "check"
    WATCH = "watch"


class Direction(StrEnum):
    IN = "in"
    OUT = "out"
    REFUND = "refund"


class PaymentStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


OPEN_PAYMENTS = (PaymentStatus.PENDING, PaymentStatus.PROCESSING, PaymentStatus.CONFIRMED)


class EscrowState(StrEnum):
    FUNDED = "funded"
    RELEASABLE = "releasable"
    RELEASING = "releasing"
    RELEASED = "released"
    REFUNDED = "refunded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PARTIAL = "partial"


class LedgerEntryType(StrEnum):
    """What a line of the ledger says."""

    PAYMENT_DETECTED = "payment_detected"
    PROVIDER_FEE = "provider_fee"
    PLATFORM_FEE = "platform_fee"
    HOLD = "hold"
    RELEASE = "release"
    REFUND = "refund"
    DISPUTE_HOLD = "dispute_hold"
    ADJUSTMENT = "adjustment"  # lifts a dispute's hold


class StopReason(StrEnum):
    """Why nobody looks at a payment's address any more."""

    PAID = "paid"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    MANUAL = "manual"


class CommandKind(StrEnum):
    """What the scanner has to be told."""

    REGISTER = "register"
    CANCEL_INTENT = "cancel_intent"
    STOP_WATCH = "stop_watch"


class DisputeStatus(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"


class DisputeOutcome(StrEnum):
    REFUND = "refund"
    RELEASE = "release"
    REPLACEMENT = "replacement"
    NO_ACTION = "no_action"
    SPLIT = "split"


class AccountEvent(StrEnum):
    """What may become of an account."""

    CREATED = "created"
    INVITED = "invited"
    INVITATION_REVOKED = "invitation_revoked"
    JOINED = "joined"
    REGISTERED = "registered"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a word and no secret
    RESET_ORDERED = "reset_ordered"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a word and no secret
    SUSPENDED = "suspended"
    UNSUSPENDED = "unsuspended"
    SESSIONS_ENDED = "sessions_ended"
    SECOND_FACTOR_ADDED = "second_factor_added"
    SECOND_FACTOR_REMOVED = "second_factor_removed"
    RECOVERY_CODE_USED = "recovery_code_used"


class Channel(StrEnum):
    """Where people may be told of something besides the lists and streams here."""

    TELEGRAM = "telegram"
    EMAIL = "email"


class LinkKind(StrEnum):
    """What a link of an admin's is good for."""

    INVITATION = "invitation"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: read from the token, never from a body."""

    user_id: str
    role: Role

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: str
    email: str
    name: str
    role: Role
    password_hash: str = field(repr=False)
    created_at: int
    name_key: str = field(default="", repr=False)  # the name as it is searched for
    generation: int = 0  # of their sessions: tokens of an earlier one are worth nothing
    suspended_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseRequest:
    id: str
    buyer_id: str
    title: str
    description: str
    product_type: ProductType
    product_link: str | None
    quantity: int
    budget_min: str
    budget_max: str
    budget_currency: str
    urgency: str
    delivery_type: str
    delivery_email: str | None
    status: RequestStatus
    selected_offer_id: str | None
    delivery_confirmed: bool
    delivery_proof: Mapping[str, Any] | None
    delivered_at: int | None  # when the seller said so
    confirmed_at: int | None  # when the buyer, an admin or a code said so
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    id: str
    purchase_request_id: str
    seller_id: str
    title: str
    description: str
    price_amount: str
    price_currency: str
    delivery_amount: int
    delivery_unit: str
    notes: str | None
    valid_until: int | None
    require_aml_check: bool
    aml_block_on_failure: bool
    platform_fee_bps: int | None  # of what the seller is paid; frozen once the offer is accepted
    status: OfferStatus
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Money in (`in`), or an instruction to move it out (`out`, `refund`)."""

    id: str
    purchase_request_id: str
    seller_offer_id: str
    buyer_id: str
    seller_id: str
    provider: Provider
    provider_payment_id: str | None
    direction: Direction
    rail: Rail
    mode: Mode | None
    chain_id: int
    token_address: str
    token_symbol: str
    decimals: int
    amount_base: int
    amount: str
    destination: str | None  # None until a provider that gives the address has answered
    status: PaymentStatus
    escrow_state: EscrowState | None
    confirmations_required: int
    registered_at: int | None  # when the scanner knew of it; the buyer is shown nothing before
    checkout: Mapping[str, Any] | None
    payment_url: str | None  # where the buyer is shown what to pay; None where the scanner has no such pages
    baseline_balance: int | None
    current_balance: int | None
    next_check_at: int | None
    stop_reason: StopReason | None
    watch_stopped_at: int | None
    hold_reason: str | None  # why money that came is not credited
    evidence: Mapping[str, Any] | None
    tx_hash: str | None
    hold_until: int | None
    reorged_at: int | None  # when the scanner told that what paid may be gone; None once an admin cleared it
    ordered: DisputeOutcome | None  # what a resolved dispute ordered
    settles_payment_id: str | None  # of an instruction: the pay-in it empties
    reason: str | None
    expires_at: int | None
    looked_at: int | None  # by the sweep
    created_at: int
    updated_at: int

    @property
    def ref(self) -> str:
        """A short name to show; nothing is ever looked up by it."""
        return f"PAY-{self.id[-8:]}"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_PAYMENTS

    @property
    def paid_to(self) -> str:
        """Where it is paid, once that is known."""
        if self.destination is None:
            raise LookupError(f"where payment {self.id} is paid is not known yet")
        return self.destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    id: str
    purchase_request_id: str
    payment_id: str
    opened_by: str
    reason: str
    category: str
    status: DisputeStatus
    outcome: DisputeOutcome | None
    buyer_bps: int | None  # of a split: the buyer's share
    note: str | None
    resolved_by: str | None
    resolved_at: int | None
    assigned_to: str | None  # who looks after it; anybody else who may decide still can
    due_at: int  # until when it is to be decided; nothing happens to the money then
    overdue_told_at: int | None
    created_at: int

    def is_overdue(self, now: int) -> bool:
        return self.status is DisputeStatus.OPEN and self.due_at <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    seq: int
    id: str
    user_id: str
    category: str
    type: str
    title: str
    related_id: str | None
    action_url: str | None
    read_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list."""

    page: int
    limit: int

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit
