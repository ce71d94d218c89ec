"""The tables, declared once. Times are unix milliseconds; amounts are base-10 text."""

from __future__ import annotations

from typing import Any

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
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from kernel.store.ddl import Spelling, Whole, checks, where
from kernel.store.leases import lease_tables
from kernel.store.rates import rate_table
from scanner.model import RETURNABLE

metadata = MetaData()


class BaseUnits(TypeDecorator[int]):
    """An amount in base units. SQLite's INTEGER is 64-bit and 10 ether in wei does not fit: decimal text it is."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else str(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else int(value)


NEW = "rail = 'direct' AND status IN ('pending','confirming')"  # while the minutes before were not read

intents = Table(
    "intents",
    metadata,
    # In the order of registration. Never given twice, so that whoever knows everything up to one misses none after it.
    Column("number", Whole, primary_key=True),
    Column("intent_id", Text, nullable=False, unique=True),
    Column("chain_id", Whole, nullable=False),
    Column("chain_type", Text, nullable=False),
    Column("rail", Text, nullable=False),
    Column("token_address", Text, nullable=False),
    Column("token_key", Text, nullable=False),
    Column("token_symbol", Text),
    Column("decimals", Whole),
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
    Column("confirmations_required", Whole, nullable=False),
    Column("tx_hash", Text),
    Column("log_index", Whole),
    Column("block_number", Whole),
    Column("block_hash", Text),
    Column("confirmations", Whole, nullable=False, server_default="0"),
    Column("sender", Text),
    Column("webhook_delivered_at", Whole),
    Column("expires_at", Whole),
    Column("confirmed_at", Whole),
    Column("expired_at", Whole),
    Column("cancelled_at", Whole),
    Column("created_at", Whole, nullable=False),
    Column("chain_created_at", Whole, nullable=False),
    Column("chain_position", Whole),
    Column("updated_at", Whole, nullable=False),
    # How far the chain was read for a direct intent besides the running scan.
    Column("looked_back", Boolean, nullable=False, server_default="0"),  # the minutes before its creation were read
    Column("swept_to", Whole),  # unix seconds: read a second time from before its creation up to here
    Column("unread", Text),  # why it expired without having been read a second time
    Column("pay_token", Text),
    CheckConstraint(
        "status IN ('pending','confirming','confirmed','webhook_failed','expired')", name="intents_status_known"
    ),
    *checks("intents_amount_positive", lambda sql: sql.begins_as_number("amount")),
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
    Index("intents_topic_ref", "topic_ref", "chain_id", unique=True),
    Index("intents_direct", "chain_id", "destination_key", **where("rail = 'direct'")),
    Index("intents_pay_token", "pay_token", unique=True),
    # What operators look for by who is paid, and by who paid.
    Index("intents_proxy", "destination_key", "number", **where("rail = 'proxy'")),
    Index("intents_sender", "sender", "number", **where("sender IS NOT NULL")),
    # One live direct intent a destination: a plain transfer carries nothing else to tell them apart.
    Index(
        "intents_direct_reserved",
        "chain_id",
        "token_key",
        "destination_key",
        unique=True,
        # One that expired and was paid in time goes on beside the next: block time says whose a transfer is.
        **where("rail = 'direct' AND status IN ('pending','confirming') AND expired_at IS NULL"),
    ),
    # Every poll asks for what is due or new: without these it would walk through a million that wait.
    Index("intents_expiring", "chain_id", "rail", "expires_at", **where("status = 'pending'")),
    Index("intents_new", "chain_id", "looked_back", **where(lambda sql: f"{NEW} AND {sql.is_false('looked_back')}")),
    Index("intents_unread", "chain_id", **where("unread IS NOT NULL")),
    sqlite_autoincrement=True,
)

# How many there are, kept by triggers: each scrape asks, and a million rows take a tenth of a second to count.
intent_counts = Table(
    "intent_counts",
    metadata,
    Column("chain_id", Whole, primary_key=True),
    Column("status", Text, primary_key=True),
    Column("count", Whole, nullable=False),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("chain_id", Whole, primary_key=True),
    Column("rail", Text, primary_key=True),  # one that cannot be read must not hold up the other
    Column("last_scanned_block", Whole, nullable=False),  # block on EVM, ms on Tron, seconds on TON
    Column("anchor", Text),  # hash of that block, as it was when it was read
    Column("time", Whole),  # unix seconds of that block
    Column("updated_at", Whole, nullable=False),
)

# Logs below a checkpoint that no endpoint showed in a way that can be read: each may be a payment.
unread_logs = Table(
    "unread_logs",
    metadata,
    Column("chain_id", Whole, primary_key=True),
    Column("rail", Text, primary_key=True),
    Column("position", Whole, primary_key=True),
    Column("tx_hash", Text, primary_key=True),  # empty where that cannot be read either
    Column("why", Text, nullable=False),
    Column("since", Whole, nullable=False),  # unix ms
)

# The native coin last seen at direct destinations: only a rise above it is news.
coin_balances = Table(
    "coin_balances",
    metadata,
    Column("chain_id", Whole, primary_key=True),
    Column("destination", Text, primary_key=True),
    Column("balance", BaseUnits, nullable=False),
    Column("position", Whole, nullable=False, server_default="0"),  # where the chain stood when it changed
)

# Hashes at the ends of pages over the unconfirmed window. They may be sparse: when the block at N is
# canonical so is everything below it, so a fork lies between two neighbours of this list.
blocks = Table(
    "blocks",
    metadata,
    Column("chain_id", Whole, primary_key=True),
    Column("rail", Text, primary_key=True),
    Column("number", Whole, primary_key=True),
    Column("hash", Text, nullable=False),
)


def unseen_condition(sql: Spelling) -> str:
    """Spell `StoredTransfer.stands`, and not looked at again yet; a query has to spell it as the partial index does."""
    reasons = ",".join(f"'{reason}'" for reason in sorted(RETURNABLE))
    return f"{sql.is_false('verified')} AND (reason IS NULL OR reason IN ({reasons}))"


def lost_condition(sql: Spelling) -> str:
    """Spell that confirmed money is no longer where it was, as the partial index does."""
    return f"{sql.is_true('settled')} AND reason = 'reorged'"


transfers = Table(
    "transfers",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("chain_id", Whole, nullable=False),
    Column("tx_hash", Text, nullable=False),
    Column("event_key", Text, nullable=False),
    Column("log_index", Whole),
    Column("block_number", Whole, nullable=False),
    Column("block_hash", Text),
    Column("block_time", Whole),
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
    Column("seen_at", Whole, nullable=False),
    Column("times", Whole, nullable=False, server_default="1"),
    Column("members", Text),  # which transfers of the transaction a row with an intent stands for
    Column("last_tx_hash", Text),
    Column("last_block_number", Whole),
    Column("fold", Text),
    UniqueConstraint("chain_id", "tx_hash", "event_key", name="transfers_key"),
    CheckConstraint("length(event_key) > 0", name="transfers_event_key_present"),
    # Nothing hidden: a transfer either counts towards an intent or says why not.
    *checks("transfers_counted_or_reason", lambda sql: f"{sql.true('counted')} OR reason IS NOT NULL"),
    *checks("transfers_counted_has_intent", lambda sql: f"{sql.false('counted')} OR intent_id IS NOT NULL"),
    # The reason beside it: rows of one intent and reason are listed as one beyond some.
    Index("transfers_intent", "intent_id", "reason", **where("intent_id IS NOT NULL")),
    Index("transfers_nobodys", "seen_at", **where("intent_id IS NULL")),
    Index("transfers_fold", "chain_id", "fold", unique=True, **where("fold IS NOT NULL")),
    *checks("transfers_settled_has_intent", lambda sql: f"{sql.false('settled')} OR intent_id IS NOT NULL"),
    Index("transfers_block", "chain_id", "block_number"),
    Index(
        "transfers_unseen",
        "chain_id",
        "block_number",
        **where(lambda sql: f"intent_id IS NOT NULL AND {unseen_condition(sql)}"),
    ),
    # Confirmed money that is no longer where it was: operators are shown it until it is back.
    Index("transfers_lost", "chain_id", **where(lost_condition)),
)

# What each block brought to rows of nobody's transfers, or each transaction where blocks have no hash: read again
# it adds nothing, and what left the chain is taken off. A row for each transaction would be half of what storing a
# page of strangers' payments costs.
fold_blocks = Table(
    "fold_blocks",
    metadata,
    Column("chain_id", Whole, primary_key=True),
    Column("place", Text, primary_key=True),  # the hash of the block, or of the transaction
    Column("rail", Text, primary_key=True),
    Column("block_number", Whole, nullable=False),
    Column("block_hash", Text),
    Column("seen_at", Whole, nullable=False),  # unix ms
    # A list for each transaction and row: [transfers.id, checksum of its fold, transaction, key and number of the
    # first log, how many transfers, which (null: the first alone), their sum]
    Column("parts", Text, nullable=False),
    Index("fold_blocks_number", "chain_id", "block_number", "place", "rail"),
    Index("fold_blocks_seen", "seen_at"),
)

# How each chain was doing, minute by minute.
chain_samples = Table(
    "chain_samples",
    metadata,
    Column("chain_id", Whole, primary_key=True, autoincrement=False),
    Column("at", Whole, primary_key=True, autoincrement=False),
    Column("head", Whole),
    Column("lag_seconds", Whole),
    Column("detection_ms", Whole),
    sqlite_with_rowid=False,
)

# Browsers that are signed in to the console.
console_sessions = Table(
    "console_sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("key_mark", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("expires_at", Whole, nullable=False),
)

# What operators noted of transfers that settled nothing.
handled_transfers = Table(
    "handled_transfers",
    metadata,
    Column("transfer_id", Whole, ForeignKey("transfers.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Whole, nullable=False),
)

# What shows by hashes alone that a transfer is in its block: where the chain asks for it, of what counts.
transfer_proofs = Table(
    "transfer_proofs",
    metadata,
    Column("transfer_id", Whole, ForeignKey("transfers.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("block_hash", Text, nullable=False),
    Column("transaction_index", Whole, nullable=False),
    Column("log_position", Whole, nullable=False),
    Index("transfer_proofs_receipt", "block_hash", "transaction_index"),
)

# What those of one transaction have in common, once: it goes with the last of them, by a trigger.
receipt_proofs = Table(
    "receipt_proofs",
    metadata,
    Column("block_hash", Text, primary_key=True),
    Column("transaction_index", Whole, primary_key=True, autoincrement=False),
    Column("proof", Text, nullable=False),
)

# What was told of an intent's transfers, and what waits to be told together.
summaries = Table(
    "summaries",
    metadata,
    Column("intent_id", Text, ForeignKey("intents.intent_id", ondelete="CASCADE"), primary_key=True),
    Column("event_type", Text, primary_key=True),
    Column("reason", Text, primary_key=True),  # empty: none
    Column("told", Whole, nullable=False),  # events queued
    Column("told_at", Whole, nullable=False),
    Column("waiting", Whole, nullable=False),  # transfers not told yet
    Column("last_transfer", Whole),  # the row of the newest of those
    Index("summaries_due", "told_at", **where("waiting > 0")),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("number", Whole, primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("subject_kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("chain_id", Whole, nullable=False),
    Column("body", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("round", Whole, nullable=False),
    Column("attempts", Whole, nullable=False),
    Column("next_attempt_at", Whole, nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("delivered_at", Whole),
    Column("failed_at", Whole),
    Column("priority", Whole, nullable=False, server_default="2"),  # the lowest first, in a receiver's queue
    CheckConstraint("status IN ('pending','delivered','failed','superseded')", name="events_status_known"),
    CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="events_delivered_at"),
    CheckConstraint("(status = 'failed') = (failed_at IS NOT NULL)", name="events_failed_at"),
    Index("events_due", "priority", "next_attempt_at", **where("status = 'pending'")),
    Index("events_failed", "failed_at", **where("status = 'failed'")),
    Index("events_subject", "subject_kind", "subject_id"),
    # Operators list these beside millions that were delivered.
    Index("events_undelivered", "status", "number", **where("status <> 'delivered'")),
)

balance_watches = Table(
    "balance_watches",
    metadata,
    Column("watch_id", Text, primary_key=True),
    Column("chain_id", Whole, nullable=False),
    Column("chain_type", Text, nullable=False),
    Column("token_address", Text),  # null: the chain's own coin
    Column("token_key", Text),
    Column("token_symbol", Text),
    Column("decimals", Whole),
    Column("address", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("baseline_balance", BaseUnits, nullable=False),
    Column("current_balance", BaseUnits, nullable=False),
    Column("status", Text, nullable=False),
    Column("callback_url", Text, nullable=False),
    Column("callback_secret", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("last_checked_at", Whole),
    Column("next_check_at", Whole, nullable=False),
    Column("last_position", Whole),
    Column("change_count", Whole, nullable=False),
    Column("last_notified_at", Whole),
    Column("expires_at", Whole, nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("updated_at", Whole, nullable=False),
    CheckConstraint("status IN ('watching','stopped','expired')", name="watches_status_known"),
    Index("watches_due", "status", "next_check_at"),
    Index("watches_chain_status", "chain_id", "status"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("event_id", Text, ForeignKey("events.event_id"), nullable=False),
    Column("round", Whole, nullable=False),
    Column("number", Whole, nullable=False),
    Column("at", Whole, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("status", Whole),
    Column("latency_ms", Whole, nullable=False),
    Column("response", Text, nullable=False),
    Column("error", Text),
    Index("attempts_event", "event_id"),
)

# One row, written to see whether the store can be written.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("at", Whole, nullable=False),
)

callback_rotations = Table(
    "callback_rotations",
    metadata,
    Column("callback_url", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("since", Whole, nullable=False),
    Column("overlap_until", Whole, nullable=False),
    Column("former_secret", Text),
    Column("former_since", Whole),
)

# Where several processes share the store: who leads what, and how often clients asked lately.
nodes, leases = lease_tables(metadata)
rate_counts = rate_table(metadata)

# What the leader of a chain knows of it, for the processes that do not lead it, and what they ask of it.
chain_reports = Table(
    "chain_reports",
    metadata,
    Column("chain_id", Whole, primary_key=True, autoincrement=False),
    Column("report", Text),
    Column("at", Whole),  # unix ms by the database's clock
    Column("chain_ms", Whole),  # what time it was on the chain then; null: not known
    Column("chain_position", Whole),
    Column("asked", Whole, nullable=False, server_default="0"),  # polls, so far
    Column("answered", Whole, nullable=False, server_default="0"),
    Column("failure", Text),  # of the last poll that was asked for
    Column("blind", Whole, nullable=False, server_default="0"),  # registrations without the chain's time, so far
)
