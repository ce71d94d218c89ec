"""The tables, declared once. Times are unix milliseconds; amounts are base-10 text."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from kernel.store.ddl import Whole, checks, where
from kernel.store.dialects import StrangersText
from kernel.store.leases import lease_tables
from kernel.store.rates import rate_table
from marketplace import model
from marketplace.store.columns import BaseUnits, Json, OneOf, identity, known, times
from marketplace.store.goods_tables import goods_tables
from marketplace.store.shop_tables import shop_tables

metadata = MetaData()

users = Table(
    "users",
    metadata,
    identity(),
    Column("email", StrangersText, nullable=False, unique=True),
    Column("name", StrangersText, nullable=False),
    Column("role", OneOf(model.Role), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("name_key", StrangersText, nullable=False, server_default=""),  # the name as it is searched for
    Column("generation", Whole, nullable=False, server_default="0"),  # of sessions: each end of all of them adds one
    Column("suspended_at", Whole),
    CheckConstraint(known("role", model.Role), name="users_role_known"),
    Index("users_by_email", "email", postgresql_ops={"email": "text_pattern_ops"}),
    Index("users_by_name", "name_key", postgresql_ops={"name_key": "text_pattern_ops"}),
    Index("users_newest", "created_at"),
    Index("users_role", "role", "id"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("family_id", Text, nullable=False),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("used_at", Whole),
    Column("revoked_at", Whole),
    Column("expires_at", Whole, nullable=False),
    Column("created_at", Whole, nullable=False),
    Index("refresh_tokens_family", "family_id"),
    Index("refresh_tokens_user", "user_id", "created_at"),
)

# Browsers that are signed in to the pages of admins and resolvers.
admin_sessions = Table(
    "admin_sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("expires_at", Whole, nullable=False),
    Index("admin_sessions_user", "user_id", "expires_at"),
    Index("admin_sessions_over", "expires_at"),
)

purchase_requests = Table(
    "purchase_requests",
    metadata,
    identity(),
    Column("buyer_id", Text, ForeignKey("users.id"), nullable=False),
    Column("title", StrangersText, nullable=False),
    Column("description", StrangersText, nullable=False),
    Column("product_type", OneOf(model.ProductType), nullable=False),
    Column("product_link", StrangersText),
    Column("quantity", Whole, nullable=False),
    Column("budget_min", Text, nullable=False),
    Column("budget_max", Text, nullable=False),
    Column("budget_currency", Text, nullable=False),
    Column("urgency", StrangersText, nullable=False),
    Column("delivery_type", StrangersText, nullable=False),
    Column("delivery_email", StrangersText),
    Column("status", OneOf(model.RequestStatus), nullable=False),
    Column("selected_offer_id", Text),
    Column("delivery_confirmed", Boolean, nullable=False, server_default="0"),
    Column("delivery_proof", Json),
    Column("delivered_at", Whole),
    Column("confirmed_at", Whole),
    *times(),
    CheckConstraint(known("status", model.RequestStatus), name="requests_status_known"),
    Index("requests_buyer", "buyer_id", "created_at"),
    Index("requests_feed", "status", "created_at"),
)

offers = Table(
    "offers",
    metadata,
    identity(),
    Column("purchase_request_id", Text, ForeignKey("purchase_requests.id"), nullable=False),
    Column("seller_id", Text, ForeignKey("users.id"), nullable=False),
    Column("title", StrangersText, nullable=False),
    Column("description", StrangersText, nullable=False),
    Column("price_amount", StrangersText, nullable=False),
    Column("price_currency", StrangersText, nullable=False),
    Column("delivery_amount", Whole, nullable=False),
    Column("delivery_unit", StrangersText, nullable=False),
    Column("notes", StrangersText),
    Column("valid_until", Whole),
    Column("require_aml_check", Boolean, nullable=False),
    Column("aml_block_on_failure", Boolean, nullable=False),
    Column("platform_fee_bps", Whole),  # frozen when it is accepted
    Column("status", OneOf(model.OfferStatus), nullable=False),
    *times(),
    CheckConstraint("platform_fee_bps BETWEEN 0 AND 9999", name="offers_fee_known"),
    CheckConstraint("(status = 'accepted') = (platform_fee_bps IS NOT NULL)", name="offers_accepted_has_fee"),
    CheckConstraint(known("status", model.OfferStatus), name="offers_status_known"),
    Index("offers_request", "purchase_request_id", "created_at"),
    Index("offers_seller", "seller_id", "created_at"),
    Index(
        "offers_one_live",
        "purchase_request_id",
        "seller_id",
        unique=True,
        **where("status IN ('pending','active','accepted')"),
    ),
    Index("offers_one_accepted", "purchase_request_id", unique=True, **where("status = 'accepted'")),
)

negotiation_rounds = Table(
    "negotiation_rounds",
    metadata,
    identity(),
    Column("offer_id", Text, ForeignKey("offers.id"), nullable=False),
    Column("round", Whole, nullable=False),
    Column("by_user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("price_amount", StrangersText, nullable=False),
    Column("price_currency", StrangersText, nullable=False),
    Column("note", StrangersText),
    Column("expires_at", Whole, nullable=False),
    Column("created_at", Whole, nullable=False),
    UniqueConstraint("offer_id", "round", name="rounds_once"),
    CheckConstraint("round BETWEEN 1 AND 5", name="rounds_at_most_five"),
)

negotiation_answers = Table(
    "negotiation_answers",
    metadata,
    Column("round_id", Text, ForeignKey("negotiation_rounds.id"), primary_key=True),
    Column("by_user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", Whole, nullable=False),
    CheckConstraint("answer IN ('accepted','declined','countered')", name="answers_known"),
)

payments = Table(
    "payments",
    metadata,
    identity(),
    Column("purchase_request_id", Text, ForeignKey("purchase_requests.id"), nullable=False),
    Column("seller_offer_id", Text, ForeignKey("offers.id"), nullable=False),
    Column("buyer_id", Text, ForeignKey("users.id"), nullable=False),
    Column("seller_id", Text, ForeignKey("users.id"), nullable=False),
    Column("provider", OneOf(model.Provider), nullable=False),
    Column("provider_payment_id", Text),
    Column("direction", OneOf(model.Direction), nullable=False),
    Column("rail", OneOf(model.Rail), nullable=False),
    Column("mode", OneOf(model.Mode)),
    Column("chain_id", Whole, nullable=False),
    Column("token_address", Text, nullable=False),
    Column("token_symbol", Text, nullable=False),
    Column("decimals", Whole, nullable=False),
    Column("amount_base", BaseUnits, nullable=False),
    Column("amount", Text, nullable=False),
    Column("destination", Text),
    Column("status", OneOf(model.PaymentStatus), nullable=False),
    Column("escrow_state", OneOf(model.EscrowState)),
    Column("confirmations_required", Whole, nullable=False),
    Column("registered_at", Whole),
    Column("checkout", Json),
    Column("payment_url", StrangersText),
    Column("baseline_balance", BaseUnits),
    Column("current_balance", BaseUnits),
    Column("next_check_at", Whole),
    Column("stop_reason", OneOf(model.StopReason)),
    Column("watch_stopped_at", Whole),
    Column("hold_reason", Text),
    Column("evidence", Json),
    Column("tx_hash", Text),
    Column("hold_until", Whole),
    Column("reorged_at", Whole),
    Column("ordered", OneOf(model.DisputeOutcome)),
    Column("settles_payment_id", Text, ForeignKey("payments.id")),
    Column("reason", StrangersText),
    Column("expires_at", Whole),
    Column("looked_at", Whole),
    *times(),
    *checks("payments_amount_positive", lambda sql: sql.positive("amount_base")),
    CheckConstraint(known("provider", model.Provider), name="payments_provider_known"),
    # Only a provider that gives the address itself is asked before it is known.
    CheckConstraint(
        "destination IS NOT NULL OR (provider = 'shkeeper' AND registered_at IS NULL)",
        name="payments_destination_known",
    ),
    CheckConstraint(known("direction", model.Direction), name="payments_direction_known"),
    CheckConstraint(known("status", model.PaymentStatus), name="payments_status_known"),
    CheckConstraint(
        f"escrow_state IS NULL OR {known('escrow_state', model.EscrowState)}", name="payments_escrow_known"
    ),
    # Funded means completed, and completed means that what was seen is kept.
    CheckConstraint(
        "direction != 'in' OR status != 'completed' OR (escrow_state IS NOT NULL AND evidence IS NOT NULL)",
        name="payments_completed_has_evidence",
    ),
    CheckConstraint(
        "direction != 'in' OR status IN ('completed','refunded')"
        " OR escrow_state IS NULL OR escrow_state IN ('failed','cancelled','partial')",
        name="payments_funded_is_completed",
    ),
    Index(
        "payments_provider_id",
        "provider",
        "provider_payment_id",
        unique=True,
        **where("provider_payment_id IS NOT NULL"),
    ),
    # A provider that gives the addresses gives none twice: one transfer would pay for two things.
    Index(
        "payments_given_address",
        "chain_id",
        "destination",
        unique=True,
        **where("provider = 'shkeeper' AND destination IS NOT NULL"),
    ),
    # One pay-in a request: an open one, or the one that was paid.
    Index(
        "payments_one_pay_in",
        "purchase_request_id",
        unique=True,
        **where("direction = 'in' AND status IN ('pending','processing','confirmed','completed')"),
    ),
    Index("payments_request", "purchase_request_id"),
    Index("payments_buyer", "buyer_id", "created_at"),
    Index("payments_seller", "seller_id", "created_at"),
    Index("payments_status", "status", "expires_at"),
    # One instruction a direction; nulls, which are pay-ins, differ from each other.
    Index("payments_settles", "settles_payment_id", "direction", unique=True),
    Index("payments_instructions", "created_at", **where("direction != 'in'")),
)

# What the amount of a payment was quoted by, where its price is in another currency than its token.
# Transactions that a hosted provider says pay; what they did is asked on the chain.
told_transactions = Table(
    "told_transactions",
    metadata,
    Column("payment_id", Text, ForeignKey("payments.id"), primary_key=True),
    Column("tx_hash", StrangersText, primary_key=True),
    Column("told_at", Whole, nullable=False),
)

payment_quotes = Table(
    "payment_quotes",
    metadata,
    Column("payment_id", Text, ForeignKey("payments.id"), primary_key=True),
    Column("offer_amount", Text, nullable=False),
    Column("offer_currency", Text, nullable=False),
    Column("fx_rate", Text, nullable=False),
    Column("token_price_usd", Text, nullable=False),
    Column("depeg_adjustment_bps", Whole, nullable=False),
    Column("raw_settle_amount", Text, nullable=False),
    Column("settle_amount", Text, nullable=False),
    Column("chain_id", Whole, nullable=False),
    Column("token_address", Text, nullable=False),
    Column("sources", Json, nullable=False),
    Column("quoted_at", Whole, nullable=False),
    Column("expires_at", Whole, nullable=False),
    *checks("quotes_offer_positive", lambda sql: sql.positive_decimal("offer_amount")),
    *checks("quotes_rate_positive", lambda sql: sql.positive_decimal("fx_rate")),
    *checks("quotes_price_positive", lambda sql: sql.positive_decimal("token_price_usd")),
    *checks("quotes_raw_positive", lambda sql: sql.positive_decimal("raw_settle_amount")),
    *checks("quotes_settle_positive", lambda sql: sql.positive_decimal("settle_amount")),
    *checks("quotes_rounded_up", lambda sql: sql.no_less("settle_amount", "raw_settle_amount")),
    CheckConstraint("depeg_adjustment_bps BETWEEN 0 AND 9999", name="quotes_adjustment"),
    CheckConstraint("expires_at > quoted_at", name="quotes_end_later"),
)

address_indices = Table(
    "address_indices",
    metadata,
    Column("source", Text, primary_key=True),  # which key or list; an index of it is used once
    Column("next_index", Whole, nullable=False),
)

address_reservations = Table(
    "address_reservations",
    metadata,
    identity(),
    Column("chain_id", Whole, nullable=False),
    Column("token_key", Text, nullable=False),
    Column("destination_key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_index", Whole, nullable=False),
    Column("payment_id", Text, ForeignKey("payments.id")),  # none once the payment was pruned: used is used
    Column("released_at", Whole),
    Column("created_at", Whole, nullable=False),
    UniqueConstraint("source", "source_index", name="reservations_index_once"),
    Index("reservations_destination", "destination_key"),
    Index(
        "reservations_one_live",
        "chain_id",
        "token_key",
        "destination_key",
        unique=True,
        **where("released_at IS NULL"),
    ),
)

credited_transfers = Table(
    "credited_transfers",
    metadata,
    Column("chain_id", Whole, primary_key=True),
    Column("tx_hash", Text, primary_key=True),
    Column("event_key", Text, primary_key=True),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("sender", Text),
    Column("created_at", Whole, nullable=False),
    Index("credited_payment", "payment_id"),
)

# Which log of which block paid, where proofs are asked for.
proven_transfers = Table(
    "proven_transfers",
    metadata,
    Column("chain_id", Whole, primary_key=True),
    Column("block_hash", Text, primary_key=True),
    Column("transaction_index", Whole, primary_key=True),
    Column("log_position", Whole, primary_key=True),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("created_at", Whole, nullable=False),
)

# The right money that was seen for a payment, each transfer once: what its senders are judged by.
payment_transfers = Table(
    "payment_transfers",
    metadata,
    Column("number", Whole, primary_key=True),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("tx_hash", Text, nullable=False),
    Column("event_key", Text, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("sender", Text),
    Column("created_at", Whole, nullable=False),
    UniqueConstraint("payment_id", "tx_hash", "event_key", name="payment_transfers_once"),
)

reorg_clearances = Table(
    "reorg_clearances",
    metadata,
    identity(),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("reorged_at", Whole, nullable=False),
    Column("note", StrangersText, nullable=False),
    Column("cleared_by", Text, ForeignKey("users.id"), nullable=False),
    Column("created_at", Whole, nullable=False),
    Index("clearances_payment", "payment_id", "created_at"),
)

webhook_inbox = Table(
    "webhook_inbox",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("event_type", Text, nullable=False),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("body", StrangersText, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("received_at", Whole, nullable=False),
    Index("inbox_payment", "payment_id"),
)

scanner_outbox = Table(
    "scanner_outbox",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("kind", OneOf(model.CommandKind), nullable=False),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Whole, nullable=False, server_default="0"),
    Column("next_attempt_at", Whole, nullable=False),
    Column("last_error", StrangersText),
    Column("created_at", Whole, nullable=False),
    Column("done_at", Whole),
    Column("claim", Text),  # of the process that does it now, where several could
    Column("claimed_until", Whole),
    UniqueConstraint("kind", "payment_id", name="outbox_once"),
    CheckConstraint("kind IN ('register','cancel_intent','stop_watch')", name="outbox_kind_known"),
    CheckConstraint("status IN ('pending','done','refused')", name="outbox_status_known"),
    Index("outbox_due", "next_attempt_at", **where("status = 'pending'")),
)

recoveries = Table(
    "recoveries",
    metadata,
    identity(),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("amount_base", BaseUnits),
    Column("token_address", Text),
    Column("count", Whole, nullable=False, server_default="1"),
    Column("tx_hash", Text),
    Column("last_tx_hash", Text),
    Column("evidence", Json, nullable=False),
    Column("dedupe_key", Text, nullable=False, unique=True),
    Column("created_at", Whole, nullable=False),
    Column("updated_at", Whole, nullable=False),
    CheckConstraint("count > 0", name="recoveries_count_positive"),
    Index("recoveries_payment", "payment_id", "reason"),
    Index("recoveries_newest", "updated_at"),
)

funds_ledger_entries = Table(
    "funds_ledger_entries",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("entry_type", OneOf(model.LedgerEntryType), nullable=False),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("purchase_request_id", Text, ForeignKey("purchase_requests.id"), nullable=False),
    Column("chain_id", Whole, nullable=False),
    Column("token_address", Text, nullable=False),
    Column("amount_base", BaseUnits, nullable=False),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("created_at", Whole, nullable=False),
    CheckConstraint(known("entry_type", model.LedgerEntryType), name="ledger_type_known"),
    *checks("ledger_amount_positive", lambda sql: sql.positive("amount_base")),
    Index("ledger_payment", "payment_id"),
    Index("ledger_fees", "chain_id", "token_address", **where("entry_type = 'platform_fee'")),
)

payout_challenges = Table(
    "payout_challenges",
    metadata,
    identity(),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("chain_id", Whole, nullable=False),
    Column("address", Text, nullable=False),
    Column("shown_address", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("expires_at", Whole, nullable=False),
    Column("used_at", Whole),
    Index("payout_challenges_user", "user_id", "created_at"),
)

payout_addresses = Table(
    "payout_addresses",
    metadata,
    Column("number", Whole, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("chain_id", Whole, nullable=False),
    Column("address", Text, nullable=False),
    Column("shown_address", Text, nullable=False),
    # One challenge proves one address.
    Column("challenge_id", Text, ForeignKey("payout_challenges.id"), nullable=False, unique=True),
    Column("proof", Json, nullable=False),
    Column("effective_at", Whole, nullable=False),
    Column("created_at", Whole, nullable=False),
    Index("payout_addresses_user", "user_id", "chain_id", "created_at"),
    Index("payout_addresses_newest", "created_at"),
)

sweep_transfers = Table(
    "sweep_transfers",
    metadata,
    Column("chain_id", Whole, primary_key=True, autoincrement=False),
    Column("from_address", Text, primary_key=True),
    Column("nonce", Whole, primary_key=True, autoincrement=False),
    Column("subject", Text, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("to_address", Text, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("built_by", Text, ForeignKey("users.id"), nullable=False),
    Column("built_at", Whole, nullable=False),
    Column("tx_id", Text),
    Column("raw", Text),
    Column("expires_at", Whole),
    *checks("sweep_amount_positive", lambda sql: sql.positive("amount")),
    # What has a transaction has no other: signed twice, it is sent once.
    Index("sweep_transfers_subject_once", "chain_id", "subject", unique=True),
)

payout_settlements = Table(
    "payout_settlements",
    metadata,
    Column("instruction_id", Text, ForeignKey("payments.id"), primary_key=True),
    Column("chain_id", Whole, nullable=False),
    Column("given_hash", Text, nullable=False),
    Column("tx_hash", Text, nullable=False),
    Column("event_key", Text),
    Column("given_by", Text, ForeignKey("users.id"), nullable=False),
    Column("given_at", Whole, nullable=False),
    Column("next_look_at", Whole, nullable=False),
    Column("reported_at", Whole),
    Column("done_at", Whole),
    CheckConstraint("done_at IS NULL OR event_key IS NOT NULL", name="payout_settlements_done_is_proved"),
    # One transfer pays one instruction.
    Index(
        "payout_settlements_transfer_once",
        "chain_id",
        "tx_hash",
        "event_key",
        unique=True,
        **where("event_key IS NOT NULL"),
    ),
    Index("payout_settlements_due", "next_look_at", **where("done_at IS NULL")),
)

delivery_codes = Table(
    "delivery_codes",
    metadata,
    identity(),
    Column("purchase_request_id", Text, ForeignKey("purchase_requests.id"), nullable=False),
    Column("salt", Text, nullable=False),
    Column("code_hash", Text, nullable=False),
    Column("attempts", Whole, nullable=False, server_default="0"),
    Column("used_at", Whole),
    Column("replaced_at", Whole),
    Column("expires_at", Whole, nullable=False),
    Column("created_at", Whole, nullable=False),
    CheckConstraint("attempts BETWEEN 0 AND 5", name="codes_attempts"),
    Index(
        "codes_one_live",
        "purchase_request_id",
        unique=True,
        **where("used_at IS NULL AND replaced_at IS NULL"),
    ),
)

disputes = Table(
    "disputes",
    metadata,
    identity(),
    Column("purchase_request_id", Text, ForeignKey("purchase_requests.id"), nullable=False),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("opened_by", Text, ForeignKey("users.id"), nullable=False),
    Column("reason", StrangersText, nullable=False),
    Column("category", StrangersText, nullable=False),
    Column("status", OneOf(model.DisputeStatus), nullable=False),
    Column("outcome", OneOf(model.DisputeOutcome)),
    Column("buyer_bps", Whole),
    Column("note", StrangersText),
    Column("resolved_by", Text, ForeignKey("users.id")),
    Column("resolved_at", Whole),
    Column("assigned_to", Text, ForeignKey("users.id")),
    Column("due_at", Whole, nullable=False),
    Column("overdue_told_at", Whole),
    Column("created_at", Whole, nullable=False),
    CheckConstraint("(status = 'resolved') = (outcome IS NOT NULL)", name="disputes_resolved_has_outcome"),
    CheckConstraint("(coalesce(outcome, '') = 'split') = (buyer_bps IS NOT NULL)", name="disputes_split_has_share"),
    CheckConstraint("buyer_bps BETWEEN 0 AND 10000", name="disputes_share_known"),
    Index("disputes_one_open", "payment_id", unique=True, **where("status = 'open'")),
    Index("disputes_request", "purchase_request_id"),
    Index("disputes_newest", "created_at"),
    Index("disputes_due", "due_at", **where("status = 'open'")),
)

dispute_evidence = Table(
    "dispute_evidence",
    metadata,
    identity(),
    Column("dispute_id", Text, ForeignKey("disputes.id"), nullable=False),
    Column("by_user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("text", StrangersText, nullable=False),
    Column("link", StrangersText),
    Column("created_at", Whole, nullable=False),
    Index("evidence_dispute", "dispute_id"),
)

dispute_messages = Table(
    "dispute_messages",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("dispute_id", Text, ForeignKey("disputes.id"), nullable=False),
    Column("by_user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("text", StrangersText, nullable=False),
    Column("created_at", Whole, nullable=False),
    Index("messages_dispute", "dispute_id", "by_user_id"),
)

notifications = Table(
    "notifications",
    metadata,
    Column("seq", Whole, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("category", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("title", StrangersText, nullable=False),
    Column("related_id", Text),
    Column("action_url", StrangersText),
    Column("read_at", Whole),
    Column("created_at", Whole, nullable=False),
    Index("notifications_user", "user_id", "seq"),
    Index("notifications_old", "created_at"),
    Index("notifications_unread", "user_id", **where("read_at IS NULL")),
)

# What everybody of a role is to be told, until all of them were.
announcements = Table(
    "announcements",
    metadata,
    Column("seq", Whole, primary_key=True),
    Column("audience", OneOf(model.Role), nullable=False),
    Column("category", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("title", StrangersText, nullable=False),
    Column("related_id", Text, nullable=False),
    Column("action_url", StrangersText),
    Column("told_upto", Text, nullable=False),  # a user's id, in their order
    Column("created_at", Whole, nullable=False),
)

# What may come any number of times in an hour is told once in it; the rest is counted here.
notice_counts = Table(
    "notice_counts",
    metadata,
    Column("about", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("audience", Text, primary_key=True),  # a user, or "admins"
    Column("title", StrangersText, nullable=False),  # of the newest
    Column("url", StrangersText),
    Column("told_at", Whole, nullable=False),
    Column("held_back", Whole, nullable=False),
    CheckConstraint("held_back >= 0", name="notice_counts_held_back"),
    Index("notice_counts_due", "told_at", **where("held_back > 0")),
)

threshold_history = Table(
    "threshold_history",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("chain_id", Whole, nullable=False),
    Column("confirmations", Whole, nullable=False),
    Column("set_by", Text, ForeignKey("users.id"), nullable=False),
    Column("created_at", Whole, nullable=False),
    CheckConstraint("confirmations > 0", name="thresholds_positive"),
    Index("thresholds_chain", "chain_id", "id"),
)

fee_history = Table(
    "fee_history",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("seller_id", Text, ForeignKey("users.id"), nullable=False),
    Column("bps", Whole),  # none: back to the platform's
    Column("note", StrangersText, nullable=False),
    Column("set_by", Text, ForeignKey("users.id"), nullable=False),
    Column("created_at", Whole, nullable=False),
    CheckConstraint("bps BETWEEN 0 AND 9999", name="fees_known"),
    Index("fees_seller", "seller_id", "id"),
)

# What only the right key opens, so that a backup says at once whether the key at hand is its key.
key_proof = Table(
    "key_proof",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("sealed", Text, nullable=False),
    CheckConstraint("id = 1", name="key_proof_one"),
)

# What became of accounts, and by whom; nothing in it is a secret.
account_events = Table(
    "account_events",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id")),  # none where nobody has the account yet
    Column("by_user_id", Text, ForeignKey("users.id")),  # none where nobody was signed in
    Column("kind", OneOf(model.AccountEvent), nullable=False),
    Column("detail", StrangersText),
    Column("created_at", Whole, nullable=False),
    CheckConstraint(known("kind", model.AccountEvent), name="account_events_kind_known"),
    Index("account_events_user", "user_id", "id"),
)

# Links that an admin hands out: each makes one account, or one new password. Only their digest is here.
account_links = Table(
    "account_links",
    metadata,
    identity(),
    Column("token_hash", Text, nullable=False, unique=True),
    Column("kind", OneOf(model.LinkKind), nullable=False),
    Column("email", StrangersText),
    Column("role", OneOf(model.Role)),
    Column("user_id", Text, ForeignKey("users.id")),  # whose password it renews
    Column("created_by", Text, ForeignKey("users.id"), nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("expires_at", Whole, nullable=False),
    Column("used_at", Whole),
    Column("revoked_at", Whole),
    CheckConstraint(known("kind", model.LinkKind), name="account_links_kind_known"),
    CheckConstraint("(kind = 'invitation') = (user_id IS NULL)", name="account_links_for_whom"),
    CheckConstraint("(kind = 'invitation') = (email IS NOT NULL AND role IS NOT NULL)", name="account_links_invites"),
    CheckConstraint("used_at IS NULL OR revoked_at IS NULL", name="account_links_one_end"),
    Index("account_links_newest", "kind", "created_at"),
    Index("account_links_user", "user_id"),
    Index("account_links_over", "expires_at"),
)

second_factors = Table(
    "second_factors",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("confirmed_at", Whole),  # none until the first code was right: it asks for none before
    Column("last_step", Whole, nullable=False, server_default="0"),  # of the newest code that was taken
    Column("created_at", Whole, nullable=False),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("code_hash", Text, primary_key=True),
    Column("used_at", Whole),
)

# From where somebody signed in: strangers who guess at an account keep nobody out who comes from there.
known_addresses = Table(
    "known_addresses",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("address_hash", Text, primary_key=True),
    Column("seen_at", Whole, nullable=False),
)

# Digital goods.
goods_keys, stock_pools, stock_items, offered_goods, goods_orders, goods_reveals, goods_readings = goods_tables(
    metadata
)
shops, request_templates, checkouts, checkout_lines = shop_tables(metadata)

# What people want to be told elsewhere as well, and where.
telegram_links = Table(
    "telegram_links",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("chat_id", StrangersText, nullable=False),
    Column("linked_at", Whole, nullable=False),
)

telegram_codes = Table(
    "telegram_codes",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("code_hash", Text, nullable=False, unique=True),
    Column("expires_at", Whole, nullable=False),
)

channel_choices = Table(
    "channel_choices",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("channel", OneOf(model.Channel), primary_key=True),
    Column("category", Text, primary_key=True),
    CheckConstraint(known("channel", model.Channel), name="channel_choices_channel_known"),
)

# Written with the notification it carries, sent until it is taken.
messages = Table(
    "messages",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("channel", OneOf(model.Channel), nullable=False),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("notification_id", Text, nullable=False),
    Column("title", StrangersText, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Whole, nullable=False, server_default="0"),
    Column("next_attempt_at", Whole, nullable=False),
    Column("last_error", StrangersText),
    Column("created_at", Whole, nullable=False),
    Column("done_at", Whole),
    Column("claim", Text),  # of the process that sends it now, where several could
    Column("claimed_until", Whole),
    UniqueConstraint("channel", "notification_id", name="messages_once"),
    CheckConstraint(known("channel", model.Channel), name="messages_channel_known"),
    CheckConstraint("status IN ('pending','sent','failed')", name="messages_status_known"),
    Index("messages_due", "next_attempt_at", **where("status = 'pending'")),
    Index("messages_done", "done_at"),
)

# What several processes on one store know of each other.
rate_counts = rate_table(metadata)
nodes, leases = lease_tables(metadata)

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
