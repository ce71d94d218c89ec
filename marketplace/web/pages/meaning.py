"""What a failure means to whoever reads a page: a status, a sentence, and headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kernel.web.http_errors import http_error
from marketplace.errors import CODES, Refused
from marketplace.web.answers import translate


@dataclass(frozen=True, slots=True)
class Meaning:
    """How a failure is shown."""

    status: int
    why: str
    headers: Mapping[str, str] = field(default_factory=dict)


def meaning(exc: Exception) -> Meaning | None:
    """Return how a failure is shown; None when it means a bug."""
    found = http_error(exc)
    if found is not None:
        return Meaning(CODES[found.code], str(found), found.headers)
    known = translate(exc)
    return None if known is None else of_refusal(known)


def of_refusal(known: Refused) -> Meaning:
    """Return how a refusal of a use case is shown."""
    wait = known.details.get("retryAfter")
    return Meaning(known.status, str(known), {} if wait is None else {"Retry-After": str(wait)})
