"""What TronGrid and Tron nodes mean by an error: pure, learnt from their texts."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from chains.rpc import provider_errors as words

# When a refusal for asking too often names no time, spent quotas included: the only endpoint is asked again by then
# (docs/rules.md, C). Ten minutes for a quota once made a chain blind for thirty seconds at a time.
SUSPENSION_S = 10.0
LONGEST_S = 600.0

_NAMED = re.compile(
    r"(?:suspended for|retry.{0,10}(?:after|in)|try again.{0,10}(?:after|in)|wait(?: for)?)\s*(\d{1,6})\s*(ms|s|m|h)",
    re.IGNORECASE,
)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600}
_TOO_OFTEN = re.compile(
    r"frequency limit|rate.?limit|too many requests|too quickly|suspended|quota|daily (?:usage|limit|request)|"
    r"usage limit|exceeds? .{0,20}usage|out of credits",
    re.IGNORECASE,
)
_BUSY = re.compile(r"lack of computing resources|server.?busy|please try again|overload", re.IGNORECASE)
_NOT_HELD = re.compile(
    r"\bprun(?:ed|ing)|(?:unknown|missing|no such) block|block .{0,40}not (?:found|exist|available)", re.IGNORECASE
)
_NOT_ENABLED = re.compile(r"not enabled|disabled", re.IGNORECASE)


def asked_to_wait(text: str, *, status: int = 200) -> float | None:
    """Return the seconds a refusal wants us to stay away; None when it is not about asking too often."""
    if status != 429 and not _TOO_OFTEN.search(text):  # noqa: PLR2004 - HTTP's own
        return None
    named = _NAMED.search(text)
    return SUSPENSION_S if named is None else min(LONGEST_S, float(named[1]) * _SECONDS[named[2].lower()])


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
