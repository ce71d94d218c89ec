"""Disputes."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, UnsetType

from marketplace import model
from marketplace.web.shapes.basics import Count, Page, Time, one_of
from protocol.wire import Wire


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


class OneDispute(Wire):
    dispute: Dispute


class DisputePage(Page):
    disputes: tuple[Dispute, ...]


class DisputeMessagePage(Page):
    messages: tuple[DisputeMessage, ...]


class OneDisputeMessage(Wire):
    message: DisputeMessage
