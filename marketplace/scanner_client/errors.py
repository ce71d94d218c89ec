"""What can go wrong, named by what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ScannerError(Exception):
    """A call did not do what it was asked."""


class ScannerUnavailable(ScannerError):
    """
    The scanner, or the chain behind it, cannot answer now: try again later, after `retry_after` seconds if given.

    Whether a call that changes something was carried out is not known; all of them may be repeated.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ScannerRefused(ScannerError):
    """The scanner understood and said no: the same call will be refused again."""

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(f"{message} ({status} {code})")
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class Conflict(ScannerRefused):
    """It contradicts what the scanner has stored; `details["field"]` says in what."""


class NotFound(ScannerRefused):
    """The scanner does not know it."""


class InvalidWebhook(Exception):
    """A webhook that is not the scanner's, too old, or altered on its way: answer 401."""


class MalformedWebhook(InvalidWebhook):
    """A webhook with a good signature whose body is no event: answer 400."""
