"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Spelling, Whole, checks, where

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """${message}."""
