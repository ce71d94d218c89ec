"""What TronGrid and Tron nodes mean by an error: pure, learnt from their texts."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

SUSPENSION_S = 30.0  # when a refusal for asking too often names no time
QUOTA_S = 600.0  # the day's quota is used up: a request now and then finds out when that is over
LONGEST_S = 600.0

_SUSPENDED = re.compile(r"suspended for\s*(\d{1,6})\s*s", re.IGNORECASE)
_TOO_OFTEN = re.compile(r"frequency limit|rate.?limit|too many requests|suspended", re.IGNORECASE)
_QUOTA = re.compile(r"daily (?:usage|quota|limit)|exceeds? .{0,20}(?:usage|quota)", re.IGNORECASE)
_BUSY = re.compile(r"lack of computing resources|server.?busy|please try again|overload", re.IGNORECASE)
_NAMED_RANGE = re.compile(r"block range:?\s*(\d{1,9})|limited to a? ?(\d{1,9})", re.IGNORECASE)
_RANGE = re.compile(
    r"block range|returned more than|too (?:many|large)|exceed.{0,30}(?:result|size|range)|limited to a? ?\d",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"method .{0,60}(?:not (?:found|supported|available|allowed)|does not exist|disabled)|not enabled|disabled",
    re.IGNORECASE,
)
_METHOD_NOT_FOUND = -32601


def asked_to_wait(text: str, *, status: int = 200) -> float | None:
    """Return the seconds a refusal wants us to stay away; None when it is not about asking too often."""
    if named := _SUSPENDED.search(text):
        return min(LONGEST_S, float(named[1]))
    if _QUOTA.search(text):
        return QUOTA_S
    return SUSPENSION_S if status == 429 or _TOO_OFTEN.search(text) else None  # noqa: PLR2004 - HTTP's own


class Refusal(StrEnum):
    """What to do about a JSON-RPC error."""

    RANGE = "range"  # ask for fewer blocks
    BUSY = "busy"  # ask later
    UNSUPPORTED = "unsupported"  # this node does not serve the method
    OTHER = "other"


class Verdict(NamedTuple):
    """A classified JSON-RPC error."""

    refusal: Refusal
    blocks: int | None = None  # the longest range the node allows, when it says so
    wait_s: float | None = None


def classify(code: int, message: str) -> Verdict:
    """Say what a JSON-RPC error asks us to do."""
    wait = asked_to_wait(message)
    if wait is not None or _BUSY.search(message):
        return Verdict(Refusal.BUSY, wait_s=wait)
    if code == _METHOD_NOT_FOUND or _UNSUPPORTED.search(message):
        return Verdict(Refusal.UNSUPPORTED)
    if _RANGE.search(message):
        named = _NAMED_RANGE.search(message)
        return Verdict(Refusal.RANGE, blocks=int(named[1] or named[2]) if named else None)
    return Verdict(Refusal.OTHER)


def is_busy(text: str) -> bool:
    """Say whether a node refuses because it has too much to do."""
    return _BUSY.search(text) is not None
