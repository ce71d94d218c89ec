"""What buyer and seller disagree about."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
)

from kernel.store.ddl import Whole, where
from kernel.store.dialects import StrangersText
from marketplace import model
from marketplace.store.columns import OneOf, identity
from marketplace.store.tables.schema import metadata

disputes = Table(
    "disputes",
    metadata,
    identity(),
    Column("purchase_request_id", Text, ForeignKey("purchase_requests.id"), nullable=False),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("opened_by", Text, ForeignKey("users.id"), nullable=False),
    Column("reason", StrangersText, nullable=False),
    Column("category", StrangersText, nullable=False),
    Column("status", OneOf(model.DisputeStatus), nullable=False),
    Column("outcome", OneOf(model.DisputeOutcome)),
    Column("buyer_bps", Whole),
    Column("note", StrangersText),
    Column("resolved_by", Text, ForeignKey("users.id")),
    Column("resolved_at", Whole),
    Column("assigned_to", Text, ForeignKey("users.id")),
    Column("due_at", Whole, nullable=False),
    Column("overdue_told_at", Whole),
    Column("created_at", Whole, nullable=False),
    CheckConstraint("(status = 'resolved') = (outcome IS NOT NULL)", name="disputes_resolved_has_outcome"),
    CheckConstraint("(coalesce(outcome, '') = 'split') = (buyer_bps IS NOT NULL)", name="disputes_split_has_share"),
    CheckConstraint("buyer_bps BETWEEN 0 AND 10000", name="disputes_share_known"),
    Index("disputes_one_open", "payment_id", unique=True, **where("status = 'open'")),
    Index("disputes_request", "purchase_request_id"),
    Index("disputes_newest", "created_at"),
    Index("disputes_due", "due_at", **where("status = 'open'")),
)

dispute_evidence = Table(
    "dispute_evidence",
    metadata,
    identity(),
    Column("dispute_id", Text, ForeignKey("disputes.id"), nullable=False),
    Column("by_user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("text", StrangersText, nullable=False),
    Column("link", StrangersText),
    Column("created_at", Whole, nullable=False),
    Index("evidence_dispute", "dispute_id"),
)

dispute_messages = Table(
    "dispute_messages",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("dispute_id", Text, ForeignKey("disputes.id"), nullable=False),
    Column("by_user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("text", StrangersText, nullable=False),
    Column("created_at", Whole, nullable=False),
    Index("messages_dispute", "dispute_id", "by_user_id"),
)
