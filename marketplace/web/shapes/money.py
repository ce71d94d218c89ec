"""What leaves, what was left over, and the books."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from marketplace.web.shapes.basics import BaseUnits, Count, Money, Open, Page, Time, one_of
from marketplace.web.shapes.payments import Payment
from protocol.wire import Wire


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


class PayoutPage(Page):
    payouts: tuple[OrderedPayout, ...]


class RecoveryPage(Page):
    recoveries: tuple[Recovery, ...]
