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


class RateLimited(Exception):
    """
    It was asked for too often.

    Attributes:
        retry_after_s: when to ask again, in seconds.
    """

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
