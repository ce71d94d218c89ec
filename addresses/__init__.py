"""Addresses and transaction hashes of every family of chains: one strict implementation for both services."""

from addresses.errors import InvalidAddress
from addresses.families import canonical, canonical_tx_hash, listed_form, parse, same

__all__ = ["InvalidAddress", "canonical", "canonical_tx_hash", "listed_form", "parse", "same"]
