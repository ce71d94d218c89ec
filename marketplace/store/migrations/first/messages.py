"""What goes out through other channels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Whole, where


def messages() -> None:
    """Create what people are told elsewhere as well, and where."""
    op.create_table(
        "telegram_links",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("chat_id", sa.Text, nullable=False),
        sa.Column("linked_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "telegram_codes",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("code_hash", sa.Text, nullable=False),
        sa.Column("expires_at", Whole, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id"),
        sa.UniqueConstraint("code_hash"),
    )
    op.create_table(
        "channel_choices",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.CheckConstraint("channel IN ('telegram', 'email')", name="channel_choices_channel_known"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("user_id", "channel", "category"),
    )
    op.create_table(
        "messages",
        sa.Column("id", Whole, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("notification_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", Whole, server_default="0", nullable=False),
        sa.Column("next_attempt_at", Whole, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("created_at", Whole, nullable=False),
        sa.Column("done_at", Whole),
        sa.Column("claim", sa.Text),
        sa.Column("claimed_until", Whole),
        sa.CheckConstraint("channel IN ('telegram', 'email')", name="messages_channel_known"),
        sa.CheckConstraint("status IN ('pending','sent','failed')", name="messages_status_known"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("channel", "notification_id", name="messages_once"),
    )
    op.create_index("messages_due", "messages", ["next_attempt_at"], **where("status = 'pending'"))
    op.create_index("messages_done", "messages", ["done_at"])
