"""What the store knows of its key, and several processes on it of each other."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Table, Text

from kernel.store.ddl import Whole
from kernel.store.leases import lease_tables
from kernel.store.rates import rate_table
from marketplace.store.tables.schema import metadata

# What only the right key opens, so that a backup says at once whether the key at hand is its key.
key_proof = Table(
    "key_proof",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("sealed", Text, nullable=False),
    CheckConstraint("id = 1", name="key_proof_one"),
)

rate_counts = rate_table(metadata)
nodes, leases = lease_tables(metadata)
