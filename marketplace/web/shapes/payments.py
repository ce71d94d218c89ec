"""What buyers pay."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, UnsetType

from marketplace import model
from marketplace.web.shapes.basics import BaseUnits, Count, Money, Open, Page, Time, one_of
from marketplace.web.shapes.pricing import Quote
from protocol.wire import Wire


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


class PaymentPage(Page):
    payments: tuple[Payment, ...]
