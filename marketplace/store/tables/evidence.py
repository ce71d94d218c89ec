"""What was seen on chain, and what the scanner tells and is told."""

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

from kernel.store.ddl import Whole, where
from kernel.store.dialects import StrangersText
from marketplace import model
from marketplace.store.columns import BaseUnits, Json, OneOf, identity
from marketplace.store.tables.schema import metadata

# Transactions that a hosted provider says pay; what they did is asked on the chain.
told_transactions = Table(
    "told_transactions",
    metadata,
    Column("payment_id", Text, ForeignKey("payments.id"), primary_key=True),
    Column("tx_hash", StrangersText, primary_key=True),
    Column("told_at", Whole, nullable=False),
    Column("looked_at", Whole),
    Column("seen", Json),  # what it showed when it was looked at last, as far as the payment is concerned
    Column("settled_at", Whole),  # since when nothing more is to be learned of it
    Column("done_at", Whole),  # what became of it after its payment was over is written down
    Index("told_undone", "payment_id", **where("done_at IS NULL")),
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
    Column("block_hash", Text),  # where it stood when it was credited; None when nobody said
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
    Column("tried_at", Whole),  # when it was judged again last, and could not be
    Index("inbox_payment", "payment_id"),
    Index("inbox_received", "received_at"),
    Index("inbox_unread", "payment_id", **where("outcome = 'unread'")),
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
