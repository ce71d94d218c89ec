"""The ledger, what is taken as a fee, and what leaves."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
)

from kernel.store.ddl import Whole, checks, where
from kernel.store.dialects import StrangersText
from marketplace import model
from marketplace.store.columns import BaseUnits, Json, OneOf, identity, known
from marketplace.store.tables.schema import metadata

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
