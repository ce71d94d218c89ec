"""
Why a delivery failed, named by what the dispatcher should do.

DeliveryError      try again on schedule, or later if the receiver asked for it
├── Gone           stop: the receiver will never take this again (410)
└── Forbidden      nothing was sent: this address may not be called
"""

from __future__ import annotations


class DeliveryError(Exception):
    """
    One attempt failed; the message holds no URL and no secret.

    Attributes:
        retry_after: seconds the receiver asked us to wait, if it said so.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Gone(DeliveryError):
    """The receiver says that it will never take this again."""


class Forbidden(DeliveryError, OSError):
    """The guard refused; also an OSError, which is what a connector expects of a socket that cannot be made."""
