"""What can go wrong with the store itself."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be used as it is; the message says what to do."""


class Taken(StoreError):
    """Something that may be there once is there already."""
