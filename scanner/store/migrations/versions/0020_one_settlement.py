"""One transfer settles one intent: the store itself refuses anything else, whatever code runs above it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0009"
branch_labels = None
depends_on = None

# The conditions are plain SQL. PostgreSQL has the same as triggers whose function raises.
TRIGGERS = {
    # A settled transfer stays what it is and whose it is.
    "transfers_settled_stays": (
        "BEFORE UPDATE ON transfers",
        "OLD.settled = 1 AND (NEW.settled <> 1 OR NEW.intent_id IS NOT OLD.intent_id OR NEW.id <> OLD.id"
        " OR NEW.chain_id <> OLD.chain_id OR NEW.tx_hash <> OLD.tx_hash OR NEW.event_key <> OLD.event_key)",
        "a settled transfer never changes its intent",
    ),
    # It goes when its intent is gone, and not before: read again it would settle the next one.
    "transfers_settled_kept": (
        "BEFORE DELETE ON transfers",
        "OLD.settled = 1 AND EXISTS (SELECT 1 FROM intents WHERE intent_id = OLD.intent_id)",
        "a settled transfer is kept as long as its intent",
    ),
    # INSERT OR REPLACE would delete the old row without asking the trigger above.
    "transfers_settled_once": (
        "BEFORE INSERT ON transfers",
        "EXISTS (SELECT 1 FROM transfers WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash"
        " AND event_key = NEW.event_key AND settled = 1 AND intent_id IS NOT NEW.intent_id)",
        "a transfer settles one intent only",
    ),
    "intents_settled_once": (
        "BEFORE UPDATE OF status ON intents",
        "OLD.status IN ('confirmed', 'webhook_failed') AND NEW.status NOT IN ('confirmed', 'webhook_failed')",
        "a settled intent stays settled",
    ),
}


def upgrade() -> None:
    """Add the triggers, and indexes for what operators are shown."""
    for name, (when, condition, message) in TRIGGERS.items():
        op.execute(
            sa.text(
                f"CREATE TRIGGER {name} {when} FOR EACH ROW WHEN {condition}"
                f" BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        )
    op.create_index(
        "transfers_lost", "transfers", ["chain_id"], sqlite_where=sa.text("settled IS 1 AND reason = 'reorged'")
    )
    op.create_index("intents_unread", "intents", ["chain_id"], sqlite_where=sa.text("unread IS NOT NULL"))
