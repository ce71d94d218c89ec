"""What can go wrong with the store itself."""

from __future__ import annotations

from kernel.errors import StoreError, WrongKey

__all__ = ["RuleBroken", "StoreError", "Taken", "WrongKey"]


class Taken(StoreError):
    """Something that may be there once is there already."""


class RuleBroken(Exception):
    """The store refused what breaks one of its rules: whoever asked for it has a bug."""
