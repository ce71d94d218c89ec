"""What belongs to no intent is found by its age."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("transfers_nobodys", "transfers", ["seen_at"], sqlite_where=sa.text("intent_id IS NULL"))
