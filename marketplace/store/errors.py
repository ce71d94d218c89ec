"""What can go wrong with the store itself."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be used as it is; the message says what to do."""


class Taken(StoreError):
    """A rule that the database keeps (a unique or check constraint) refused the row."""
