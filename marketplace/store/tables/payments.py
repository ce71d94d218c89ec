"""What buyers pay, by which quote, to which address, and how deep it has to be."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
)

from kernel.store.ddl import Whole, checks, where
from kernel.store.dialects import StrangersText
from marketplace import model
from marketplace.store.columns import BaseUnits, Json, OneOf, identity, known, times
from marketplace.store.tables.schema import metadata

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
    # Few, of many: what hosted providers are asked about after its end.
    Index("payments_hosted", "updated_at", **where("provider != 'amn.scanner'")),
)

# What the amount of a payment was quoted by, where its price is in another currency than its token.
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
