"""A newer secret for everything registered earlier with one callback URL."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "callback_rotations",
        sa.Column("callback_url", sa.Text, primary_key=True),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("overlap_until", sa.Integer, nullable=False),
        sa.Column("former_secret", sa.Text),
        sa.Column("former_since", sa.Integer),
    )
