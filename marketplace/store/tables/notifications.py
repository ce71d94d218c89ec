"""What people are told, and through which channel."""

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
from marketplace.store.columns import OneOf, known
from marketplace.store.tables.schema import metadata

notifications = Table(
    "notifications",
    metadata,
    Column("seq", Whole, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("category", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("title", StrangersText, nullable=False),
    Column("related_id", Text),
    Column("action_url", StrangersText),
    Column("read_at", Whole),
    Column("created_at", Whole, nullable=False),
    Index("notifications_user", "user_id", "seq"),
    Index("notifications_old", "created_at"),
    Index("notifications_unread", "user_id", **where("read_at IS NULL")),
)

# What everybody of a role is to be told, until all of them were.
announcements = Table(
    "announcements",
    metadata,
    Column("seq", Whole, primary_key=True),
    Column("audience", OneOf(model.Role), nullable=False),
    Column("category", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("title", StrangersText, nullable=False),
    Column("related_id", Text, nullable=False),
    Column("action_url", StrangersText),
    Column("told_upto", Text, nullable=False),  # a user's id, in their order
    Column("created_at", Whole, nullable=False),
)

# What may come any number of times in an hour is told once in it; the rest is counted here.
notice_counts = Table(
    "notice_counts",
    metadata,
    Column("about", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("audience", Text, primary_key=True),  # a user, or "admins"
    Column("title", StrangersText, nullable=False),  # of the newest
    Column("url", StrangersText),
    Column("told_at", Whole, nullable=False),
    Column("held_back", Whole, nullable=False),
    CheckConstraint("held_back >= 0", name="notice_counts_held_back"),
    Index("notice_counts_due", "told_at", **where("held_back > 0")),
)

# What people want to be told elsewhere as well, and where.
telegram_links = Table(
    "telegram_links",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("chat_id", StrangersText, nullable=False),
    Column("linked_at", Whole, nullable=False),
)

telegram_codes = Table(
    "telegram_codes",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("code_hash", Text, nullable=False, unique=True),
    Column("expires_at", Whole, nullable=False),
)

channel_choices = Table(
    "channel_choices",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("channel", OneOf(model.Channel), primary_key=True),
    Column("category", Text, primary_key=True),
    CheckConstraint(known("channel", model.Channel), name="channel_choices_channel_known"),
)

# Written with the notification it carries, sent until it is taken.
messages = Table(
    "messages",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("channel", OneOf(model.Channel), nullable=False),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("notification_id", Text, nullable=False),
    Column("title", StrangersText, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Whole, nullable=False, server_default="0"),
    Column("next_attempt_at", Whole, nullable=False),
    Column("last_error", StrangersText),
    Column("created_at", Whole, nullable=False),
    Column("done_at", Whole),
    Column("claim", Text),  # of the process that sends it now, where several could
    Column("claimed_until", Whole),
    UniqueConstraint("channel", "notification_id", name="messages_once"),
    CheckConstraint(known("channel", model.Channel), name="messages_channel_known"),
    CheckConstraint("status IN ('pending','sent','failed')", name="messages_status_known"),
    Index("messages_due", "next_attempt_at", **where("status = 'pending'")),
    Index("messages_done", "done_at"),
)
