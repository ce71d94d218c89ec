"""The ledger, fees, and what leaves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Whole, checks, where


def money() -> None:
    """Create what was seen and booked of money."""
    op.create_table(
        "payment_transfers",
        sa.Column("number", Whole, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("event_key", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("sender", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("payment_id", "tx_hash", "event_key", name="payment_transfers_once"),
    )
    op.create_table(
        "credited_transfers",
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("event_key", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("sender", sa.Text),
        sa.Column("block_hash", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("chain_id", "tx_hash", "event_key"),
    )
    op.create_index("credited_payment", "credited_transfers", ["payment_id"])
    op.create_table(
        "recoveries",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("amount_base", sa.Text),
        sa.Column("token_address", sa.Text),
        sa.Column("count", Whole, server_default="1", nullable=False),
        sa.Column("tx_hash", sa.Text),
        sa.Column("last_tx_hash", sa.Text),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("dedupe_key", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("updated_at", Whole, nullable=False),
        sa.CheckConstraint("count > 0", name="recoveries_count_positive"),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dedupe_key"),
    )
    op.create_index("recoveries_newest", "recoveries", ["updated_at"])
    op.create_index("recoveries_payment", "recoveries", ["payment_id", "reason"])
    op.create_table(
        "reorg_clearances",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("reorged_at", Whole, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("cleared_by", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["cleared_by"],
            ["users.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("clearances_payment", "reorg_clearances", ["payment_id", "created_at"])
    op.create_table(
        "funds_ledger_entries",
        sa.Column("id", Whole, nullable=False),
        sa.Column("entry_type", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("purchase_request_id", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("token_address", sa.Text, nullable=False),
        sa.Column("amount_base", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        *checks("ledger_amount_positive", lambda sql: sql.positive("amount_base")),
        sa.CheckConstraint(
            "entry_type IN ('payment_detected', 'provider_fee', 'platform_fee', 'hold',"
            " 'release', 'refund', 'dispute_hold', 'adjustment')",
            name="ledger_type_known",
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.id"],
        ),
        sa.ForeignKeyConstraint(
            ["purchase_request_id"],
            ["purchase_requests.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("ledger_payment", "funds_ledger_entries", ["payment_id"])
    op.create_index(
        "ledger_fees", "funds_ledger_entries", ["chain_id", "token_address"], **where("entry_type = 'platform_fee'")
    )


def payout_settlements() -> None:
    """Create by which transactions instructions are carried out."""
    op.create_table(
        "payout_settlements",
        sa.Column("instruction_id", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("given_hash", sa.Text, nullable=False),
        sa.Column("tx_hash", sa.Text, nullable=False),
        sa.Column("event_key", sa.Text),
        sa.Column("given_by", sa.Text, nullable=False),
        sa.Column("given_at", Whole, nullable=False),
        sa.Column("next_look_at", Whole, nullable=False),
        sa.Column("reported_at", Whole),
        sa.Column("done_at", Whole),
        sa.CheckConstraint("done_at IS NULL OR event_key IS NOT NULL", name="payout_settlements_done_is_proved"),
        sa.ForeignKeyConstraint(["given_by"], ["users.id"]),
        sa.ForeignKeyConstraint(["instruction_id"], ["payments.id"]),
        sa.PrimaryKeyConstraint("instruction_id"),
    )
    op.create_index(
        "payout_settlements_transfer_once",
        "payout_settlements",
        ["chain_id", "tx_hash", "event_key"],
        unique=True,
        **where("event_key IS NOT NULL"),
    )
    op.create_index("payout_settlements_due", "payout_settlements", ["next_look_at"], **where("done_at IS NULL"))


def sweeps() -> None:
    """Create which unsigned transactions stand for what."""
    op.create_table(
        "sweep_transfers",
        sa.Column("chain_id", Whole, autoincrement=False, nullable=False),
        sa.Column("from_address", sa.Text, nullable=False),
        sa.Column("nonce", Whole, autoincrement=False, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("to_address", sa.Text, nullable=False),
        sa.Column("amount", sa.Text, nullable=False),
        sa.Column("built_by", sa.Text, nullable=False),
        sa.Column("built_at", Whole, nullable=False),
        sa.Column("tx_id", sa.Text),
        sa.Column("raw", sa.Text),
        sa.Column("expires_at", Whole),
        *checks("sweep_amount_positive", lambda sql: sql.positive("amount")),
        sa.ForeignKeyConstraint(["built_by"], ["users.id"]),
        sa.PrimaryKeyConstraint("chain_id", "from_address", "nonce"),
    )
    op.create_index("sweep_transfers_subject_once", "sweep_transfers", ["chain_id", "subject"], unique=True)


def payout_addresses() -> None:
    """Create which addresses sellers proved to be theirs."""
    op.create_table(
        "payout_challenges",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("shown_address", sa.Text, nullable=False),
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
        sa.Column("used_at", Whole),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("payout_challenges_user", "payout_challenges", ["user_id", "created_at"])
    op.create_table(
        "payout_addresses",
        sa.Column("number", Whole, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("shown_address", sa.Text, nullable=False),
        sa.Column("challenge_id", sa.Text, nullable=False),
        sa.Column("proof", sa.Text, nullable=False),
        sa.Column("effective_at", Whole, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["challenge_id"], ["payout_challenges.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("challenge_id"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("payout_addresses_newest", "payout_addresses", ["created_at"])
    op.create_index("payout_addresses_user", "payout_addresses", ["user_id", "chain_id", "created_at"])


def fees() -> None:
    """Create what admins set as the fee of single sellers."""
    op.create_table(
        "fee_history",
        sa.Column("id", Whole, nullable=False),
        sa.Column("seller_id", sa.Text, nullable=False),
        sa.Column("bps", Whole),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("bps BETWEEN 0 AND 9999", name="fees_known"),
        sa.ForeignKeyConstraint(["seller_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["set_by"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("fees_seller", "fee_history", ["seller_id", "id"])
