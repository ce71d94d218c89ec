"""`OR REPLACE` deletes what is in its way without asking a trigger of deletion: a settled row is no such thing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

_SETTLED = "('confirmed', 'webhook_failed')"
TRIGGERS = {
    # The key itself is looked after by transfers_settled_once; without a number of its own NEW.id is -1.
    "transfers_settled_not_replaced": (
        "BEFORE INSERT ON transfers",
        "EXISTS (SELECT 1 FROM transfers WHERE id = NEW.id AND settled = 1)",
        "a settled transfer is not replaced",
    ),
    # An insert that met the settled row and became an update does not come here: only one that took its place.
    "transfers_settled_not_undone": (
        "AFTER INSERT ON transfers",
        "NEW.settled = 0 AND EXISTS (SELECT 1 FROM intents WHERE intent_id = NEW.intent_id AND tx_hash = NEW.tx_hash"
        f" AND status IN {_SETTLED})"
        " AND NOT EXISTS (SELECT 1 FROM transfers WHERE intent_id = NEW.intent_id AND settled = 1)",
        "a settled transfer stays settled",
    ),
    "transfers_settled_not_displaced": (
        "BEFORE UPDATE OF id, chain_id, tx_hash, event_key ON transfers",
        "(NEW.id <> OLD.id AND EXISTS (SELECT 1 FROM transfers WHERE id = NEW.id AND settled = 1))"
        " OR EXISTS (SELECT 1 FROM transfers WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash"
        " AND event_key = NEW.event_key AND settled = 1 AND id <> OLD.id)",
        "a settled transfer is not replaced",
    ),
    "intents_settled_not_replaced": (
        "BEFORE INSERT ON intents",
        f"EXISTS (SELECT 1 FROM intents WHERE intent_id = NEW.intent_id AND status IN {_SETTLED})",
        "a settled intent is not replaced",
    ),
    "intents_settled_not_displaced": (
        "BEFORE UPDATE OF intent_id ON intents",
        f"NEW.intent_id <> OLD.intent_id AND (OLD.status IN {_SETTLED}"
        f" OR EXISTS (SELECT 1 FROM intents WHERE intent_id = NEW.intent_id AND status IN {_SETTLED}))",
        "a settled intent keeps its name",
    ),
}


def upgrade() -> None:
    """Add the triggers."""
    for name, (when, condition, message) in TRIGGERS.items():
        op.execute(
            sa.text(
                f"CREATE TRIGGER {name} {when} FOR EACH ROW WHEN {condition}"
                f" BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        )
