"""Who there is: accounts, how they sign in, and what became of them."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
)

from kernel.store.ddl import Whole
from kernel.store.dialects import StrangersText
from marketplace import model
from marketplace.store.columns import OneOf, identity, known
from marketplace.store.tables.schema import metadata

users = Table(
    "users",
    metadata,
    identity(),
    Column("email", StrangersText, nullable=False, unique=True),
    Column("name", StrangersText, nullable=False),
    Column("role", OneOf(model.Role), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("name_key", StrangersText, nullable=False, server_default=""),  # the name as it is searched for
    Column("generation", Whole, nullable=False, server_default="0"),  # of sessions: each end of all of them adds one
    Column("suspended_at", Whole),
    CheckConstraint(known("role", model.Role), name="users_role_known"),
    Index("users_by_email", "email", postgresql_ops={"email": "text_pattern_ops"}),
    Index("users_by_name", "name_key", postgresql_ops={"name_key": "text_pattern_ops"}),
    Index("users_newest", "created_at"),
    Index("users_role", "role", "id"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("family_id", Text, nullable=False),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("used_at", Whole),
    Column("revoked_at", Whole),
    Column("expires_at", Whole, nullable=False),
    Column("created_at", Whole, nullable=False),
    Index("refresh_tokens_family", "family_id"),
    Index("refresh_tokens_user", "user_id", "created_at"),
)

# Browsers that are signed in to the pages of admins and resolvers.
admin_sessions = Table(
    "admin_sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("expires_at", Whole, nullable=False),
    Index("admin_sessions_user", "user_id", "expires_at"),
    Index("admin_sessions_over", "expires_at"),
)

# What became of accounts, and by whom; nothing in it is a secret.
account_events = Table(
    "account_events",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id")),  # none where nobody has the account yet
    Column("by_user_id", Text, ForeignKey("users.id")),  # none where nobody was signed in
    Column("kind", OneOf(model.AccountEvent), nullable=False),
    Column("detail", StrangersText),
    Column("created_at", Whole, nullable=False),
    CheckConstraint(known("kind", model.AccountEvent), name="account_events_kind_known"),
    Index("account_events_user", "user_id", "id"),
)

# Links that an admin hands out: each makes one account, or one new password. Only their digest is here.
account_links = Table(
    "account_links",
    metadata,
    identity(),
    Column("token_hash", Text, nullable=False, unique=True),
    Column("kind", OneOf(model.LinkKind), nullable=False),
    Column("email", StrangersText),
    Column("role", OneOf(model.Role)),
    Column("user_id", Text, ForeignKey("users.id")),  # whose password it renews
    Column("created_by", Text, ForeignKey("users.id"), nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("expires_at", Whole, nullable=False),
    Column("used_at", Whole),
    Column("revoked_at", Whole),
    CheckConstraint(known("kind", model.LinkKind), name="account_links_kind_known"),
    CheckConstraint("(kind = 'invitation') = (user_id IS NULL)", name="account_links_for_whom"),
    CheckConstraint("(kind = 'invitation') = (email IS NOT NULL AND role IS NOT NULL)", name="account_links_invites"),
    CheckConstraint("used_at IS NULL OR revoked_at IS NULL", name="account_links_one_end"),
    Index("account_links_newest", "kind", "created_at"),
    Index("account_links_user", "user_id"),
    Index("account_links_over", "expires_at"),
)

second_factors = Table(
    "second_factors",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("confirmed_at", Whole),  # none until the first code was right: it asks for none before
    Column("last_step", Whole, nullable=False, server_default="0"),  # of the newest code that was taken
    Column("created_at", Whole, nullable=False),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("code_hash", Text, primary_key=True),
    Column("used_at", Whole),
)

# From where somebody signed in: strangers who guess at an account keep nobody out who comes from there.
known_addresses = Table(
    "known_addresses",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("address_hash", Text, primary_key=True),
    Column("seen_at", Whole, nullable=False),
)
