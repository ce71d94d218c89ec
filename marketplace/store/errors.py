"""What can go wrong with the store itself."""

from __future__ import annotations

from kernel.errors import StoreError, WrongKey

__all__ = ["StoreError", "Taken", "WrongKey"]


class Taken(StoreError):
    """Something that may be there once is there already."""
