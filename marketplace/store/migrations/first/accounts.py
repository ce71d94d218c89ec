"""Accounts, how they sign in, and what became of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Whole, where


def people() -> None:
    """Create users, their sessions, and what they are told."""
    op.create_table(
        "users",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("name_key", sa.Text, server_default="", nullable=False),
        sa.Column("generation", Whole, server_default="0", nullable=False),
        sa.Column("suspended_at", Whole),
        sa.CheckConstraint("role IN ('admin', 'buyer', 'seller', 'resolver')", name="users_role_known"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
    )
    op.create_index("users_by_email", "users", ["email"], postgresql_ops={"email": "text_pattern_ops"})
    op.create_index("users_by_name", "users", ["name_key"], postgresql_ops={"name_key": "text_pattern_ops"})
    op.create_index("users_newest", "users", ["created_at"])
    op.create_index("users_role", "users", ["role", "id"])
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("family_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("used_at", Whole),
        sa.Column("revoked_at", Whole),
        sa.Column("expires_at", Whole, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("refresh_tokens_family", "refresh_tokens", ["family_id"])
    op.create_index("refresh_tokens_user", "refresh_tokens", ["user_id", "created_at"])
    op.create_table(
        "admin_sessions",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("admin_sessions_over", "admin_sessions", ["expires_at"])
    op.create_index("admin_sessions_user", "admin_sessions", ["user_id", "expires_at"])
    op.create_table(
        "notifications",
        sa.Column("seq", Whole, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("related_id", sa.Text),
        sa.Column("action_url", sa.Text),
        sa.Column("read_at", Whole),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("notifications_unread", "notifications", ["user_id"], **where("read_at IS NULL"))
    op.create_index("notifications_user", "notifications", ["user_id", "seq"])
    op.create_index("notifications_old", "notifications", ["created_at"])
    op.create_table(
        "announcements",
        sa.Column("seq", Whole, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("related_id", sa.Text, nullable=False),
        sa.Column("action_url", sa.Text),
        sa.Column("told_upto", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "notice_counts",
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("told_at", Whole, nullable=False),
        sa.Column("held_back", Whole, nullable=False),
        sa.CheckConstraint("held_back >= 0", name="notice_counts_held_back"),
        sa.PrimaryKeyConstraint("about", "type", "audience"),
    )
    op.create_index("notice_counts_due", "notice_counts", ["told_at"], **where("held_back > 0"))
    op.create_table(
        "threshold_history",
        sa.Column("id", Whole, nullable=False),
        sa.Column("chain_id", Whole, nullable=False),
        sa.Column("confirmations", Whole, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint("confirmations > 0", name="thresholds_positive"),
        sa.ForeignKeyConstraint(
            ["set_by"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("thresholds_chain", "threshold_history", ["chain_id", "id"])
    op.create_table(
        "key_proof",
        sa.Column("id", Whole, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="key_proof_one"),
        sa.PrimaryKeyConstraint("id"),
    )


def accounts() -> None:
    """Create what becomes of accounts, links of admins, and second factors."""
    op.create_table(
        "account_events",
        sa.Column("id", Whole, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("by_user_id", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.CheckConstraint(
            "kind IN ('created', 'invited', 'invitation_revoked', 'joined', 'registered', 'password_changed',"
            " 'reset_ordered', 'password_reset', 'suspended', 'unsuspended', 'sessions_ended',"
            " 'second_factor_added', 'second_factor_removed', 'recovery_code_used')",
            name="account_events_kind_known",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["by_user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("account_events_user", "account_events", ["user_id", "id"])
    op.create_table(
        "account_links",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("email", sa.Text),
        sa.Column("role", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
        sa.Column("used_at", Whole),
        sa.Column("revoked_at", Whole),
        sa.CheckConstraint("kind IN ('invitation', 'reset')", name="account_links_kind_known"),
        sa.CheckConstraint("(kind = 'invitation') = (user_id IS NULL)", name="account_links_for_whom"),
        sa.CheckConstraint(
            "(kind = 'invitation') = (email IS NOT NULL AND role IS NOT NULL)", name="account_links_invites"
        ),
        sa.CheckConstraint("used_at IS NULL OR revoked_at IS NULL", name="account_links_one_end"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_index("account_links_newest", "account_links", ["kind", "created_at"])
    op.create_index("account_links_user", "account_links", ["user_id"])
    op.create_index("account_links_over", "account_links", ["expires_at"])
    op.create_table(
        "second_factors",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("confirmed_at", Whole),
        sa.Column("last_step", Whole, server_default="0", nullable=False),
        sa.Column("created_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("code_hash", sa.Text, nullable=False),
        sa.Column("used_at", Whole),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id", "code_hash"),
    )
    op.create_table(
        "known_addresses",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("address_hash", sa.Text, nullable=False),
        sa.Column("seen_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id", "address_hash"),
    )
