"""Find the transfers nobody has looked at again without walking through all that were ever stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index(
        "transfers_unverified",
        "transfers",
        ["chain_id", "block_number"],
        sqlite_where=sa.text("intent_id IS NOT NULL AND counted IS 1 AND verified IS 0 AND settled IS 0"),
    )
