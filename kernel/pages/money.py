"""Amounts and times as people read them: exact, and never through a float."""

from __future__ import annotations

from datetime import UTC, datetime


def decimal(amount: int, decimals: int | None) -> str:
    """Return base units as an exact decimal number, or as they are where nobody knows the decimals."""
    if not decimals:
        return str(amount)
    digits = str(abs(amount)).rjust(decimals + 1, "0")
    fraction = digits[-decimals:].rstrip("0")
    sign = "-" if amount < 0 else ""
    return f"{sign}{digits[:-decimals]}{'.' if fraction else ''}{fraction}"


def utc(ms: int) -> str:
    """Return a moment (unix milliseconds) for people, to the second, in UTC."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(ms: int) -> str:
    """Return a moment (unix milliseconds) for a `time` element."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
