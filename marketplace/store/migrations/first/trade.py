"""What is asked for and offered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Whole, where


def trade() -> None:
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
