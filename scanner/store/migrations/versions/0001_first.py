"""The first tables, and the triggers by which the store itself keeps what was settled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Spelling, Whole, checks, where
from kernel.store.leases import CLOCK

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RETURNABLE = "'before_intent','cancelled','duplicate','late','overpaid_surplus','underpaid','wrong_destination'"
SETTLED = "('confirmed', 'webhook_failed')"


def upgrade() -> None:
    """Create everything, on either engine."""
    _payments()
    _reading()
    _telling()
    _watching()
    _sharing()
    sql = Spelling(op.get_context().dialect.name)
    counted = sql.counter("intents", ("chain_id", "status"), "intent_counts")
    shared = sql.shared("transfer_proofs", "receipt_proofs", ("block_hash", "transaction_index"))
    for statement in [*_refusals(sql), *counted, *shared]:
        op.execute(statement)


def _payments() -> None:
    """Create what is waited for, what came, and what was told of it."""
    op.create_table(
        "intents",
        sa.Column("number", Whole, primary_key=True),
        sa.Column("intent_id", sa.Text, nullable=False, unique=True),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("chain_type", sa.Text, nullable=False),
        sa.Column("rail", sa.Text, nullable=False),
        sa.Column("token_address", sa.Text, nullable=False),
        sa.Column("token_key", sa.Text, nullable=False),
        sa.Column("token_symbol", sa.Text),
        sa.Column("decimals", Whole),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("destination_key", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("amount_received", sa.Text, nullable=False, server_default="0"),
        sa.Column("fee_amount", sa.Text, nullable=False),
        sa.Column("fee_address", sa.Text, nullable=False),
        sa.Column("payment_reference", sa.Text, nullable=False),
        sa.Column("topic_ref", sa.Text, nullable=False),
        sa.Column("salt", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("callback_url", sa.Text, nullable=False),
        sa.Column("callback_secret", sa.Text, nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("events", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("confirmations_required", Whole, nullable=False),
        sa.Column("tx_hash", sa.Text),
        sa.Column("log_index", Whole),
        sa.Column("block_number", Whole),
        sa.Column("block_hash", sa.Text),
        sa.Column("confirmations", Whole, nullable=False, server_default="0"),
        sa.Column("sender", sa.Text),
        sa.Column("webhook_delivered_at", Whole),
        sa.Column("expires_at", Whole),
        sa.Column("confirmed_at", Whole),
        sa.Column("expired_at", Whole),
        sa.Column("cancelled_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("chain_created_at", Whole, nullable=False),
        sa.Column("chain_position", Whole),
        sa.Column("updated_at", Whole, nullable=False),
        sa.Column("looked_back", sa.Boolean, nullable=False, server_default="0"),
        sa.Column("swept_to", Whole),
        sa.Column("unread", sa.Text),
        sa.Column("pay_token", sa.Text),
        *checks("intents_amount_positive", lambda sql: sql.begins_as_number("amount")),
        sa.CheckConstraint(
            "status IN ('pending','confirming','confirmed','webhook_failed','expired')", name="intents_status_known"
        ),
        sa.CheckConstraint(
            "status NOT IN ('confirmed','webhook_failed') OR (tx_hash IS NOT NULL AND confirmed_at IS NOT NULL)",
            name="intents_settled_has_evidence",
        ),
        sa.CheckConstraint(
            "webhook_delivered_at IS NULL OR status IN ('confirmed','webhook_failed')",
            name="intents_delivered_is_settled",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("intents_chain_status", "intents", ["chain_id", "status"])
    op.create_index("intents_topic_ref", "intents", ["topic_ref", "chain_id"], unique=True)
    op.create_index("intents_direct", "intents", ["chain_id", "destination_key"], **where("rail = 'direct'"))
    op.create_index(
        "intents_direct_reserved",
        "intents",
        ["chain_id", "token_key", "destination_key"],
        unique=True,
        **where("rail = 'direct' AND status IN ('pending','confirming') AND expired_at IS NULL"),
    )
    op.create_index("intents_expiring", "intents", ["chain_id", "rail", "expires_at"], **where("status = 'pending'"))
    op.create_index(
        "intents_new",
        "intents",
        ["chain_id", "looked_back"],
        **where(
            lambda sql: f"rail = 'direct' AND status IN ('pending','confirming') AND {sql.is_false('looked_back')}"
        ),
    )
    op.create_index("intents_pay_token", "intents", ["pay_token"], unique=True)
    op.create_index("intents_proxy", "intents", ["destination_key", "number"], **where("rail = 'proxy'"))
    op.create_index("intents_sender", "intents", ["sender", "number"], **where("sender IS NOT NULL"))
    op.create_index("intents_status", "intents", ["status"])
    op.create_index("intents_unread", "intents", ["chain_id"], **where("unread IS NOT NULL"))
    op.create_table(
        "intent_counts",
        sa.Column("chain_id", Whole, primary_key=True),
        sa.Column("status", sa.Text, primary_key=True),
        sa.Column("count", Whole, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "transfers",
        sa.Column("id", Whole, primary_key=True),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("event_key", sa.Text, nullable=False),
        sa.Column("log_index", Whole),
        sa.Column("block_number", Whole, nullable=False),
        sa.Column("block_hash", sa.Text),
        sa.Column("block_time", Whole),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("sender", sa.Text),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("fee_amount", sa.Text, nullable=False),
        sa.Column("fee_address", sa.Text),
        sa.Column("reference", sa.Text),
        sa.Column("intent_id", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("counted", sa.Boolean, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("verified", sa.Boolean, nullable=False),
        sa.Column("surplus", sa.Text),
        sa.Column("seen_at", Whole, nullable=False),
        sa.Column("times", Whole, nullable=False, server_default="1"),
        sa.Column("members", sa.Text),
        sa.Column("last_tx_hash", sa.Text),
        sa.Column("last_block_number", Whole),
        sa.Column("fold", sa.Text),
        *checks("transfers_counted_has_intent", lambda sql: f"{sql.false('counted')} OR intent_id IS NOT NULL"),
        *checks("transfers_counted_or_reason", lambda sql: f"{sql.true('counted')} OR reason IS NOT NULL"),
        sa.CheckConstraint("length(event_key) > 0", name="transfers_event_key_present"),
        *checks("transfers_settled_has_intent", lambda sql: f"{sql.false('settled')} OR intent_id IS NOT NULL"),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"], deferrable=True, initially="DEFERRED"),
        sa.UniqueConstraint("chain_id", "tx_hash", "event_key", name="transfers_key"),
    )
    op.create_index("transfers_block", "transfers", ["chain_id", "block_number"])
    op.create_index("transfers_fold", "transfers", ["chain_id", "fold"], unique=True, **where("fold IS NOT NULL"))
    op.create_index("transfers_intent", "transfers", ["intent_id", "reason"], **where("intent_id IS NOT NULL"))
    op.create_index(
        "transfers_lost",
        "transfers",
        ["chain_id"],
        **where(lambda sql: f"{sql.is_true('settled')} AND reason = 'reorged'"),
    )
    op.create_index("transfers_nobodys", "transfers", ["seen_at"], **where("intent_id IS NULL"))
    op.create_index(
        "transfers_unseen",
        "transfers",
        ["chain_id", "block_number"],
        **where(
            lambda sql: (
                f"intent_id IS NOT NULL AND {sql.is_false('verified')} AND (reason IS NULL OR reason IN ({RETURNABLE}))"
            )
        ),
    )
    op.create_table(
        "fold_blocks",
        sa.Column("chain_id", Whole, primary_key=True),
        sa.Column("place", sa.Text, primary_key=True),
        sa.Column("rail", sa.Text, primary_key=True),
        sa.Column("block_number", Whole, nullable=False),
        sa.Column("block_hash", sa.Text),
        sa.Column("seen_at", Whole, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
    )
    op.create_index("fold_blocks_number", "fold_blocks", ["chain_id", "block_number", "place", "rail"])
    op.create_index("fold_blocks_seen", "fold_blocks", ["seen_at"])
    op.create_table(
        "chain_samples",
        sa.Column("chain_id", Whole, primary_key=True, autoincrement=False),
        sa.Column("at", Whole, primary_key=True, autoincrement=False),
        sa.Column("head", Whole),
        sa.Column("lag_seconds", Whole),
        sa.Column("detection_ms", Whole),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "console_sessions",
        sa.Column("token_hash", sa.Text, primary_key=True),
        sa.Column("key_mark", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
    )
    op.create_table(
        "handled_transfers",
        sa.Column(
            "transfer_id",
            Whole,
            sa.ForeignKey("transfers.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", Whole, nullable=False),
    )
    op.create_table(
        "transfer_proofs",
        sa.Column(
            "transfer_id",
            Whole,
            sa.ForeignKey("transfers.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("block_hash", sa.Text, nullable=False),
        sa.Column("transaction_index", Whole, nullable=False),
        sa.Column("log_position", Whole, nullable=False),
    )
    op.create_index("transfer_proofs_receipt", "transfer_proofs", ["block_hash", "transaction_index"])
    op.create_table(
        "receipt_proofs",
        sa.Column("block_hash", sa.Text, primary_key=True),
        sa.Column("transaction_index", Whole, primary_key=True, autoincrement=False),
        sa.Column("proof", sa.Text, nullable=False),
    )
    op.create_table(
        "summaries",
        sa.Column("intent_id", sa.Text, sa.ForeignKey("intents.intent_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("event_type", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, primary_key=True),
        sa.Column("told", Whole, nullable=False),
        sa.Column("told_at", Whole, nullable=False),
        sa.Column("waiting", Whole, nullable=False),
        sa.Column("last_transfer", Whole),
        sqlite_with_rowid=False,
    )
    op.create_index("summaries_due", "summaries", ["told_at"], **where("waiting > 0"))


def _reading() -> None:
    """Create how far the chains were read."""
    op.create_table(
        "checkpoints",
        sa.Column("chain_id", Whole, primary_key=True),
        sa.Column("rail", sa.Text, primary_key=True),
        sa.Column("last_scanned_block", Whole, nullable=False),
        sa.Column("anchor", sa.Text),
        sa.Column("time", Whole),
        sa.Column("updated_at", Whole, nullable=False),
    )
    op.create_table(
        "blocks",
        sa.Column("chain_id", Whole, primary_key=True),
        sa.Column("rail", sa.Text, primary_key=True),
        sa.Column("number", Whole, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_table(
        "unread_logs",
        sa.Column("chain_id", Whole, primary_key=True),
        sa.Column("rail", sa.Text, primary_key=True),
        sa.Column("position", Whole, primary_key=True),
        sa.Column("tx_hash", sa.Text, primary_key=True),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("since", Whole, nullable=False),
    )
    op.create_table(
        "coin_balances",
        sa.Column("chain_id", Whole, primary_key=True),
        sa.Column("destination", sa.Text, primary_key=True),
        sa.Column("balance", sa.Text, nullable=False),
        sa.Column("position", Whole, nullable=False, server_default="0"),
    )


def _telling() -> None:
    """Create the outbox, and with which secrets it signs."""
    op.create_table(
        "events",
        sa.Column("number", Whole, primary_key=True),
        sa.Column("event_id", sa.Text, nullable=False, unique=True),
        sa.Column("subject_kind", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("round", Whole, nullable=False),
        sa.Column("attempts", Whole, nullable=False),
        sa.Column("next_attempt_at", Whole, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("delivered_at", Whole),
        sa.Column("failed_at", Whole),
        sa.Column("priority", Whole, nullable=False, server_default="2"),
        sa.CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="events_delivered_at"),
        sa.CheckConstraint("(status = 'failed') = (failed_at IS NOT NULL)", name="events_failed_at"),
        sa.CheckConstraint("status IN ('pending','delivered','failed','superseded')", name="events_status_known"),
    )
    op.create_index("events_due", "events", ["priority", "next_attempt_at"], **where("status = 'pending'"))
    op.create_index("events_failed", "events", ["failed_at"], **where("status = 'failed'"))
    op.create_index("events_subject", "events", ["subject_kind", "subject_id"])
    op.create_index("events_undelivered", "events", ["status", "number"], **where("status <> 'delivered'"))
    op.create_table(
        "attempts",
        sa.Column("id", Whole, primary_key=True),
        sa.Column("event_id", sa.Text, sa.ForeignKey("events.event_id"), nullable=False),
        sa.Column("round", Whole, nullable=False),
        sa.Column("number", Whole, nullable=False),
        sa.Column("at", Whole, nullable=False),
        sa.Column("ok", sa.Boolean, nullable=False),
        sa.Column("status", Whole),
        sa.Column("latency_ms", Whole, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
    )
    op.create_index("attempts_event", "attempts", ["event_id"])
    op.create_table(
        "callback_rotations",
        sa.Column("callback_url", sa.Text, primary_key=True),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("since", Whole, nullable=False),
        sa.Column("overlap_until", Whole, nullable=False),
        sa.Column("former_secret", sa.Text),
        sa.Column("former_since", Whole),
    )


def _watching() -> None:
    """Create balance watches, and the row that is written to see whether anything can be."""
    op.create_table(
        "balance_watches",
        sa.Column("watch_id", sa.Text, primary_key=True),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("chain_type", sa.Text, nullable=False),
        sa.Column("token_address", sa.Text),
        sa.Column("token_key", sa.Text),
        sa.Column("token_symbol", sa.Text),
        sa.Column("decimals", Whole),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("address_key", sa.Text, nullable=False),
        sa.Column("baseline_balance", sa.Text, nullable=False),
        sa.Column("current_balance", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("callback_url", sa.Text, nullable=False),
        sa.Column("callback_secret", sa.Text, nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("last_checked_at", Whole),
        sa.Column("next_check_at", Whole, nullable=False),
        sa.Column("last_position", Whole),
        sa.Column("change_count", Whole, nullable=False),
        sa.Column("last_notified_at", Whole),
        sa.Column("expires_at", Whole, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        sa.CheckConstraint("status IN ('watching','stopped','expired')", name="watches_status_known"),
    )
    op.create_index("watches_chain_status", "balance_watches", ["chain_id", "status"])
    op.create_index("watches_due", "balance_watches", ["status", "next_check_at"])
    op.create_table(
        "heartbeats",
        sa.Column("id", Whole, primary_key=True),
        sa.Column("at", Whole, nullable=False),
    )


def _sharing() -> None:
    """Create what several processes on one store know of each other."""
    op.create_table(
        "nodes",
        sa.Column("incarnation", sa.Text, primary_key=True),
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("started_at", Whole, nullable=False),
        sa.Column("seen_at", Whole, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text),
        sa.Column("term", sa.Text),
    )
    op.create_table(
        "chain_reports",
        sa.Column("chain_id", Whole, primary_key=True, autoincrement=False),
        sa.Column("report", sa.Text),
        sa.Column("at", Whole),
        sa.Column("chain_ms", Whole),
        sa.Column("chain_position", Whole),
        sa.Column("asked", Whole, nullable=False, server_default="0"),
        sa.Column("answered", Whole, nullable=False, server_default="0"),
        sa.Column("failure", sa.Text),
        sa.Column("blind", Whole, nullable=False, server_default="0"),
    )
    op.create_table(
        "rate_counts",
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("limit_name", sa.Text, nullable=False),
        sa.Column("slot", Whole, autoincrement=False, nullable=False),
        sa.Column("process", sa.Text, nullable=False),
        sa.Column("count", Whole, nullable=False),
        sa.Column("over_at", Whole, nullable=False),
        sa.PrimaryKeyConstraint("client", "limit_name", "slot", "process"),
    )
    op.create_index("rate_counts_over", "rate_counts", ["over_at"])
    if op.get_context().dialect.name == "postgresql":
        op.execute(CLOCK)
        op.execute("ALTER TABLE rate_counts SET UNLOGGED")  # what is written every second need not last


def _refusals(sql: Spelling) -> list[str]:
    """One transfer settles one intent: the store itself refuses anything else, whatever code runs above it."""
    settled = f"{sql.true('settled')}"
    other = f"EXISTS (SELECT 1 FROM transfers WHERE id = NEW.id AND {settled})"
    same_reference = "chain_id = NEW.chain_id AND topic_ref = NEW.topic_ref"
    same_intent = f"(intent_id = NEW.intent_id OR number = NEW.number OR ({same_reference}))"
    same_key = "chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash AND event_key = NEW.event_key"
    return [
        # A settled transfer stays what it is and whose it is.
        *sql.refusal(
            "transfers_settled_stays",
            "BEFORE UPDATE ON transfers",
            "a settled transfer never changes its intent",
            condition=f"{sql.true('OLD.settled')} AND ({sql.not_true('NEW.settled')}"
            f" OR {sql.differs('NEW.intent_id', 'OLD.intent_id')} OR NEW.id <> OLD.id"
            " OR NEW.chain_id <> OLD.chain_id OR NEW.tx_hash <> OLD.tx_hash OR NEW.event_key <> OLD.event_key)",
        ),
        # It goes when its intent is gone, and not before: read again it would settle the next one.
        *sql.refusal(
            "transfers_settled_kept",
            "BEFORE DELETE ON transfers",
            "a settled transfer is kept as long as its intent",
            condition=f"{sql.true('OLD.settled')} AND EXISTS (SELECT 1 FROM intents WHERE intent_id = OLD.intent_id)",
        ),
        # SQLite's `OR REPLACE` deletes what is in its way without asking a trigger of deletion.
        *sql.refusal(
            "transfers_settled_once",
            "BEFORE INSERT ON transfers",
            "a transfer settles one intent only",
            condition=f"EXISTS (SELECT 1 FROM transfers WHERE {same_key} AND {settled}"
            f" AND {sql.differs('intent_id', 'NEW.intent_id')})",
        ),
        # The key itself is looked after by transfers_settled_once; without a number of its own NEW.id is -1.
        *sql.refusal(
            "transfers_settled_not_replaced",
            "BEFORE INSERT ON transfers",
            "a settled transfer is not replaced",
            condition=other,
        ),
        # An insert that met the settled row and became an update does not come here: only one that took its place.
        *sql.refusal(
            "transfers_settled_not_undone",
            "AFTER INSERT ON transfers",
            "a settled transfer stays settled",
            condition=f"{sql.false('NEW.settled')}"
            " AND EXISTS (SELECT 1 FROM intents WHERE intent_id = NEW.intent_id AND tx_hash = NEW.tx_hash"
            f" AND status IN {SETTLED})"
            f" AND NOT EXISTS (SELECT 1 FROM transfers WHERE intent_id = NEW.intent_id AND {settled})",
        ),
        *sql.refusal(
            "transfers_settled_not_displaced",
            "BEFORE UPDATE OF id, chain_id, tx_hash, event_key ON transfers",
            "a settled transfer is not replaced",
            condition=f"(NEW.id <> OLD.id AND {other})"
            f" OR EXISTS (SELECT 1 FROM transfers WHERE {same_key} AND {settled} AND id <> OLD.id)",
        ),
        *sql.refusal(
            "intents_settled_once",
            "BEFORE UPDATE OF status ON intents",
            "a settled intent stays settled",
            condition=f"OLD.status IN {SETTLED} AND NEW.status NOT IN {SETTLED}",
        ),
        *sql.refusal(
            "intents_settled_not_replaced",
            "BEFORE INSERT ON intents",
            "UNIQUE: a settled intent is not replaced",
            condition=f"EXISTS (SELECT 1 FROM intents WHERE {same_intent} AND status IN {SETTLED})",
            unique=True,
        ),
        *sql.refusal(
            "intents_settled_not_displaced",
            "BEFORE UPDATE OF number, intent_id, chain_id, topic_ref ON intents",
            "a settled intent keeps its name",
            condition=f"(OLD.status IN {SETTLED} AND (NEW.intent_id <> OLD.intent_id OR NEW.number <> OLD.number"
            " OR NEW.chain_id <> OLD.chain_id OR NEW.topic_ref <> OLD.topic_ref))"
            f" OR EXISTS (SELECT 1 FROM intents WHERE {same_intent} AND number <> OLD.number AND status IN {SETTLED})",
        ),
        *sql.no_truncate("transfers", "transfers are kept as long as their intents"),
        *sql.no_truncate("intents", "intents are not forgotten all at once"),
    ]
