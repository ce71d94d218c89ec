"""The tables of shops: what sellers offer to everybody, and what was ordered of it."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Table, Text

from kernel.store.ddl import Whole
from kernel.store.dialects import StrangersText
from marketplace import model
from marketplace.store.columns import OneOf, identity, known, times
from marketplace.store.tables.schema import metadata

shops = Table(
    "shops",
    metadata,
    Column("seller_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("name", StrangersText, nullable=False),
    Column("text", StrangersText, nullable=False),
    *times(),
)

request_templates = Table(
    "request_templates",
    metadata,
    identity(),
    Column("seller_id", Text, ForeignKey("users.id"), nullable=False),
    Column("share_id", Text, nullable=False, unique=True),  # whoever has it may buy
    Column("title", StrangersText, nullable=False),
    Column("description", StrangersText, nullable=False),
    Column("product_type", OneOf(model.ProductType), nullable=False),
    Column("price_amount", Text, nullable=False),
    Column("price_currency", Text, nullable=False),
    Column("delivery_amount", Whole, nullable=False),
    Column("delivery_unit", Text, nullable=False),
    Column("pool_id", Text, ForeignKey("stock_pools.id")),
    Column("require_aml_check", Boolean, nullable=False),
    Column("aml_block_on_failure", Boolean, nullable=False),
    Column("listed", Boolean, nullable=False),  # in the shop; others have the link alone
    Column("max_uses", Whole, nullable=False),  # 0: any number
    Column("uses", Whole, nullable=False),
    Column("closed_at", Whole),
    *times(),
    CheckConstraint(known("product_type", model.ProductType), name="request_templates_type_known"),
    CheckConstraint("uses >= 0 AND (max_uses = 0 OR uses <= max_uses)", name="request_templates_uses"),
    Index("request_templates_seller", "seller_id", "created_at"),
    Index("request_templates_newest", "created_at"),
)

checkouts = Table(
    "checkouts",
    metadata,
    Column("buyer_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("checkout_id", Text, primary_key=True),  # the buyer's own name for it: asked for twice, it is one
    Column("digest", Text, nullable=False),
    Column("purchase_request_id", Text, ForeignKey("purchase_requests.id"), nullable=False, unique=True),
    Column("created_at", Whole, nullable=False),
)

checkout_lines = Table(
    "checkout_lines",
    metadata,
    Column("purchase_request_id", Text, ForeignKey("purchase_requests.id"), primary_key=True),
    Column("line", Whole, primary_key=True),
    Column("template_id", Text, ForeignKey("request_templates.id"), nullable=False),
    Column("title", StrangersText, nullable=False),
    Column("quantity", Whole, nullable=False),
    Column("price_amount", Text, nullable=False),
    Column("price_currency", Text, nullable=False),
    CheckConstraint("line BETWEEN 1 AND 20", name="checkout_lines_at_most"),
    CheckConstraint("quantity BETWEEN 1 AND 100", name="checkout_lines_quantity"),
    Index("checkout_lines_template", "template_id"),
)
