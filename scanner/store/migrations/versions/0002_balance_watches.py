"""Balance watches, and events that are overtaken by newer ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; let an event be superseded."""
    op.create_table(
        "balance_watches",
        sa.Column("watch_id", sa.Text(), nullable=False),
        sa.Column("chain_id", sa.Integer(), nullable=False),
        sa.Column("chain_type", sa.Text(), nullable=False),
        sa.Column("token_address", sa.Text(), nullable=True),
        sa.Column("token_key", sa.Text(), nullable=True),
        sa.Column("token_symbol", sa.Text(), nullable=True),
        sa.Column("decimals", sa.Integer(), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("baseline_balance", sa.Text(), nullable=False),
        sa.Column("current_balance", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("callback_url", sa.Text(), nullable=False),
        sa.Column("callback_secret", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("last_checked_at", sa.Integer(), nullable=True),
        sa.Column("next_check_at", sa.Integer(), nullable=False),
        sa.Column("last_position", sa.Integer(), nullable=True),
        sa.Column("change_count", sa.Integer(), nullable=False),
        sa.Column("last_notified_at", sa.Integer(), nullable=True),
        sa.Column("expires_at", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Integer(), nullable=False),
        sa.CheckConstraint("status IN ('watching','stopped','expired')", name="watches_status_known"),
        sa.PrimaryKeyConstraint("watch_id"),
    )
    op.create_index("watches_due", "balance_watches", ["status", "next_check_at"])
    op.create_index("watches_chain_status", "balance_watches", ["chain_id", "status"])
    # SQLite cannot change a constraint in place. Foreign keys are off on the migrating connection.
    with op.batch_alter_table("events", recreate="always") as table:
        table.drop_constraint("events_status_known", type_="check")
        table.create_check_constraint(
            "events_status_known", "status IN ('pending','delivered','failed','superseded')"
        )
