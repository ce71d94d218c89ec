"""Direct intents are found by destination, and hold theirs alone while they live."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes."""
    op.create_index(
        "intents_direct", "intents", ["chain_id", "destination_key"], sqlite_where=sa.text("rail = 'direct'")
    )
    op.create_index(
        "intents_direct_reserved",
        "intents",
        ["chain_id", "token_key", "destination_key"],
        unique=True,
        sqlite_where=sa.text("rail = 'direct' AND status IN ('pending','confirming') AND expired_at IS NULL"),
    )
