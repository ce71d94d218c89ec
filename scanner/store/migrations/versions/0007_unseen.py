"""Find everything that could be sent back and that nobody has looked at again, not only what counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STANDS = (
    "verified IS 0 AND (reason IS NULL OR reason IN "
    "('before_intent','cancelled','duplicate','late','overpaid_surplus','underpaid','wrong_destination'))"
)


def upgrade() -> None:
    """
    Put the wider index in the place of the narrow one.

    What was stored without counting before this is left as it is: it may be months old, and a node that
    has thrown away its receipts by now would make it look as if it had never been there.
    """
    op.execute(sa.text("UPDATE transfers SET verified = 1 WHERE counted = 0 AND verified = 0 AND reason <> 'reorged'"))
    op.drop_index("transfers_unverified", "transfers")
    op.create_index(
        "transfers_unseen",
        "transfers",
        ["chain_id", "block_number"],
        sqlite_where=sa.text(f"intent_id IS NOT NULL AND {STANDS}"),
    )
