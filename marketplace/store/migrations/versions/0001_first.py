"""The first tables, and the triggers that keep history as it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Spelling, Whole, checks, where
from kernel.store.leases import CLOCK

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

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
    "payout_addresses",
    "account_events",
    "payment_quotes",
    "goods_reveals",
    "goods_readings",
    "checkouts",
    "checkout_lines",
)


def upgrade() -> None:
    """Create everything, on either engine."""
    _people()
    _accounts()
    _messages()
    _trade()
    _payments()
    _told_transactions()
    _quotes()
    _money()
    _payout_settlements()
    _proofs()
    _sweeps()
    _payout_addresses()
    _disputes()
    _fees()
    _goods()
    _shops()
    _sharing()
    for statement in _refusals(Spelling(op.get_context().dialect.name)):
        op.execute(statement)


def _proofs() -> None:
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


def _people() -> None:
    """Create users, their sessions, and what they are told."""
    op.create_table(
        "users",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("name_key", sa.Text, server_default="", nullable=False),
        sa.Column("generation", Whole, server_default="0", nullable=False),
        sa.Column("suspended_at", Whole),
        sa.CheckConstraint("role IN ('admin', 'buyer', 'seller', 'resolver')", name="users_role_known"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
    )
    op.create_index("users_by_email", "users", ["email"], postgresql_ops={"email": "text_pattern_ops"})
    op.create_index("users_by_name", "users", ["name_key"], postgresql_ops={"name_key": "text_pattern_ops"})
    op.create_index("users_newest", "users", ["created_at"])
    op.create_index("users_role", "users", ["role", "id"])
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("family_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("used_at", Whole),
        sa.Column("revoked_at", Whole),
        sa.Column("expires_at", Whole, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("refresh_tokens_family", "refresh_tokens", ["family_id"])
    op.create_index("refresh_tokens_user", "refresh_tokens", ["user_id", "created_at"])
    op.create_table(
        "admin_sessions",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("admin_sessions_over", "admin_sessions", ["expires_at"])
    op.create_index("admin_sessions_user", "admin_sessions", ["user_id", "expires_at"])
    op.create_table(
        "notifications",
        sa.Column("seq", Whole, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("related_id", sa.Text),
        sa.Column("action_url", sa.Text),
        sa.Column("read_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("notifications_unread", "notifications", ["user_id"], **where("read_at IS NULL"))
    op.create_index("notifications_user", "notifications", ["user_id", "seq"])
    op.create_index("notifications_old", "notifications", ["created_at"])
    op.create_table(
        "announcements",
        sa.Column("seq", Whole, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("related_id", sa.Text, nullable=False),
        sa.Column("action_url", sa.Text),
        sa.Column("told_upto", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "notice_counts",
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("told_at", Whole, nullable=False),
        sa.Column("held_back", Whole, nullable=False),
        sa.CheckConstraint("held_back >= 0", name="notice_counts_held_back"),
        sa.PrimaryKeyConstraint("about", "type", "audience"),
    )
    op.create_index("notice_counts_due", "notice_counts", ["told_at"], **where("held_back > 0"))
    op.create_table(
        "threshold_history",
        sa.Column("id", Whole, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("confirmations", Whole, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("confirmations > 0", name="thresholds_positive"),
        sa.ForeignKeyConstraint(
            ["set_by"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("thresholds_chain", "threshold_history", ["chain_id", "id"])
    op.create_table(
        "key_proof",
        sa.Column("id", Whole, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="key_proof_one"),
        sa.PrimaryKeyConstraint("id"),
    )


def _accounts() -> None:
    """Create what becomes of accounts, links of admins, and second factors."""
    op.create_table(
        "account_events",
        sa.Column("id", Whole, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("by_user_id", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint(
            "kind IN ('created', 'invited', 'invitation_revoked', 'joined', 'registered', 'password_changed',"
            " 'reset_ordered', 'password_reset', 'suspended', 'unsuspended', 'sessions_ended',"
            " 'second_factor_added', 'second_factor_removed', 'recovery_code_used')",
            name="account_events_kind_known",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["by_user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("account_events_user", "account_events", ["user_id", "id"])
    op.create_table(
        "account_links",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("email", sa.Text),
        sa.Column("role", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
        sa.Column("used_at", Whole),
        sa.Column("revoked_at", Whole),
        sa.CheckConstraint("kind IN ('invitation', 'reset')", name="account_links_kind_known"),
        sa.CheckConstraint("(kind = 'invitation') = (user_id IS NULL)", name="account_links_for_whom"),
        sa.CheckConstraint(
            "(kind = 'invitation') = (email IS NOT NULL AND role IS NOT NULL)", name="account_links_invites"
        ),
        sa.CheckConstraint("used_at IS NULL OR revoked_at IS NULL", name="account_links_one_end"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_index("account_links_newest", "account_links", ["kind", "created_at"])
    op.create_index("account_links_user", "account_links", ["user_id"])
    op.create_index("account_links_over", "account_links", ["expires_at"])
    op.create_table(
        "second_factors",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("confirmed_at", Whole),
        sa.Column("last_step", Whole, server_default="0", nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("code_hash", sa.Text, nullable=False),
        sa.Column("used_at", Whole),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id", "code_hash"),
    )
    op.create_table(
        "known_addresses",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("address_hash", sa.Text, nullable=False),
        sa.Column("seen_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id", "address_hash"),
    )


def _messages() -> None:
    """Create what people are told elsewhere as well, and where."""
    op.create_table(
        "telegram_links",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("chat_id", sa.Text, nullable=False),
        sa.Column("linked_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "telegram_codes",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("code_hash", sa.Text, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id"),
        sa.UniqueConstraint("code_hash"),
    )
    op.create_table(
        "channel_choices",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.CheckConstraint("channel IN ('telegram', 'email')", name="channel_choices_channel_known"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id", "channel", "category"),
    )
    op.create_table(
        "messages",
        sa.Column("id", Whole, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("notification_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", Whole, server_default="0", nullable=False),
        sa.Column("next_attempt_at", Whole, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("done_at", Whole),
        sa.Column("claim", sa.Text),
        sa.Column("claimed_until", Whole),
        sa.CheckConstraint("channel IN ('telegram', 'email')", name="messages_channel_known"),
        sa.CheckConstraint("status IN ('pending','sent','failed')", name="messages_status_known"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("channel", "notification_id", name="messages_once"),
    )
    op.create_index("messages_due", "messages", ["next_attempt_at"], **where("status = 'pending'"))
    op.create_index("messages_done", "messages", ["done_at"])


def _trade() -> None:
    """Create what is asked for, offered, agreed and handed over."""
    op.create_table(
        "purchase_requests",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("buyer_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("product_type", sa.Text, nullable=False),
        sa.Column("product_link", sa.Text),
        sa.Column("quantity", Whole, nullable=False),
        sa.Column("budget_min", sa.Text, nullable=False),
        sa.Column("budget_max", sa.Text, nullable=False),
        sa.Column("budget_currency", sa.Text, nullable=False),
        sa.Column("urgency", sa.Text, nullable=False),
        sa.Column("delivery_type", sa.Text, nullable=False),
        sa.Column("delivery_email", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("selected_offer_id", sa.Text),
        sa.Column("delivery_confirmed", sa.Boolean, server_default="0", nullable=False),
        sa.Column("delivery_proof", sa.Text),
        sa.Column("delivered_at", Whole),
        sa.Column("confirmed_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        sa.CheckConstraint(
            "status IN ('pending_payment', 'pending', 'active', 'received_offers', 'in_negotiation',"
            " 'payment', 'processing', 'delivery', 'delivered', 'confirming',"
            " 'completed', 'seller_paid', 'cancelled')",
            name="requests_status_known",
        ),
        sa.ForeignKeyConstraint(
            ["buyer_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("requests_buyer", "purchase_requests", ["buyer_id", "created_at"])
    op.create_index("requests_feed", "purchase_requests", ["status", "created_at"])
    op.create_table(
        "offers",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("purchase_request_id", sa.Text, nullable=False),
        sa.Column("seller_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("price_amount", sa.Text, nullable=False),
        sa.Column("price_currency", sa.Text, nullable=False),
        sa.Column("delivery_amount", Whole, nullable=False),
        sa.Column("delivery_unit", sa.Text, nullable=False),
        sa.Column("notes", sa.Text),
        sa.Column("valid_until", Whole),
        sa.Column("require_aml_check", sa.Boolean, nullable=False),
        sa.Column("aml_block_on_failure", sa.Boolean, nullable=False),
        sa.Column("platform_fee_bps", Whole),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'active', 'accepted', 'rejected', 'withdrawn')", name="offers_status_known"
        ),
        sa.CheckConstraint("platform_fee_bps BETWEEN 0 AND 9999", name="offers_fee_known"),
        sa.CheckConstraint("(status = 'accepted') = (platform_fee_bps IS NOT NULL)", name="offers_accepted_has_fee"),
        sa.ForeignKeyConstraint(
            ["purchase_request_id"],
            ["purchase_requests.id"],
        ),
        sa.ForeignKeyConstraint(
            ["seller_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "offers_one_accepted", "offers", ["purchase_request_id"], unique=True, **where("status = 'accepted'")
    )
    op.create_index(
        "offers_one_live",
        "offers",
        ["purchase_request_id", "seller_id"],
        unique=True,
        **where("status IN ('pending','active','accepted')"),
    )
    op.create_index("offers_request", "offers", ["purchase_request_id", "created_at"])
    op.create_index("offers_seller", "offers", ["seller_id", "created_at"])
    op.create_table(
        "negotiation_rounds",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("offer_id", sa.Text, nullable=False),
        sa.Column("round", Whole, nullable=False),
        sa.Column("by_user_id", sa.Text, nullable=False),
        sa.Column("price_amount", sa.Text, nullable=False),
        sa.Column("price_currency", sa.Text, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("expires_at", Whole, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("round BETWEEN 1 AND 5", name="rounds_at_most_five"),
        sa.ForeignKeyConstraint(
            ["by_user_id"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["offer_id"],
            ["offers.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("offer_id", "round", name="rounds_once"),
    )
    op.create_table(
        "negotiation_answers",
        sa.Column("round_id", sa.Text, nullable=False),
        sa.Column("by_user_id", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("answer IN ('accepted','declined','countered')", name="answers_known"),
        sa.ForeignKeyConstraint(
            ["by_user_id"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["negotiation_rounds.id"],
        ),
        sa.PrimaryKeyConstraint("round_id"),
    )
    op.create_table(
        "delivery_codes",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("purchase_request_id", sa.Text, nullable=False),
        sa.Column("salt", sa.Text, nullable=False),
        sa.Column("code_hash", sa.Text, nullable=False),
        sa.Column("attempts", Whole, server_default="0", nullable=False),
        sa.Column("used_at", Whole),
        sa.Column("replaced_at", Whole),
        sa.Column("expires_at", Whole, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("attempts BETWEEN 0 AND 5", name="codes_attempts"),
        sa.ForeignKeyConstraint(
            ["purchase_request_id"],
            ["purchase_requests.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "codes_one_live",
        "delivery_codes",
        ["purchase_request_id"],
        unique=True,
        **where("used_at IS NULL AND replaced_at IS NULL"),
    )


def _payments() -> None:
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
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("inbox_payment", "webhook_inbox", ["payment_id"])


def _told_transactions() -> None:
    """Create what hosted providers say of payments, and the rule about the addresses they give."""
    op.create_table(
        "told_transactions",
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("told_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        sa.PrimaryKeyConstraint("payment_id", "tx_hash"),
    )
    op.create_index(
        "payments_given_address",
        "payments",
        ["chain_id", "destination"],
        unique=True,
        **where("provider = 'shkeeper' AND destination IS NOT NULL"),
    )


def _quotes() -> None:
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


def _money() -> None:
    """Create what was seen and booked of money."""
    op.create_table(
        "payment_transfers",
        sa.Column("number", Whole, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("event_key", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("sender", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("payment_id", "tx_hash", "event_key", name="payment_transfers_once"),
    )
    op.create_table(
        "credited_transfers",
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("event_key", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("sender", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("chain_id", "tx_hash", "event_key"),
    )
    op.create_index("credited_payment", "credited_transfers", ["payment_id"])
    op.create_table(
        "recoveries",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("amount_base", sa.Text),
        sa.Column("token_address", sa.Text),
        sa.Column("count", Whole, server_default="1", nullable=False),
        sa.Column("tx_hash", sa.Text),
        sa.Column("last_tx_hash", sa.Text),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("dedupe_key", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        sa.CheckConstraint("count > 0", name="recoveries_count_positive"),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dedupe_key"),
    )
    op.create_index("recoveries_newest", "recoveries", ["updated_at"])
    op.create_index("recoveries_payment", "recoveries", ["payment_id", "reason"])
    op.create_table(
        "reorg_clearances",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("reorged_at", Whole, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("cleared_by", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["cleared_by"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("clearances_payment", "reorg_clearances", ["payment_id", "created_at"])
    op.create_table(
        "funds_ledger_entries",
        sa.Column("id", Whole, nullable=False),
        sa.Column("entry_type", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("purchase_request_id", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("token_address", sa.Text, nullable=False),
        sa.Column("amount_base", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        *checks("ledger_amount_positive", lambda sql: sql.positive("amount_base")),
        sa.CheckConstraint(
            "entry_type IN ('payment_detected', 'provider_fee', 'platform_fee', 'hold',"
            " 'release', 'refund', 'dispute_hold', 'adjustment')",
            name="ledger_type_known",
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.ForeignKeyConstraint(
            ["purchase_request_id"],
            ["purchase_requests.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("ledger_payment", "funds_ledger_entries", ["payment_id"])
    op.create_index(
        "ledger_fees", "funds_ledger_entries", ["chain_id", "token_address"], **where("entry_type = 'platform_fee'")
    )


def _payout_addresses() -> None:
    """Create which addresses sellers proved to be theirs."""
    op.create_table(
        "payout_challenges",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("shown_address", sa.Text, nullable=False),
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
        sa.Column("used_at", Whole),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("payout_challenges_user", "payout_challenges", ["user_id", "created_at"])
    op.create_table(
        "payout_addresses",
        sa.Column("number", Whole, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("shown_address", sa.Text, nullable=False),
        sa.Column("challenge_id", sa.Text, nullable=False),
        sa.Column("proof", sa.Text, nullable=False),
        sa.Column("effective_at", Whole, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["challenge_id"], ["payout_challenges.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("challenge_id"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("payout_addresses_newest", "payout_addresses", ["created_at"])
    op.create_index("payout_addresses_user", "payout_addresses", ["user_id", "chain_id", "created_at"])


def _sweeps() -> None:
    """Create which unsigned transactions stand for what."""
    op.create_table(
        "sweep_transfers",
        sa.Column("chain_id", Whole, autoincrement=False, nullable=False),
        sa.Column("from_address", sa.Text, nullable=False),
        sa.Column("nonce", Whole, autoincrement=False, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("to_address", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("built_by", sa.Text, nullable=False),
        sa.Column("built_at", Whole, nullable=False),
        sa.Column("tx_id", sa.Text),
        sa.Column("raw", sa.Text),
        sa.Column("expires_at", Whole),
        *checks("sweep_amount_positive", lambda sql: sql.positive("amount")),
        sa.ForeignKeyConstraint(["built_by"], ["users.id"]),
        sa.PrimaryKeyConstraint("chain_id", "from_address", "nonce"),
    )
    op.create_index("sweep_transfers_subject_once", "sweep_transfers", ["chain_id", "subject"], unique=True)


def _payout_settlements() -> None:
    """Create by which transactions instructions are carried out."""
    op.create_table(
        "payout_settlements",
        sa.Column("instruction_id", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("given_hash", sa.Text, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("event_key", sa.Text),
        sa.Column("given_by", sa.Text, nullable=False),
        sa.Column("given_at", Whole, nullable=False),
        sa.Column("next_look_at", Whole, nullable=False),
        sa.Column("reported_at", Whole),
        sa.Column("done_at", Whole),
        sa.CheckConstraint("done_at IS NULL OR event_key IS NOT NULL", name="payout_settlements_done_is_proved"),
        sa.ForeignKeyConstraint(["given_by"], ["users.id"]),
        sa.ForeignKeyConstraint(["instruction_id"], ["payments.id"]),
        sa.PrimaryKeyConstraint("instruction_id"),
    )
    op.create_index(
        "payout_settlements_transfer_once",
        "payout_settlements",
        ["chain_id", "tx_hash", "event_key"],
        unique=True,
        **where("event_key IS NOT NULL"),
    )
    op.create_index("payout_settlements_due", "payout_settlements", ["next_look_at"], **where("done_at IS NULL"))


def _disputes() -> None:
    """Create disputes and what is said in them."""
    op.create_table(
        "disputes",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("purchase_request_id", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("buyer_bps", Whole),
        sa.Column("note", sa.Text),
        sa.Column("resolved_by", sa.Text),
        sa.Column("resolved_at", Whole),
        sa.Column("assigned_to", sa.Text),
        sa.Column("due_at", Whole, nullable=False),
        sa.Column("overdue_told_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("(status = 'resolved') = (outcome IS NOT NULL)", name="disputes_resolved_has_outcome"),
        sa.CheckConstraint(
            "(coalesce(outcome, '') = 'split') = (buyer_bps IS NOT NULL)", name="disputes_split_has_share"
        ),
        sa.CheckConstraint("buyer_bps BETWEEN 0 AND 10000", name="disputes_share_known"),
        sa.ForeignKeyConstraint(
            ["assigned_to"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["opened_by"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.ForeignKeyConstraint(
            ["purchase_request_id"],
            ["purchase_requests.id"],
        ),
        sa.ForeignKeyConstraint(
            ["resolved_by"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("disputes_newest", "disputes", ["created_at"])
    op.create_index("disputes_due", "disputes", ["due_at"], **where("status = 'open'"))
    op.create_index("disputes_one_open", "disputes", ["payment_id"], unique=True, **where("status = 'open'"))
    op.create_index("disputes_request", "disputes", ["purchase_request_id"])
    op.create_table(
        "dispute_evidence",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("dispute_id", sa.Text, nullable=False),
        sa.Column("by_user_id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("link", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["by_user_id"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["dispute_id"],
            ["disputes.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("evidence_dispute", "dispute_evidence", ["dispute_id"])
    op.create_table(
        "dispute_messages",
        sa.Column("id", Whole, nullable=False),
        sa.Column("dispute_id", sa.Text, nullable=False),
        sa.Column("by_user_id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["dispute_id"], ["disputes.id"]),
        sa.ForeignKeyConstraint(["by_user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("messages_dispute", "dispute_messages", ["dispute_id", "by_user_id"])


def _fees() -> None:
    """Create what admins set as the fee of single sellers."""
    op.create_table(
        "fee_history",
        sa.Column("id", Whole, nullable=False),
        sa.Column("seller_id", sa.Text, nullable=False),
        sa.Column("bps", Whole),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("bps BETWEEN 0 AND 9999", name="fees_known"),
        sa.ForeignKeyConstraint(["seller_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["set_by"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("fees_seller", "fee_history", ["seller_id", "id"])


def _goods() -> None:
    """Create stocks of digital goods, and who got what out of them."""
    op.create_table(
        "goods_keys",
        sa.Column("id", Whole, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="goods_keys_one"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "stock_pools",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("seller_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("low_at", Whole, nullable=False),
        sa.Column("told_left", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        sa.CheckConstraint("low_at BETWEEN 0 AND 10000", name="stock_pools_low_at"),
        sa.ForeignKeyConstraint(["seller_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("seller_id", "name", name="stock_pools_name"),
    )
    op.create_index("stock_pools_newest", "stock_pools", ["created_at"])
    op.create_table(
        "stock_items",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("pool_id", sa.Text, nullable=False),
        sa.Column("seller_id", sa.Text, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("line", Whole, nullable=False),
        sa.Column("expires_at", Whole),
        sa.Column("payment_id", sa.Text),
        sa.Column("reserved_at", Whole),
        sa.Column("withdrawn_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("(payment_id IS NULL) = (reserved_at IS NULL)", name="stock_items_reserved_for"),
        sa.CheckConstraint("payment_id IS NULL OR withdrawn_at IS NULL", name="stock_items_withdrawn_or_sold"),
        sa.ForeignKeyConstraint(["pool_id"], ["stock_pools.id"]),
        sa.ForeignKeyConstraint(["seller_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("seller_id", "digest", name="stock_items_once"),
    )
    free = "payment_id IS NULL AND withdrawn_at IS NULL"
    op.create_index("stock_items_free", "stock_items", ["pool_id", "expires_at", "created_at", "line"], **where(free))
    op.create_index("stock_items_pool", "stock_items", ["pool_id", "created_at", "line"])
    op.create_index("stock_items_payment", "stock_items", ["payment_id"], **where("payment_id IS NOT NULL"))
    op.create_index(
        "stock_items_expiring", "stock_items", ["expires_at"], **where(f"{free} AND expires_at IS NOT NULL")
    )
    op.create_index("stock_items_key", "stock_items", ["key_id"])
    op.create_table(
        "offered_goods",
        sa.Column("offer_id", sa.Text, nullable=False),
        sa.Column("pool_id", sa.Text, nullable=False),
        sa.Column("units", Whole, nullable=False),
        sa.CheckConstraint("units BETWEEN 1 AND 100", name="offered_goods_units"),
        sa.ForeignKeyConstraint(["offer_id"], ["offers.id"]),
        sa.ForeignKeyConstraint(["pool_id"], ["stock_pools.id"]),
        sa.PrimaryKeyConstraint("offer_id", "pool_id"),
    )
    op.create_table(
        "goods_orders",
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("pool_id", sa.Text, nullable=False),
        sa.Column("units", Whole, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        sa.CheckConstraint("status IN ('waiting','reserved','returned')", name="goods_orders_status"),
        sa.CheckConstraint("units BETWEEN 1 AND 100", name="goods_orders_units"),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        sa.ForeignKeyConstraint(["pool_id"], ["stock_pools.id"]),
        sa.PrimaryKeyConstraint("payment_id", "pool_id"),
    )
    op.create_index("goods_orders_waiting", "goods_orders", ["created_at"], **where("status = 'waiting'"))
    _shown_goods()


def _shown_goods() -> None:
    """Create what keeps whom a good was shown to."""
    op.create_table(
        "goods_reveals",
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("buyer_id", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["stock_items.id"]),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        sa.ForeignKeyConstraint(["buyer_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("item_id"),
    )
    op.create_index("goods_reveals_payment", "goods_reveals", ["payment_id"])
    op.create_table(
        "goods_readings",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("buyer_id", sa.Text, nullable=False),
        sa.Column("items", Whole, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"]),
        sa.ForeignKeyConstraint(["buyer_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("goods_readings_payment", "goods_readings", ["payment_id", "created_at"])


def _shops() -> None:
    """Create what sellers offer to everybody, and what was ordered of it."""
    op.create_table(
        "shops",
        sa.Column("seller_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["seller_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("seller_id"),
    )
    op.create_table(
        "request_templates",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("seller_id", sa.Text, nullable=False),
        sa.Column("share_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("product_type", sa.Text, nullable=False),
        sa.Column("price_amount", sa.Text, nullable=False),
        sa.Column("price_currency", sa.Text, nullable=False),
        sa.Column("delivery_amount", Whole, nullable=False),
        sa.Column("delivery_unit", sa.Text, nullable=False),
        sa.Column("pool_id", sa.Text),
        sa.Column("require_aml_check", sa.Boolean, nullable=False),
        sa.Column("aml_block_on_failure", sa.Boolean, nullable=False),
        sa.Column("listed", sa.Boolean, nullable=False),
        sa.Column("max_uses", Whole, nullable=False),
        sa.Column("uses", Whole, nullable=False),
        sa.Column("closed_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        sa.CheckConstraint(
            "product_type IN ('physical_product', 'digital_product', 'service', 'consultation')",
            name="request_templates_type_known",
        ),
        sa.CheckConstraint("uses >= 0 AND (max_uses = 0 OR uses <= max_uses)", name="request_templates_uses"),
        sa.ForeignKeyConstraint(["seller_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["pool_id"], ["stock_pools.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("share_id"),
    )
    op.create_index("request_templates_seller", "request_templates", ["seller_id", "created_at"])
    op.create_index("request_templates_newest", "request_templates", ["created_at"])
    op.create_table(
        "checkouts",
        sa.Column("buyer_id", sa.Text, nullable=False),
        sa.Column("checkout_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("purchase_request_id", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["buyer_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["purchase_request_id"], ["purchase_requests.id"]),
        sa.PrimaryKeyConstraint("buyer_id", "checkout_id"),
        sa.UniqueConstraint("purchase_request_id"),
    )
    op.create_table(
        "checkout_lines",
        sa.Column("purchase_request_id", sa.Text, nullable=False),
        sa.Column("line", Whole, autoincrement=False, nullable=False),
        sa.Column("template_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("quantity", Whole, nullable=False),
        sa.Column("price_amount", sa.Text, nullable=False),
        sa.Column("price_currency", sa.Text, nullable=False),
        sa.CheckConstraint("line BETWEEN 1 AND 20", name="checkout_lines_at_most"),
        sa.CheckConstraint("quantity BETWEEN 1 AND 100", name="checkout_lines_quantity"),
        sa.ForeignKeyConstraint(["purchase_request_id"], ["purchase_requests.id"]),
        sa.ForeignKeyConstraint(["template_id"], ["request_templates.id"]),
        sa.PrimaryKeyConstraint("purchase_request_id", "line"),
    )
    op.create_index("checkout_lines_template", "checkout_lines", ["template_id"])


def _refused_of_goods(sql: Spelling) -> list[str]:
    """A good that somebody saw is nobody else's, whatever the code above believes."""
    other = sql.differs("NEW.payment_id", "OLD.payment_id")
    seen = "EXISTS (SELECT 1 FROM goods_reveals r WHERE r.item_id = OLD.id)"
    return [
        *sql.refusal(
            "stock_items_seen_stay",
            "BEFORE UPDATE OF payment_id ON stock_items",
            "a good that was shown to somebody stays theirs",
            condition=f"{other} AND {seen}",
        ),
        *sql.refusal(
            "goods_reveals_to_its_payer",
            "BEFORE INSERT ON goods_reveals",
            "a good is shown to whoever pays for it",
            condition="NOT EXISTS (SELECT 1 FROM stock_items i"
            " WHERE i.id = NEW.item_id AND i.payment_id = NEW.payment_id)",
        ),
    ]


