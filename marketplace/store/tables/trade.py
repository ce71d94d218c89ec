"""What is asked for and offered, and how it is handed over."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
)

from kernel.store.ddl import Whole, where
from kernel.store.dialects import StrangersText
from marketplace import model
from marketplace.store.columns import Json, OneOf, identity, known, times
from marketplace.store.tables.schema import metadata

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
