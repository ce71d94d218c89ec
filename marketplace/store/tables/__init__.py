"""The tables, declared once, by rooms. Times are unix milliseconds; amounts are base-10 text."""

from __future__ import annotations

from marketplace.store.tables.accounts import (
    account_events,
    account_links,
    admin_sessions,
    known_addresses,
    recovery_codes,
    refresh_tokens,
    second_factors,
    users,
)
from marketplace.store.tables.disputes import dispute_evidence, dispute_messages, disputes
from marketplace.store.tables.evidence import (
    credited_transfers,
    payment_transfers,
    proven_transfers,
    recoveries,
    reorg_clearances,
    scanner_outbox,
    told_transactions,
    webhook_inbox,
)
from marketplace.store.tables.goods import (
    goods_keys,
    goods_orders,
    goods_readings,
    goods_reveals,
    offered_goods,
    stock_items,
    stock_pools,
)
from marketplace.store.tables.money import (
    fee_history,
    funds_ledger_entries,
    payout_addresses,
    payout_challenges,
    payout_settlements,
    sweep_transfers,
)
from marketplace.store.tables.notifications import (
    announcements,
    channel_choices,
    messages,
    notice_counts,
    notifications,
    telegram_codes,
    telegram_links,
)
from marketplace.store.tables.payments import (
    address_indices,
    address_reservations,
    payment_quotes,
    payments,
    threshold_history,
)
from marketplace.store.tables.schema import metadata
from marketplace.store.tables.shared import key_proof, leases, nodes, rate_counts
from marketplace.store.tables.shops import checkout_lines, checkouts, request_templates, shops
from marketplace.store.tables.trade import (
    delivery_codes,
    negotiation_answers,
    negotiation_rounds,
    offers,
    purchase_requests,
)

# What happened is never changed: these tables only grow, and triggers of the first migration say so.
APPEND_ONLY = (
    "funds_ledger_entries",
    "credited_transfers",
    "proven_transfers",
    "negotiation_rounds",
    "negotiation_answers",
    "threshold_history",
    "fee_history",
    "dispute_messages",
    "reorg_clearances",
    "account_events",
    "payment_quotes",
    "goods_reveals",
    "goods_readings",
    "checkouts",
    "checkout_lines",
)


__all__ = [
    "APPEND_ONLY",
    "account_events",
    "account_links",
    "address_indices",
    "address_reservations",
    "admin_sessions",
    "announcements",
    "channel_choices",
    "checkout_lines",
    "checkouts",
    "credited_transfers",
    "delivery_codes",
    "dispute_evidence",
    "dispute_messages",
    "disputes",
    "fee_history",
    "funds_ledger_entries",
    "goods_keys",
    "goods_orders",
    "goods_readings",
    "goods_reveals",
    "key_proof",
    "known_addresses",
    "leases",
    "messages",
    "metadata",
    "negotiation_answers",
    "negotiation_rounds",
    "nodes",
    "notice_counts",
    "notifications",
    "offered_goods",
    "offers",
    "payment_quotes",
    "payment_transfers",
    "payments",
    "payout_addresses",
    "payout_challenges",
    "payout_settlements",
    "proven_transfers",
    "purchase_requests",
    "rate_counts",
    "recoveries",
    "recovery_codes",
    "refresh_tokens",
    "reorg_clearances",
    "request_templates",
    "scanner_outbox",
    "second_factors",
    "shops",
    "stock_items",
    "stock_pools",
    "sweep_transfers",
    "telegram_codes",
    "telegram_links",
    "threshold_history",
    "told_transactions",
    "users",
    "webhook_inbox",
]
