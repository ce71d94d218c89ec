"""
What a use case may refuse, named by what the caller should do about it.

Each code has one HTTP status, here, so that a refusal reads the same wherever it is raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernel.errors import ConfigError
from kernel.web import http_errors

__all__ = ["CODES", "ConfigError", "Refused", "conflict", "forbidden", "invalid", "not_found"]

# Every code this backend answers with; docs/marketplace.md has a line for each.
CODES = {
    **http_errors.CODES,
    "bad_request": 400,
    "unauthorized": 401,
    "bad_credentials": 401,
    "code_required": 401,
    "bad_signature": 401,
    "forbidden": 403,
    "second_factor_required": 403,
    "conflict": 409,
    "reorged": 409,
    "wrong_transaction": 409,
    "out_of_stock": 409,
    "sold_out": 409,
    "invalid": 422,
    "wrong_code": 422,
    "not_proved": 422,
    "too_many_attempts": 429,
    "scanner_unavailable": 503,
    "rail_unavailable": 503,
    "quote_unavailable": 503,
    "node_unavailable": 503,
    "not_configured": 503,
    "store_unavailable": 503,
    "unknown_outcome": 503,
}


class Refused(Exception):
    """A request that gets no more than an explanation."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.details: Mapping[str, Any] = details

    @property
    def status(self) -> int:
        return CODES[self.code]


def forbidden(message: str) -> Refused:
    """Say that this actor may not do this to this object."""
    return Refused("forbidden", message)


def not_found(what: str) -> Refused:
    """Say that there is no such thing, or that its existence is not the actor's business."""
    return Refused("not_found", f"there is no such {what}")


def conflict(message: str, **state: Any) -> Refused:
    """Say that the present state does not allow it; `state` shows the present state."""
    return Refused("conflict", message, **state)


def invalid(field: str, message: str) -> Refused:
    """Say that one field cannot be accepted."""
    return Refused("invalid", f"{field} {message}", field=field)
