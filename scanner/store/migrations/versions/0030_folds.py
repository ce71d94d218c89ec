"""Transfers that can never count are added up; what was told of an intent's transfers is remembered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let a row stand for several transfers; add what those rows, and summaries in events, are made of."""
    op.add_column("transfers", sa.Column("times", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("transfers", sa.Column("members", sa.Text(), nullable=True))
    op.add_column("transfers", sa.Column("last_tx_hash", sa.Text(), nullable=True))
    op.add_column("transfers", sa.Column("last_block_number", sa.Integer(), nullable=True))
    op.add_column("transfers", sa.Column("fold", sa.Text(), nullable=True))
    op.drop_index("transfers_intent", "transfers")
    op.create_index(
        "transfers_intent", "transfers", ["intent_id", "reason"], sqlite_where=sa.text("intent_id IS NOT NULL")
    )
    op.create_index(
        "transfers_fold", "transfers", ["chain_id", "fold"], unique=True, sqlite_where=sa.text("fold IS NOT NULL")
    )
    op.create_table(
        "fold_parts",
        sa.Column("chain_id", sa.Integer(), nullable=False),
        sa.Column("tx_hash", sa.Text(), nullable=False),
        sa.Column("fold_id", sa.Integer(), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=True),
        sa.Column("block_number", sa.Integer(), nullable=False),
        sa.Column("block_hash", sa.Text(), nullable=True),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("members", sa.Text(), nullable=True),
        sa.Column("amount", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["fold_id"], ["transfers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chain_id", "tx_hash", "fold_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("fold_parts_fold", "fold_parts", ["fold_id"])
    op.create_index("fold_parts_block", "fold_parts", ["chain_id", "block_number"])
    op.create_table(
        "summaries",
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.Column("told_at", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("last_transfer", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("intent_id", "event_type", "reason"),
        sqlite_with_rowid=False,
    )
    op.create_index("summaries_due", "summaries", ["told_at"], sqlite_where=sa.text("waiting > 0"))
