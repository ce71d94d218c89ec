"""The tables, declared once. Times are unix milliseconds; amounts are base-10 text."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from scanner.model import REFUNDABLE

metadata = MetaData()


class BaseUnits(TypeDecorator[int]):
    """An amount in base units. SQLite's INTEGER is 64-bit and 10 ether in wei does not fit: decimal text it is."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else str(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else int(value)


intents = Table(
    "intents",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("chain_id", Integer, nullable=False),
    Column("chain_type", Text, nullable=False),
    Column("rail", Text, nullable=False),
    Column("token_address", Text, nullable=False),
    Column("token_key", Text, nullable=False),
    Column("token_symbol", Text),
    Column("decimals", Integer),
    Column("destination", Text, nullable=False),
    Column("destination_key", Text, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("amount_received", BaseUnits, nullable=False, server_default="0"),
    Column("fee_amount", BaseUnits, nullable=False),
    Column("fee_address", Text, nullable=False),
    Column("payment_reference", Text, nullable=False),
    Column("topic_ref", Text, nullable=False),
    Column("salt", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("callback_url", Text, nullable=False),
    Column("callback_secret", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("events", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("confirmations_required", Integer, nullable=False),
    Column("tx_hash", Text),
    Column("log_index", Integer),
    Column("block_number", Integer),
    Column("block_hash", Text),
    Column("confirmations", Integer, nullable=False, server_default="0"),
    Column("sender", Text),
    Column("webhook_delivered_at", Integer),
    Column("expires_at", Integer),
    Column("confirmed_at", Integer),
    Column("expired_at", Integer),
    Column("cancelled_at", Integer),
    Column("created_at", Integer, nullable=False),
    Column("chain_created_at", Integer, nullable=False),
    Column("chain_position", Integer),
    Column("updated_at", Integer, nullable=False),
    # How far the chain was read for a direct intent besides the running scan.
    Column("looked_back", Boolean, nullable=False, server_default="0"),  # the minutes before its creation were read
    Column("swept_to", Integer),  # unix seconds: read a second time from before its creation up to here
    Column("unread", Text),  # why it expired without having been read a second time
    CheckConstraint(
        "status IN ('pending','confirming','confirmed','webhook_failed','expired')", name="intents_status_known"
    ),
    CheckConstraint("amount GLOB '[1-9]*'", name="intents_amount_positive"),
    # A settled intent knows its evidence; webhook_delivered_at belongs to settled intents alone.
    CheckConstraint(
        "status NOT IN ('confirmed','webhook_failed') OR (tx_hash IS NOT NULL AND confirmed_at IS NOT NULL)",
        name="intents_settled_has_evidence",
    ),
    CheckConstraint(
        "webhook_delivered_at IS NULL OR status IN ('confirmed','webhook_failed')", name="intents_delivered_is_settled"
    ),
    Index("intents_status", "status"),
    Index("intents_chain_status", "chain_id", "status"),
    Index("intents_payment_reference", "payment_reference"),
    Index("intents_topic_ref", "topic_ref"),
    Index("intents_chain_topic_ref", "chain_id", "topic_ref", unique=True),
    Index("intents_direct", "chain_id", "destination_key", sqlite_where=text("rail = 'direct'")),
    # One live direct intent a destination: a plain transfer carries nothing else to tell them apart.
    Index(
        "intents_direct_reserved",
        "chain_id",
        "token_key",
        "destination_key",
        unique=True,
        # One that expired and was paid in time goes on beside the next: block time says whose a transfer is.
        sqlite_where=text("rail = 'direct' AND status IN ('pending','confirming') AND expired_at IS NULL"),
    ),
    Index("intents_unread", "chain_id", sqlite_where=text("unread IS NOT NULL")),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("chain_id", Integer, primary_key=True),
    Column("rail", Text, primary_key=True),  # one that cannot be read must not hold up the other
    Column("last_scanned_block", Integer, nullable=False),  # block on EVM, ms on Tron, seconds on TON
    Column("anchor", Text),  # hash of that block, as it was when it was read
    Column("time", Integer),  # unix seconds of that block
    Column("updated_at", Integer, nullable=False),
)

# Logs below a checkpoint that no endpoint showed in a way that can be read: each may be a payment.
unread_logs = Table(
    "unread_logs",
    metadata,
    Column("chain_id", Integer, primary_key=True),
    Column("rail", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("tx_hash", Text, primary_key=True),  # empty where that cannot be read either
    Column("why", Text, nullable=False),
    Column("since", Integer, nullable=False),  # unix ms
)

# The native coin last seen at direct destinations: only a rise above it is news.
coin_balances = Table(
    "coin_balances",
    metadata,
    Column("chain_id", Integer, primary_key=True),
    Column("destination", Text, primary_key=True),
    Column("balance", BaseUnits, nullable=False),
    Column("position", Integer, nullable=False, server_default="0"),  # where the chain stood when it changed
)

# Hashes at the ends of pages over the unconfirmed window. They may be sparse: when the block at N is
# canonical so is everything below it, so a fork lies between two neighbours of this list.
blocks = Table(
    "blocks",
    metadata,
    Column("chain_id", Integer, primary_key=True),
    Column("rail", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("hash", Text, nullable=False),
)

# `StoredTransfer.stands`, and not looked at again yet. A query has to spell it as the partial index does.
UNSEEN = (
    "verified IS 0 AND (reason IS NULL OR reason IN (" + ",".join(f"'{reason}'" for reason in sorted(REFUNDABLE)) + "))"
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("chain_id", Integer, nullable=False),
    Column("tx_hash", Text, nullable=False),
    Column("event_key", Text, nullable=False),
    Column("log_index", Integer),
    Column("block_number", Integer, nullable=False),
    Column("block_hash", Text),
    Column("block_time", Integer),
    Column("token", Text, nullable=False),
    Column("sender", Text),
    Column("destination", Text, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("fee_amount", BaseUnits, nullable=False),
    Column("fee_address", Text),
    Column("reference", Text),
    Column("intent_id", Text, ForeignKey("intents.intent_id", deferrable=True, initially="DEFERRED")),
    Column("reason", Text),
    Column("counted", Boolean, nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("surplus", BaseUnits),
    Column("seen_at", Integer, nullable=False),
    Column("times", Integer, nullable=False, server_default="1"),
    Column("members", Text),  # which transfers of the transaction a row with an intent stands for
    Column("last_tx_hash", Text),
    Column("last_block_number", Integer),
    Column("fold", Text),
    UniqueConstraint("chain_id", "tx_hash", "event_key", name="transfers_key"),
    CheckConstraint("length(event_key) > 0", name="transfers_event_key_present"),
    # Nothing hidden: a transfer either counts towards an intent or says why not.
    CheckConstraint("counted = 1 OR reason IS NOT NULL", name="transfers_counted_or_reason"),
    CheckConstraint("counted = 0 OR intent_id IS NOT NULL", name="transfers_counted_has_intent"),
    # The reason beside it: rows of one intent and reason are listed as one beyond some.
    Index("transfers_intent", "intent_id", "reason", sqlite_where=text("intent_id IS NOT NULL")),
    Index("transfers_nobodys", "seen_at", sqlite_where=text("intent_id IS NULL")),
    Index("transfers_fold", "chain_id", "fold", unique=True, sqlite_where=text("fold IS NOT NULL")),
    CheckConstraint("settled = 0 OR intent_id IS NOT NULL", name="transfers_settled_has_intent"),
    Index("transfers_block", "chain_id", "block_number"),
    Index("transfers_unseen", "chain_id", "block_number", sqlite_where=text(f"intent_id IS NOT NULL AND {UNSEEN}")),
    # Confirmed money that is no longer where it was: operators are shown it until it is back.
    Index("transfers_lost", "chain_id", sqlite_where=text("settled IS 1 AND reason = 'reorged'")),
)

# What each row of nobody's transfers is the sum of, by transaction: read again, a transaction replaces what it
# brought and never adds to it, and one that left the chain is taken off.
fold_parts = Table(
    "fold_parts",
    metadata,
    Column("chain_id", Integer, primary_key=True),
    Column("tx_hash", Text, primary_key=True),
    Column("fold_id", Integer, ForeignKey("transfers.id", ondelete="CASCADE"), primary_key=True),
    Column("event_key", Text, nullable=False),  # of the first
    Column("log_index", Integer),
    Column("block_number", Integer, nullable=False),
    Column("block_hash", Text),
    Column("times", Integer, nullable=False),
    Column("members", Text),  # which transfers of the transaction it stands for; null: the first alone
    Column("amount", BaseUnits, nullable=False),
    Index("fold_parts_fold", "fold_id"),
    Index("fold_parts_block", "chain_id", "block_number"),
    sqlite_with_rowid=False,
)

# What was told of an intent's transfers, and what waits to be told together.
summaries = Table(
    "summaries",
    metadata,
    Column("intent_id", Text, ForeignKey("intents.intent_id", ondelete="CASCADE"), primary_key=True),
    Column("event_type", Text, primary_key=True),
    Column("reason", Text, primary_key=True),  # empty: none
    Column("told", Integer, nullable=False),  # events queued
    Column("told_at", Integer, nullable=False),
    Column("waiting", Integer, nullable=False),  # transfers not told yet
    Column("last_transfer", Integer),  # the row of the newest of those
    Index("summaries_due", "told_at", sqlite_where=text("waiting > 0")),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("subject_kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("chain_id", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("round", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("delivered_at", Integer),
    Column("failed_at", Integer),
    Column("priority", Integer, nullable=False, server_default="2"),  # the lowest first, in a receiver's queue
    CheckConstraint("status IN ('pending','delivered','failed','superseded')", name="events_status_known"),
    CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="events_delivered_at"),
    CheckConstraint("(status = 'failed') = (failed_at IS NOT NULL)", name="events_failed_at"),
    Index("events_due", "priority", "next_attempt_at", sqlite_where=text("status = 'pending'")),
    Index("events_failed", "failed_at", sqlite_where=text("status = 'failed'")),
    Index("events_subject", "subject_kind", "subject_id"),
)

balance_watches = Table(
    "balance_watches",
    metadata,
    Column("watch_id", Text, primary_key=True),
    Column("chain_id", Integer, nullable=False),
    Column("chain_type", Text, nullable=False),
    Column("token_address", Text),  # null: the chain's own coin
    Column("token_key", Text),
    Column("token_symbol", Text),
    Column("decimals", Integer),
    Column("address", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("baseline_balance", BaseUnits, nullable=False),
    Column("current_balance", BaseUnits, nullable=False),
    Column("status", Text, nullable=False),
    Column("callback_url", Text, nullable=False),
    Column("callback_secret", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("last_checked_at", Integer),
    Column("next_check_at", Integer, nullable=False),
    Column("last_position", Integer),
    Column("change_count", Integer, nullable=False),
    Column("last_notified_at", Integer),
    Column("expires_at", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("updated_at", Integer, nullable=False),
    CheckConstraint("status IN ('watching','stopped','expired')", name="watches_status_known"),
    Index("watches_due", "status", "next_check_at"),
    Index("watches_chain_status", "chain_id", "status"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("event_id", Text, ForeignKey("events.event_id"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", Integer, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("status", Integer),
    Column("latency_ms", Integer, nullable=False),
    Column("response", Text, nullable=False),
    Column("error", Text),
    Index("attempts_event", "event_id"),
)

# One row, written to see whether the store can be written.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Integer, nullable=False),
)

callback_rotations = Table(
    "callback_rotations",
    metadata,
    Column("callback_url", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("since", Integer, nullable=False),
    Column("overlap_until", Integer, nullable=False),
    Column("former_secret", Text),
    Column("former_since", Integer),
)
