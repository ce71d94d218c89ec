"""What a caller of the daemon's use cases did wrong."""

from __future__ import annotations


class InvalidRequest(Exception):
    """
    What was asked cannot be done as asked.

    Attributes:
        field: the request field to change.
        code: a stable name of the refusal.
    """

    def __init__(self, field: str, message: str, *, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.field = field
        self.code = code
