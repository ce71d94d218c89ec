"""Copies of the marketplace's store and a look at its health."""

from __future__ import annotations

from kernel.store.copy import Copied
from kernel.store.maintenance import StoreKind
from marketplace.store.columns import BaseUnits
from marketplace.store.migrate import migrate
from marketplace.store.tables import metadata

KIND = StoreKind(
    service="marketplace",
    setting="MARKETPLACE_DB_PATH",
    key_setting="MARKETPLACE_SECRET_KEY",
    migrate=migrate,
    orphans={
        "ledger entries of no payment": (
            "SELECT count(*) FROM funds_ledger_entries e"
            " WHERE NOT EXISTS (SELECT 1 FROM payments p WHERE p.id = e.payment_id)"
        ),
        "payments of no purchase request": (
            "SELECT count(*) FROM payments p"
            " WHERE NOT EXISTS (SELECT 1 FROM purchase_requests r WHERE r.id = p.purchase_request_id)"
        ),
        "completed payments without a hold": (
            "SELECT count(*) FROM payments p WHERE p.direction = 'in' AND p.status = 'completed' AND NOT EXISTS"
            " (SELECT 1 FROM funds_ledger_entries e WHERE e.payment_id = p.id AND e.entry_type = 'hold')"
        ),
    },
    counted=("users", "purchase_requests", "offers", "payments", "funds_ledger_entries", "webhook_inbox"),
    sealed="SELECT sealed FROM key_proof UNION ALL SELECT sealed FROM second_factors",
)

COPIED = Copied(
    metadata=metadata,
    not_copied=("nodes", "leases", "rate_counts"),
    sealed=(("key_proof", "sealed"), ("second_factors", "sealed")),
    amounts=lambda column: isinstance(column.type, BaseUnits),
)
