"""Digital goods and shops."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Whole, where


def goods() -> None:
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


def shops() -> None:
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
