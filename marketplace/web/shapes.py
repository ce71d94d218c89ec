"""What answers are, one struct a JSON object; the order of fields is that of the answer (docs/marketplace.md)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marketplace import model
from marketplace.errors import CODES
from protocol.wire import Change, Moment, Wire


class Time(Moment):
    """A moment in unix milliseconds."""

    schema: ClassVar[Mapping[str, Any]] = {
        "type": "string",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
    }


class BaseUnits(Change):
    """An amount in base units, or a difference of two."""

    schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": "^-?[0-9]+$"}


def one_of(words: type[StrEnum] | tuple[str, ...]) -> Meta:
    return Meta(extra_json_schema={"enum": [str(word) for word in words]})


Money: TypeAlias = Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$")]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Open: TypeAlias = Mapping[str, Any]  # evidence and the scanner's own block: what is in them depends on what was seen
State: TypeAlias = Annotated[str, one_of(("ok", "degraded", "down"))]

# -- people --------------------------------------------------------------------------------------------


class User(Wire):
    id: str
    email: str
    role: Annotated[str, one_of(model.Role)]
    name: str


class Tokens(Wire):
    access_token: str
    refresh_token: str


class LoggedIn(Wire):
    tokens: Tokens
    user: User


class Refreshed(Wire):
    tokens: Tokens


class OneUser(Wire):
    user: User


# -- trade ---------------------------------------------------------------------------------------------


class Price(Wire):
    amount: Money
    currency: str


class Budget(Wire):
    min: Money
    max: Money
    currency: str


class DeliveryInfo(Wire):
    delivery_type: str
    email: str | None


class PurchaseRequest(Wire):
    id: str
    status: Annotated[str, one_of(model.RequestStatus)]
    buyer_id: str
    title: str
    description: str
    product_type: Annotated[str, one_of(model.ProductType)]
    product_link: str | None
    quantity: Count
    budget: Budget
    urgency: str
    delivery_info: DeliveryInfo
    selected_offer_id: str | None
    delivery_confirmed: bool
    delivery_proof: Open | None
    delivered_at: Time | None
    confirmed_at: Time | None
    created_at: Time
    updated_at: Time


class DeliveryTime(Wire):
    amount: Count
    unit: str


class PlatformFee(Wire):
    bps: Count
    amount: Money
    currency: str


class Offer(Wire):
    id: str
    purchase_request_id: str
    seller_id: str
    title: str
    description: str
    price: Price
    delivery_time: DeliveryTime
    notes: str | None
    valid_until: Time | None
    require_aml_check: bool
    aml_block_on_failure: bool
    platform_fee: PlatformFee
    status: Annotated[str, one_of(model.OfferStatus)]
    created_at: Time
    updated_at: Time


class Round(Wire):
    id: str
    offer_id: str
    round: Count
    by: str
    price: Price
    note: str | None
    answer: str | None
    expires_at: Time
    created_at: Time


class DeliveryCode(Wire):
    code: str
    expires_at: Time


class DeliveryCodeStatus(Wire):
    active: bool
    used: bool
    attempts_left: Count
    expires_at: Time | None


class DisputeMessage(Wire):
    id: str
    by: str
    text: str
    created_at: Time


class DisputeEvidence(Wire):
    id: str
    by: str
    text: str
    link: str | None
    created_at: Time


class Dispute(Wire):
    id: str
    purchase_request_id: str
    payment_id: str
    opened_by: str
    reason: str
    category: str
    status: Annotated[str, one_of(model.DisputeStatus)]
    outcome: Annotated[str, one_of(model.DisputeOutcome)] | None
    buyer_bps: Count | None
    note: str | None
    resolved_by: str | None
    resolved_at: Time | None
    assigned_to: str | None
    due_at: Time
    overdue: bool
    created_at: Time
    evidence: tuple[DisputeEvidence, ...] | UnsetType = UNSET


# -- money ---------------------------------------------------------------------------------------------


class Payment(Wire):
    id: str
    payment_ref: str
    purchase_request_id: str
    seller_offer_id: str
    buyer_id: str
    seller_id: str
    provider: Annotated[str, one_of(model.Provider)]
    provider_payment_id: str | None
    direction: Annotated[str, one_of(model.Direction)]
    rail: Annotated[str, one_of(model.Rail)]
    mode: Annotated[str, one_of(model.Mode)] | None
    chain_id: Count
    token_address: str
    token_symbol: str
    decimals: Count
    amount: Money
    amount_base_units: BaseUnits
    destination: str | None
    payment_url: str | None
    status: Annotated[str, one_of(model.PaymentStatus)]
    escrow_state: Annotated[str, one_of(model.EscrowState)] | None
    confirmations_required: Count
    evidence: Open | None
    tx_hash: str | None
    hold_reason: str | None
    hold_until: Time | None
    reorged_at: Time | None
    stop_reason: Annotated[str, one_of(model.StopReason)] | None
    baseline_balance: Money | None
    baseline_balance_base_units: BaseUnits | None
    current_balance: Money | None
    current_balance_base_units: BaseUnits | None
    reason: str | None
    settles_payment_id: str | None
    expires_at: Time | None
    created_at: Time
    updated_at: Time


class Instructions(Wire):
    address: str
    token_address: str
    token_symbol: str
    decimals: Count
    chain_id: Count
    amount: Money
    amount_base_units: BaseUnits
    payment_uri: str | None
    expires_at: Time | None
    baseline_balance: Money | UnsetType | None = UNSET
    baseline_balance_base_units: BaseUnits | UnsetType | None = UNSET
    watch_id: str | UnsetType = UNSET
    next_check_at: Time | UnsetType | None = UNSET


class Ledger(Wire):
    held: Money
    releasable: Money
    available: Money
    held_base_units: BaseUnits
    releasable_base_units: BaseUnits
    available_base_units: BaseUnits
    released: Money
    released_base_units: BaseUnits
    refunded: Money
    refunded_base_units: BaseUnits
    platform_fee: Money
    platform_fee_base_units: BaseUnits
    currency: str


class QuoteSource(Wire):
    source: str
    asset: str
    price_usd: Money
    as_of: Time


class Quote(Wire):
    offer_amount: Money
    offer_currency: str
    fx_rate: Money
    token_price_usd: Money
    depeg_adjustment_bps: Count
    raw_settle_amount: Money
    settle_amount: Money
    chain_id: Count
    token_address: str
    at_par: bool
    note: str | None
    sources: tuple[QuoteSource, ...]
    quoted_at: Time
    expires_at: Time


class ProviderOption(Wire):
    name: Annotated[str, one_of((model.Provider.SCANNER, *model.HOSTED))]
    rails: tuple[Annotated[str, one_of(model.Rail)], ...]


class PaymentOption(Wire):
    chain_id: Count
    chain_name: str
    token: str
    token_address: str
    rails: tuple[Annotated[str, one_of(model.Rail)], ...]
    providers: tuple[ProviderOption, ...]
    confirmations: Count
    estimated_seconds: Count | None
    amount: Money


class PaymentOptions(Wire):
    options: tuple[PaymentOption, ...]


class NetworkToken(Wire):
    symbol: str
    address: str
    decimals: Count


class OurNetwork(Wire):
    name: str
    chain_type: str
    testnet: bool
    confirmations: Count
    rails: tuple[Annotated[str, one_of(model.Rail)], ...]
    tokens: tuple[NetworkToken, ...]


class ScannersNetwork(Wire):
    name: str
    chain_type: str
    state: str
    tokens: tuple[NetworkToken, ...]


class Network(Wire):
    chain_id: Count
    marketplace: OurNetwork | None
    scanner: ScannersNetwork | None
    differences: tuple[str, ...]


class Networks(Wire):
    networks: tuple[Network, ...]
    scanner_error: str | None


class OnePayment(Wire):
    payment: Payment


class RegisteredLater(Wire):
    payment: Payment
    quote: Quote | UnsetType = UNSET


class OpenedThroughProxy(Wire):
    payment: Payment
    checkout_block: Open
    quote: Quote | UnsetType = UNSET


class OpenedElsewhere(Wire):
    """A payment that is made on a page of its provider: `payment.paymentUrl`."""

    payment: Payment
    quote: Quote | UnsetType = UNSET


class OpenedPlainly(Wire):
    payment: Payment
    instructions: Instructions
    quote: Quote | UnsetType = UNSET


class ShownPayment(Wire):
    payment: Payment
    ledger: Ledger
    quote: Quote | UnsetType = UNSET


class CheckedPayment(Wire):
    payment: Payment
    funded: bool
    reason: str | None
    delta: Money
    delta_base_units: BaseUnits
    expected: Money
    expected_base_units: BaseUnits
    currency: str


class ReceivedWebhook(Wire):
    outcome: str
    funded: bool


class Instruction(Wire):
    id: str
    kind: Annotated[str, one_of(("release", "refund"))]
    chain_id: Count
    token_address: str
    token_symbol: str
    source: str = msgspec.field(name="from")
    to: str
    amount: Money
    amount_base_units: BaseUnits
    status: Annotated[str, one_of(("pending", "settling", "released"))]
    tx_hash: str | None
    created_at: Time


class OrderedPayout(Wire):
    payment: Payment
    instruction: Instruction


class Clearance(Wire):
    reorged_at: Time
    note: str
    cleared_by: str
    cleared_at: Time


class ClearedPayment(Wire):
    payment: Payment
    clearances: tuple[Clearance, ...]


class Recovery(Wire):
    id: str
    payment_id: str
    reason: str
    amount_base_units: BaseUnits | None
    token_address: str | None
    count: Annotated[int, Meta(ge=1)]
    tx_hash: str | None
    last_tx_hash: str | None
    evidence: Open
    created_at: Time
    updated_at: Time


class Finding(Wire):
    kind: str
    payment_id: str
    detail: str


class Reconciled(Wire):
    ok: bool
    checked: Count
    findings: tuple[Finding, ...]


class Threshold(Wire):
    chain_id: Count
    floor: Count
    confirmations: Count


class ThresholdChange(Wire):
    chain_id: Count
    confirmations: Count
    set_by: str
    created_at: Time


class Thresholds(Wire):
    thresholds: tuple[Threshold, ...]
    history: tuple[ThresholdChange, ...]


# -- envelopes of one or several -----------------------------------------------------------------------


class OneRequest(Wire):
    purchase_request: PurchaseRequest


class OneOffer(Wire):
    offer: Offer


class SelectedOffer(Wire):
    purchase_request: PurchaseRequest
    offer: Offer


class OneRound(Wire):
    round: Round


class Rounds(Wire):
    rounds: tuple[Round, ...]


class OneDispute(Wire):
    dispute: Dispute


class Page(Wire):
    total: Count
    page: Count
    limit: Count


class RequestPage(Page):
    purchase_requests: tuple[PurchaseRequest, ...]


class OfferPage(Page):
    offers: tuple[Offer, ...]


class PaymentPage(Page):
    payments: tuple[Payment, ...]


class PayoutPage(Page):
    payouts: tuple[OrderedPayout, ...]


class DisputePage(Page):
    disputes: tuple[Dispute, ...]


class DisputeMessagePage(Page):
    messages: tuple[DisputeMessage, ...]


class OneDisputeMessage(Wire):
    message: DisputeMessage


class RecoveryPage(Page):
    recoveries: tuple[Recovery, ...]


# -- notifications -------------------------------------------------------------------------------------


class Notification(Wire):
    id: str
    category: str
    type: str
    title: str
    related_id: str | None
    action_url: str | None
    read: bool
    created_at: Time


class NotificationPage(Page):
    notifications: tuple[Notification, ...]


class OneNotification(Wire):
    notification: Notification


class Unread(Wire):
    count: Count


# -- how it is -----------------------------------------------------------------------------------------


class Ping(Wire):
    status: str


class Version(Wire):
    version: str


class Check(Wire):
    status: State
    detail: str | UnsetType = UNSET


class ScreeningCheck(Wire):
    status: State
    entries: Count
    unreadable: Count
    detail: str | UnsetType = UNSET


class Checks(Wire):
    db: Check
    scanner: Check
    webhooks: Check
    ledger: Check
    registry: Check
    screening: ScreeningCheck
    prices: Check | UnsetType = UNSET


class Health(Wire):
    status: State
    version: str
    uptime_sec: int
    checks: Checks


# -- refusals ------------------------------------------------------------------------------------------


class Error(Wire):
    code: Annotated[str, Meta(extra_json_schema={"enum": sorted(CODES)})]
    message: str
    details: Mapping[str, Any]


class Refusal(Wire):
    success: Annotated[bool, Meta(extra_json_schema={"enum": [False]})]
    error: Error
