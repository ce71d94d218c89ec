"""What was seen of the native coin at direct destinations, so that a rise can be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "coin_balances",
        sa.Column("chain_id", sa.Integer, primary_key=True),
        sa.Column("destination", sa.Text, primary_key=True),
        sa.Column("balance", sa.Text, nullable=False),
    )
