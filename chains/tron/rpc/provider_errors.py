"""What TronGrid and Tron nodes mean by an error: pure, learnt from their texts."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from chains.rpc import provider_errors as provider_errors

# When a refusal for asking too often names no time, spent quotas included: the only endpoint is asked again by then
# (docs/rules.md, C). Ten minutes for a quota once made a chain blind for thirty seconds at a time.
DEFAULT_WAIT_S = 10.0
MAX_WAIT_S = 600.0

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
    return DEFAULT_WAIT_S if named is None else min(MAX_WAIT_S, float(named[1]) * _SECONDS[named[2].lower()])


class ErrorKind(StrEnum):
    """What to do about a JSON-RPC error."""

    RANGE = "range"  # ask for fewer blocks
    TOPICS = "topics"  # ask for fewer destinations
    ROWS = "rows"  # the answer is too long: fewer blocks, then fewer destinations
    BUSY = "busy"  # ask later
    UNSUPPORTED = "unsupported"  # this node does not serve the method
    OTHER = "other"


class ErrorAdvice(NamedTuple):
    """A classified JSON-RPC error."""

    kind: ErrorKind
    suggested: int | None = None  # the blocks or destinations the node would take, when it says so
    wait_s: float | None = None


# Providers of Tron's JSON-RPC say it in the provider_errors of those of Ethereum's.
_DIMENSIONS = {
    provider_errors.ErrorKind.BLOCKS: ErrorKind.RANGE,
    provider_errors.ErrorKind.TOPICS: ErrorKind.TOPICS,
    provider_errors.ErrorKind.ADDRESSES: ErrorKind.TOPICS,
    provider_errors.ErrorKind.ROWS: ErrorKind.ROWS,
    provider_errors.ErrorKind.UNSUPPORTED: ErrorKind.UNSUPPORTED,
    provider_errors.ErrorKind.RATE: ErrorKind.BUSY,
    provider_errors.ErrorKind.HEAD: ErrorKind.BUSY,
}


def classify(code: int, message: str) -> ErrorAdvice:
    """Say what a JSON-RPC error asks us to do."""
    wait = asked_to_wait(message)
    if wait is not None or _BUSY.search(message):
        return ErrorAdvice(ErrorKind.BUSY, wait_s=wait)
    known = provider_errors.classify(code, message)
    if _NOT_ENABLED.search(message):
        return ErrorAdvice(ErrorKind.UNSUPPORTED)
    return ErrorAdvice(_DIMENSIONS.get(known.kind, ErrorKind.OTHER), known.suggested)


def is_busy(text: str) -> bool:
    """Say whether a node refuses because it has too much to do."""
    return _BUSY.search(text) is not None


def says_not_held(text: str) -> bool:
    """Say whether a node says that it has no such block: some do in provider_errors."""
    return _NOT_HELD.search(text) is not None
