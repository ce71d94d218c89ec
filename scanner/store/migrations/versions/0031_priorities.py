"""Of what waits for one receiver, confirmed payments go first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and lead to what is due by it."""
    op.add_column("events", sa.Column("priority", sa.Integer(), nullable=False, server_default="2"))
    op.drop_index("events_due", "events")
    op.create_index(
        "events_due", "events", ["priority", "next_attempt_at"], sqlite_where=sa.text("status = 'pending'")
    )
