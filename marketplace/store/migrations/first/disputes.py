"""What buyer and seller disagree about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Whole, where


def disputes() -> None:
    """Create disputes and what is said in them."""
    op.create_table(
        "disputes",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("purchase_request_id", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("buyer_bps", Whole),
        sa.Column("note", sa.Text),
        sa.Column("resolved_by", sa.Text),
        sa.Column("resolved_at", Whole),
        sa.Column("assigned_to", sa.Text),
        sa.Column("due_at", Whole, nullable=False),
        sa.Column("overdue_told_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("(status = 'resolved') = (outcome IS NOT NULL)", name="disputes_resolved_has_outcome"),
        sa.CheckConstraint(
            "(coalesce(outcome, '') = 'split') = (buyer_bps IS NOT NULL)", name="disputes_split_has_share"
        ),
        sa.CheckConstraint("buyer_bps BETWEEN 0 AND 10000", name="disputes_share_known"),
        sa.ForeignKeyConstraint(
            ["assigned_to"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["opened_by"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.ForeignKeyConstraint(
            ["purchase_request_id"],
            ["purchase_requests.id"],
        ),
        sa.ForeignKeyConstraint(
            ["resolved_by"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("disputes_newest", "disputes", ["created_at"])
    op.create_index("disputes_due", "disputes", ["due_at"], **where("status = 'open'"))
    op.create_index("disputes_one_open", "disputes", ["payment_id"], unique=True, **where("status = 'open'"))
    op.create_index("disputes_request", "disputes", ["purchase_request_id"])
    op.create_table(
        "dispute_evidence",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("dispute_id", sa.Text, nullable=False),
        sa.Column("by_user_id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("link", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["by_user_id"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["dispute_id"],
            ["disputes.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("evidence_dispute", "dispute_evidence", ["dispute_id"])
    op.create_table(
        "dispute_messages",
        sa.Column("id", Whole, nullable=False),
        sa.Column("dispute_id", sa.Text, nullable=False),
        sa.Column("by_user_id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["dispute_id"], ["disputes.id"]),
        sa.ForeignKeyConstraint(["by_user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("messages_dispute", "dispute_messages", ["dispute_id", "by_user_id"])
