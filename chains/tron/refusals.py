"""What TronGrid and Tron nodes mean by an error: pure, learnt from their texts."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from chains.evm import refusals as words

SUSPENSION_S = 10.0  # when a refusal for asking too often names no time: the only endpoint is asked again by then
QUOTA_S = 600.0  # the day's quota is used up: a request now and then finds out when that is over
LONGEST_S = 600.0

_SUSPENDED = re.compile(r"suspended for\s*(\d{1,6})\s*s", re.IGNORECASE)
_TOO_OFTEN = re.compile(r"frequency limit|rate.?limit|too many requests|too quickly|suspended", re.IGNORECASE)
_QUOTA = re.compile(r"daily (?:usage|quota|limit)|exceeds? .{0,20}(?:usage|quota)", re.IGNORECASE)
_BUSY = re.compile(r"lack of computing resources|server.?busy|please try again|overload", re.IGNORECASE)
_NOT_HELD = re.compile(
    r"\bprun(?:ed|ing)|(?:unknown|missing|no such) block|block .{0,40}not (?:found|exist|available)", re.IGNORECASE
)
_NOT_ENABLED = re.compile(r"not enabled|disabled", re.IGNORECASE)


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
    TOPICS = "topics"  # ask for fewer destinations
    ROWS = "rows"  # the answer is too long: fewer blocks, then fewer destinations
    BUSY = "busy"  # ask later
    UNSUPPORTED = "unsupported"  # this node does not serve the method
    OTHER = "other"


class Verdict(NamedTuple):
    """A classified JSON-RPC error."""

    refusal: Refusal
    allowed: int | None = None  # the blocks or destinations the node would take, when it says so
    wait_s: float | None = None


# Providers of Tron's JSON-RPC say it in the words of those of Ethereum's.
_DIMENSIONS = {
    words.Refusal.BLOCKS: Refusal.RANGE,
    words.Refusal.TOPICS: Refusal.TOPICS,
    words.Refusal.ADDRESSES: Refusal.TOPICS,
    words.Refusal.ROWS: Refusal.ROWS,
    words.Refusal.UNSUPPORTED: Refusal.UNSUPPORTED,
    words.Refusal.RATE: Refusal.BUSY,
    words.Refusal.HEAD: Refusal.BUSY,
}


def classify(code: int, message: str) -> Verdict:
    """Say what a JSON-RPC error asks us to do."""
    wait = asked_to_wait(message)
    if wait is not None or _BUSY.search(message):
        return Verdict(Refusal.BUSY, wait_s=wait)
    told = words.classify(code, message)
    if _NOT_ENABLED.search(message):
        return Verdict(Refusal.UNSUPPORTED)
    return Verdict(_DIMENSIONS.get(told.refusal, Refusal.OTHER), told.span)


def is_busy(text: str) -> bool:
    """Say whether a node refuses because it has too much to do."""
    return _BUSY.search(text) is not None


def says_not_held(text: str) -> bool:
    """Say whether a node says that it has no such block: some do in words."""
    return _NOT_HELD.search(text) is not None
