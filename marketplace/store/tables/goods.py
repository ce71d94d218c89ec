"""The tables of digital goods: stock, what an offer hands over, what a payment got, and what was shown to whom."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text, UniqueConstraint

from kernel.store.ddl import Whole, where
from kernel.store.dialects import StrangersText
from marketplace.store.columns import identity, times
from marketplace.store.tables.schema import metadata

FREE = "payment_id IS NULL AND withdrawn_at IS NULL"

goods_keys = Table(
    "goods_keys",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("sealed", Text, nullable=False),  # what digests are made with, and the proof that the key is right
    CheckConstraint("id = 1", name="goods_keys_one"),
)

stock_pools = Table(
    "stock_pools",
    metadata,
    identity(),
    Column("seller_id", Text, ForeignKey("users.id"), nullable=False),
    Column("name", StrangersText, nullable=False),
    Column("low_at", Whole, nullable=False),
    Column("told_left", Whole),  # how many were left when the seller was told; none while there are enough
    *times(),
    UniqueConstraint("seller_id", "name", name="stock_pools_name"),
    CheckConstraint("low_at BETWEEN 0 AND 10000", name="stock_pools_low_at"),
    Index("stock_pools_newest", "created_at"),
)

stock_items = Table(
    "stock_items",
    metadata,
    identity(),
    Column("pool_id", Text, ForeignKey("stock_pools.id"), nullable=False),
    Column("seller_id", Text, ForeignKey("users.id"), nullable=False),
    Column("sealed", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("line", Whole, nullable=False),
    Column("expires_at", Whole),
    Column("payment_id", Text, ForeignKey("payments.id")),  # who pays for it
    Column("reserved_at", Whole),
    Column("withdrawn_at", Whole),
    Column("created_at", Whole, nullable=False),
    # One code twice in a stock would be one good for two buyers.
    UniqueConstraint("seller_id", "digest", name="stock_items_once"),
    CheckConstraint("(payment_id IS NULL) = (reserved_at IS NULL)", name="stock_items_reserved_for"),
    CheckConstraint("payment_id IS NULL OR withdrawn_at IS NULL", name="stock_items_withdrawn_or_sold"),
    Index("stock_items_free", "pool_id", "expires_at", "created_at", "line", **where(FREE)),
    Index("stock_items_pool", "pool_id", "created_at", "line"),
    Index("stock_items_payment", "payment_id", **where("payment_id IS NOT NULL")),
    Index("stock_items_expiring", "expires_at", **where(f"{FREE} AND expires_at IS NOT NULL")),
    Index("stock_items_key", "key_id"),
)

offered_goods = Table(
    "offered_goods",
    metadata,
    Column("offer_id", Text, ForeignKey("offers.id"), primary_key=True),
    Column("pool_id", Text, ForeignKey("stock_pools.id"), primary_key=True),
    Column("units", Whole, nullable=False),
    CheckConstraint("units BETWEEN 1 AND 100", name="offered_goods_units"),
)

goods_orders = Table(
    "goods_orders",
    metadata,
    Column("payment_id", Text, ForeignKey("payments.id"), primary_key=True),
    Column("pool_id", Text, ForeignKey("stock_pools.id"), primary_key=True),
    Column("units", Whole, nullable=False),
    Column("status", Text, nullable=False),
    *times(),
    CheckConstraint("status IN ('waiting','reserved','returned')", name="goods_orders_status"),
    CheckConstraint("units BETWEEN 1 AND 100", name="goods_orders_units"),
    Index("goods_orders_waiting", "created_at", **where("status = 'waiting'")),
)

goods_reveals = Table(
    "goods_reveals",
    metadata,
    Column("item_id", Text, ForeignKey("stock_items.id"), primary_key=True),  # to one buyer, once for ever
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("buyer_id", Text, ForeignKey("users.id"), nullable=False),
    Column("created_at", Whole, nullable=False),
    Index("goods_reveals_payment", "payment_id"),
)

goods_readings = Table(
    "goods_readings",
    metadata,
    identity(),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("buyer_id", Text, ForeignKey("users.id"), nullable=False),
    Column("items", Whole, nullable=False),
    Column("created_at", Whole, nullable=False),
    Index("goods_readings_payment", "payment_id", "created_at"),
)
