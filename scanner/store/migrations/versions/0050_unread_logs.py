"""Remember logs that could not be read, so that the cursor goes on and a restart forgets none of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "unread_logs",
        sa.Column("chain_id", sa.Integer, primary_key=True),
        sa.Column("rail", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("tx_hash", sa.Text, primary_key=True),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
    )