def _sharing() -> None:
    """Create what several processes on one store know of each other."""
    op.create_table(
        "rate_counts",
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("limit_name", sa.Text, nullable=False),
        sa.Column("slot", Whole, autoincrement=False, nullable=False),
        sa.Column("process", sa.Text, nullable=False),
        sa.Column("count", Whole, nullable=False),
        sa.Column("over_at", Whole, nullable=False),
        sa.PrimaryKeyConstraint("client", "limit_name", "slot", "process"),
    )
    op.create_index("rate_counts_over", "rate_counts", ["over_at"])
    op.create_table(
        "nodes",
        sa.Column("incarnation", sa.Text, primary_key=True),
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("started_at", Whole, nullable=False),
        sa.Column("seen_at", Whole, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text),
        sa.Column("term", sa.Text),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute(CLOCK)
        op.execute("ALTER TABLE rate_counts SET UNLOGGED")  # what is written every second need not last


def _refusals(sql: Spelling) -> list[str]:
    """What was written down as it was stays so: the store itself refuses a change."""
    found = []
    for table in APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            name, when = f"{table}_no_{change.lower()}", f"BEFORE {change} ON {table}"
            found += sql.refusal(name, when, f"{table} is append-only")
        found += sql.no_truncate(table, f"{table} is append-only")
    found += sql.refusal(
        "offers_fee_frozen",
        "BEFORE UPDATE OF platform_fee_bps ON offers",
        "the fee of an accepted offer is frozen",
        condition=f"OLD.platform_fee_bps IS NOT NULL AND {sql.differs('NEW.platform_fee_bps', 'OLD.platform_fee_bps')}",
    )
    found += _refusals_of_settlements(sql)
    found += _refused_of_goods(sql)
    # SQLite's `INSERT OR REPLACE` deletes without firing the triggers above.
    found += sql.refusal(
        "funds_ledger_entries_no_replace",
        "BEFORE INSERT ON funds_ledger_entries",
        "funds_ledger_entries is append-only",
        condition="EXISTS (SELECT 1 FROM funds_ledger_entries"
        " WHERE id = NEW.id OR idempotency_key = NEW.idempotency_key)",
        unique=True,
    )
    found += sql.refusal(
        "payment_quotes_no_replace",
        "BEFORE INSERT ON payment_quotes",
        "UNIQUE: payment_quotes is append-only",
        condition="EXISTS (SELECT 1 FROM payment_quotes WHERE payment_id = NEW.payment_id)",
        unique=True,
    )
    # It comes before the constraint's own refusal, and is read as the same.
    found += sql.refusal(
        "credited_transfers_no_replace",
        "BEFORE INSERT ON credited_transfers",
        "UNIQUE: credited_transfers is append-only",
        condition="EXISTS (SELECT 1 FROM credited_transfers"
        " WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash AND event_key = NEW.event_key)",
        unique=True,
    )
    found += sql.refusal(
        "proven_transfers_no_replace",
        "BEFORE INSERT ON proven_transfers",
        "UNIQUE: proven_transfers is append-only",
        condition="EXISTS (SELECT 1 FROM proven_transfers WHERE chain_id = NEW.chain_id"
        " AND block_hash = NEW.block_hash AND transaction_index = NEW.transaction_index"
        " AND log_position = NEW.log_position)",
        unique=True,
    )
    return found


def _refusals_of_settlements(sql: Spelling) -> list[str]:
    """What was seen to pay an instruction stays so: else the same transfer could pay another one."""
    found = []
    for change in ("UPDATE", "DELETE"):
        found += sql.refusal(
            f"payout_settlements_done_no_{change.lower()}",
            f"BEFORE {change} ON payout_settlements",
            "a payout that was proved is append-only",
            condition="OLD.done_at IS NOT NULL",
        )
    found += sql.refusal(
        "payout_settlements_no_replace",
        "BEFORE INSERT ON payout_settlements",
        "a payout that was proved is append-only",
        condition="EXISTS (SELECT 1 FROM payout_settlements WHERE done_at IS NOT NULL AND (instruction_id ="
        " NEW.instruction_id OR (chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash AND event_key = NEW.event_key)))",
        unique=True,
    )
    return found
