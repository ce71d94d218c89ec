"""Copies of the scanner's store and a look at its health."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kernel.store import maintenance
from kernel.store.copy import Copied
from kernel.store.maintenance import Health, StoreKind
from scanner.store.migrate import migrate
from scanner.store.rotations import HOLDERS
from scanner.store.tables import BaseUnits, metadata

__all__ = ["COPIED", "KIND", "Health", "backup", "check", "restore"]

# What must not exist, each with a question that counts it.
ORPHANS = {
    "webhooks of nothing": (
        "SELECT count(*) FROM events e WHERE NOT EXISTS (SELECT 1 FROM intents i WHERE e.subject_kind = 'intent'"
        " AND i.intent_id = e.subject_id) AND NOT EXISTS (SELECT 1 FROM balance_watches w"
        " WHERE e.subject_kind = 'watch' AND w.watch_id = e.subject_id)"
    ),
    "attempts of no webhook": (
        "SELECT count(*) FROM attempts a WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.event_id = a.event_id)"
    ),
    "transfers of no intent": (
        "SELECT count(*) FROM transfers t WHERE t.intent_id IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.intent_id = t.intent_id)"
    ),
    "confirmed intents without a payment": (
        "SELECT count(*) FROM intents i WHERE i.status IN ('confirmed', 'webhook_failed')"
        " AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.intent_id = i.intent_id AND t.settled)"
    ),
    "confirmed intents without a webhook": (
        "SELECT count(*) FROM intents i WHERE i.status IN ('confirmed', 'webhook_failed') AND NOT EXISTS"
        " (SELECT 1 FROM events e WHERE e.subject_id = i.intent_id AND e.event_type = 'payment.confirmed')"
        " AND i.webhook_delivered_at IS NULL"  # one that was delivered is forgotten after a while
    ),
    "counts of intents that are wrong": (
        "SELECT count(*) FROM (SELECT 1 FROM (SELECT chain_id, status, 1 AS n FROM intents"
        " UNION ALL SELECT chain_id, status, -count FROM intent_counts) each GROUP BY chain_id, status"
        " HAVING sum(n) <> 0) wrong"
    ),
}
COUNTED = ("intents", "transfers", "events", "attempts", "balance_watches", "checkpoints")
SEALED = (
    "SELECT callback_secret FROM intents WHERE callback_secret IS NOT NULL"
    " UNION SELECT callback_secret FROM balance_watches WHERE callback_secret IS NOT NULL"
    " UNION SELECT secret FROM callback_rotations"
    " UNION SELECT former_secret FROM callback_rotations WHERE former_secret IS NOT NULL"
)
KIND = StoreKind(
    service="scanner",
    setting="DB_PATH",
    key_setting="SCANNER_SECRET_KEY",
    migrate=migrate,
    orphans=ORPHANS,
    counted=COUNTED,
    sealed=SEALED,
)

COPIED = Copied(
    metadata=metadata,
    not_copied=("nodes", "leases", "rate_counts", "chain_reports"),
    sealed=[(column.table.name, column.name) for column in HOLDERS],
    amounts=lambda column: isinstance(column.type, BaseUnits),
)


def backup(store: Path, target: Path) -> None:
    """Copy the store to a new file, consistent and complete, while the daemon may be running."""
    maintenance.backup(KIND, store, target)


def restore(source: Path, store: Path, keys: Sequence[str] | None = None) -> Path | None:
    """Put a backup in the store's place and return where the former store was kept; None when there was none."""
    return maintenance.restore(KIND, source, store, keys)


def check(store: Path, keys: Sequence[str] | None = None) -> Health:
    """Look for damage and for rows that belong to nothing; the daemon may be running."""
    return maintenance.check(KIND, store, keys)
