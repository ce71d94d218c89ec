"""Remember where the chain stood when a coin balance changed: an endpoint that is behind tells of the past."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("coin_balances", sa.Column("position", sa.Integer, nullable=False, server_default="0"))
