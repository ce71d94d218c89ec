"""
What can go wrong with the store.

StoreError            the store cannot be used as it is; the message says what to do
├── NotFound
├── WrongKey         what is sealed in it cannot be opened
└── Conflict          what was asked contradicts what is stored
"""

from __future__ import annotations

from kernel.errors import StoreError, WrongKey

__all__ = ["Conflict", "NotFound", "StoreError", "WrongKey"]


class NotFound(StoreError):
    """There is no such row."""


class Conflict(StoreError):
    """
    What was asked contradicts what is stored.

    Attributes:
        field: the request field that differs, where one can be named.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
