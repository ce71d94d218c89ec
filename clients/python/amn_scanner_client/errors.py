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


class BrokenAnswer(ScannerUnavailable):
    """
    The scanner answered what cannot be: a negative balance, an amount that is no number, a field that is missing.

    It is no balance and no payment; keep `str()` of it as evidence, and ask again later.
    """


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
    """
    A webhook with a good signature whose body is no event.

    With `names` (the ids it gives) it is about something of yours: keep it, let a person look, answer 200.
    Without any, answer 400.
    """

    def __init__(
        self, message: str, *, event_id: str = "", event_type: str = "unreadable", names: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.event_id = event_id
        self.event_type = event_type
        self.names = names


class InvalidProof(Exception):
    """A proof of payments of which a step does not follow from the hashes of the blocks: it shows nothing."""
