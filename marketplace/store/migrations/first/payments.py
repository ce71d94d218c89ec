"""What buyers pay, by which quote, and what was proved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Whole, checks, where


def payments() -> None:
    """Create payments, where they are paid, and what is owed to the scanner."""
    op.create_table(
        "payments",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("purchase_request_id", sa.Text, nullable=False),
        sa.Column("seller_offer_id", sa.Text, nullable=False),
        sa.Column("buyer_id", sa.Text, nullable=False),
        sa.Column("seller_id", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("provider_payment_id", sa.Text),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("rail", sa.Text, nullable=False),
        sa.Column("mode", sa.Text),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("token_address", sa.Text, nullable=False),
        sa.Column("token_symbol", sa.Text, nullable=False),
        sa.Column("decimals", Whole, nullable=False),
        sa.Column("amount_base", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("destination", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("escrow_state", sa.Text),
        sa.Column("confirmations_required", Whole, nullable=False),
        sa.Column("registered_at", Whole),
        sa.Column("checkout", sa.Text),
        sa.Column("payment_url", sa.Text),
        sa.Column("baseline_balance", sa.Text),
        sa.Column("current_balance", sa.Text),
        sa.Column("next_check_at", Whole),
        sa.Column("stop_reason", sa.Text),
        sa.Column("watch_stopped_at", Whole),
        sa.Column("hold_reason", sa.Text),
        sa.Column("evidence", sa.Text),
        sa.Column("tx_hash", sa.Text),
        sa.Column("hold_until", Whole),
        sa.Column("reorged_at", Whole),
        sa.Column("ordered", sa.Text),
        sa.Column("settles_payment_id", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("expires_at", Whole),
        sa.Column("looked_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        *checks("payments_amount_positive", lambda sql: sql.positive("amount_base")),
        sa.CheckConstraint(
            "direction != 'in' OR status != 'completed' OR (escrow_state IS NOT NULL AND evidence IS NOT NULL)",
            name="payments_completed_has_evidence",
        ),
        sa.CheckConstraint(
            "direction != 'in' OR status IN ('completed','refunded')"
            " OR escrow_state IS NULL OR escrow_state IN ('failed','cancelled','partial')",
            name="payments_funded_is_completed",
        ),
        sa.CheckConstraint("direction IN ('in', 'out', 'refund')", name="payments_direction_known"),
        sa.CheckConstraint(
            "escrow_state IS NULL OR escrow_state IN ('funded', 'releasable', 'releasing', 'released',"
            " 'refunded', 'failed', 'cancelled', 'partial')",
            name="payments_escrow_known",
        ),
        sa.CheckConstraint(
            "provider IN ('amn.scanner', 'request.network', 'shkeeper', 'escrow', 'other')",
            name="payments_provider_known",
        ),
        sa.CheckConstraint(
            "destination IS NOT NULL OR (provider = 'shkeeper' AND registered_at IS NULL)",
            name="payments_destination_known",
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'confirmed', 'completed', 'failed', 'cancelled', 'refunded')",
            name="payments_status_known",
        ),
        sa.ForeignKeyConstraint(
            ["buyer_id"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["purchase_request_id"],
            ["purchase_requests.id"],
        ),
        sa.ForeignKeyConstraint(
            ["seller_id"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["seller_offer_id"],
            ["offers.id"],
        ),
        sa.ForeignKeyConstraint(
            ["settles_payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("payments_buyer", "payments", ["buyer_id", "created_at"])
    op.create_index(
        "payments_one_pay_in",
        "payments",
        ["purchase_request_id"],
        unique=True,
        **where("direction = 'in' AND status IN ('pending','processing','confirmed','completed')"),
    )
    op.create_index(
        "payments_provider_id",
        "payments",
        ["provider", "provider_payment_id"],
        unique=True,
        **where("provider_payment_id IS NOT NULL"),
    )
    op.create_index("payments_request", "payments", ["purchase_request_id"])
    op.create_index("payments_seller", "payments", ["seller_id", "created_at"])
    op.create_index("payments_instructions", "payments", ["created_at"], **where("direction != 'in'"))
    op.create_index("payments_settles", "payments", ["settles_payment_id", "direction"], unique=True)
    op.create_index("payments_status", "payments", ["status", "expires_at"])
    op.create_index("payments_hosted", "payments", ["updated_at"], **where("provider != 'amn.scanner'"))
    op.create_table(
        "address_indices",
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("next_index", Whole, nullable=False),
        sa.PrimaryKeyConstraint("source"),
    )
    op.create_table(
        "address_reservations",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("token_key", sa.Text, nullable=False),
        sa.Column("destination_key", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("source_index", Whole, nullable=False),
        sa.Column("payment_id", sa.Text),
        sa.Column("released_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source", "source_index", name="reservations_index_once"),
    )
    op.create_index("reservations_destination", "address_reservations", ["destination_key"])
    op.create_index(
        "reservations_one_live",
        "address_reservations",
        ["chain_id", "token_key", "destination_key"],
        unique=True,
        **where("released_at IS NULL"),
    )
    op.create_table(
        "scanner_outbox",
        sa.Column("id", Whole, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", Whole, server_default="0", nullable=False),
        sa.Column("next_attempt_at", Whole, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("done_at", Whole),
        sa.Column("claim", sa.Text),
        sa.Column("claimed_until", Whole),
        sa.CheckConstraint("kind IN ('register','cancel_intent','stop_watch')", name="outbox_kind_known"),
        sa.CheckConstraint("status IN ('pending','done','refused')", name="outbox_status_known"),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "payment_id", name="outbox_once"),
    )
    op.create_index("outbox_due", "scanner_outbox", ["next_attempt_at"], **where("status = 'pending'"))
    op.create_table(
        "webhook_inbox",
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("received_at", Whole, nullable=False),
        sa.Column("tried_at", Whole),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("inbox_payment", "webhook_inbox", ["payment_id"])
    op.create_index("inbox_received", "webhook_inbox", ["received_at"])
    op.create_index("inbox_unread", "webhook_inbox", ["payment_id"], **where("outcome = 'unread'"))


def told_transactions() -> None:
    """Create what hosted providers say of payments, and the rule about the addresses they give."""
    op.create_table(
        "told_transactions",
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("told_at", Whole, nullable=False),
        sa.Column("looked_at", Whole),
        sa.Column("seen", sa.Text),
        sa.Column("settled_at", Whole),
        sa.Column("done_at", Whole),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        sa.PrimaryKeyConstraint("payment_id", "tx_hash"),
    )
    op.create_index("told_undone", "told_transactions", ["payment_id"], **where("done_at IS NULL"))
    op.create_index(
        "payments_given_address",
        "payments",
        ["chain_id", "destination"],
        unique=True,
        **where("provider = 'shkeeper' AND destination IS NOT NULL"),
    )


def quotes() -> None:
    """Create what amounts in another currency than the token's were quoted by."""
    op.create_table(
        "payment_quotes",
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("offer_amount", sa.Text, nullable=False),
        sa.Column("offer_currency", sa.Text, nullable=False),
        sa.Column("fx_rate", sa.Text, nullable=False),
        sa.Column("token_price_usd", sa.Text, nullable=False),
        sa.Column("depeg_adjustment_bps", Whole, nullable=False),
        sa.Column("raw_settle_amount", sa.Text, nullable=False),
        sa.Column("settle_amount", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("token_address", sa.Text, nullable=False),
        sa.Column("sources", sa.Text, nullable=False),
        sa.Column("quoted_at", Whole, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
        *checks("quotes_offer_positive", lambda sql: sql.positive_decimal("offer_amount")),
        *checks("quotes_rate_positive", lambda sql: sql.positive_decimal("fx_rate")),
        *checks("quotes_price_positive", lambda sql: sql.positive_decimal("token_price_usd")),
        *checks("quotes_raw_positive", lambda sql: sql.positive_decimal("raw_settle_amount")),
        *checks("quotes_settle_positive", lambda sql: sql.positive_decimal("settle_amount")),
        *checks("quotes_rounded_up", lambda sql: sql.no_less("settle_amount", "raw_settle_amount")),
        sa.CheckConstraint("depeg_adjustment_bps BETWEEN 0 AND 9999", name="quotes_adjustment"),
        sa.CheckConstraint("expires_at > quoted_at", name="quotes_end_later"),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("payment_id"),
    )


def proofs() -> None:
    """Create what is known of logs that are proven to have paid."""
    op.create_table(
        "proven_transfers",
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("block_hash", sa.Text, nullable=False),
        sa.Column("transaction_index", Whole, nullable=False),
        sa.Column("log_position", Whole, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        sa.PrimaryKeyConstraint("chain_id", "block_hash", "transaction_index", "log_position"),
    )
