"""What several processes on one store know of each other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kernel.store.ddl import Whole
from kernel.store.leases import CLOCK


def sharing() -> None:
    """Create what several processes on one store know of each other."""
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
    if op.get_context().dialect.name == "postgresql":
        op.execute(CLOCK)
        op.execute("ALTER TABLE rate_counts SET UNLOGGED")  # what is written every second need not last
