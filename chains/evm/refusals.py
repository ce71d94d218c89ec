"""What a node means by a JSON-RPC error: every provider says it in other words."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple


class Refusal(StrEnum):
    """What to do about a JSON-RPC error."""

    RANGE = "range"  # ask for fewer blocks
    RATE = "rate"  # ask later
    HEAD = "head"  # the node does not hold that block yet: ask another
    UNSUPPORTED = "unsupported"  # the node does not serve this method
    OTHER = "other"


class Verdict(NamedTuple):
    """A classified error."""

    refusal: Refusal
    span: int | None = None  # blocks the node would accept, when it says so
    fixed: bool = False  # `span` is the node's rule, not advice for this one query


_RATE_CODES = {429, -32029, -32097}
_UNSUPPORTED_CODES = {-32601}
_LIMIT_CODES = {-32005, -32614}  # read as a range limit unless the words say otherwise

_HEAD = re.compile(
    r"beyond (?:the )?current head|extends beyond|unknown block|header not found|block not found|"
    r"blocks? specified in filter.*cannot be found|after last accepted block|unfinalized data|"
    r"block (?:number )?(?:is )?out of range|future block|(?:greater|higher) than (?:the )?(?:latest|head|current)|"
    r"block .{0,40}(?:not (?:yet )?(?:available|synced)|has not been)"
)
_RATE = re.compile(
    r"rate.{0,3}limit|too many requests|request (?:rate|limit|count)|requests per|compute units|throughput|"
    r"exceeded (?:its|your|the) .{0,30}(?:capacity|quota)|quota|daily request|per second|try again later"
)
_RANGE = re.compile(
    r"(?:block|blocks|log|logs|getlogs|query|filter|\bto\b|\bfrom\b).{0,60}\b(?:range|span|distance)|"
    r"\brange\b.{0,40}(?:limit|large|wide|exceed|high|big|max)|too many blocks|"
    r"returned more than|max(?:imum)? (?:block )?(?:range|results)|max results|logs matched|too many (?:logs|results)|"
    r"(?:response|result|query|size).{0,30}(?:too (?:large|big)|exceed|greater|limit)|exceeds? .{0,20}(?:size|range)|"
    r"limited to|please limit|requested blocks|query (?:timeout|timed out)|limit exceeded|smaller than size"
)
_UNSUPPORTED = re.compile(
    r"method .{0,40}(?:not (?:found|supported|available|allowed|whitelisted)|does not exist|is disabled|disabled)|"
    r"unsupported method|(?:getlogs|logs).{0,30}(?:disabled|not supported)"
)

_NUMBER = r"(\d+(?:[,.]\d{3})*)(k\b)?"
_BRACKETS = re.compile(r"\[\s*0x([0-9a-f]{1,16})\s*,\s*0x([0-9a-f]{1,16})\s*\]")
_FROM_TO = re.compile(r"range:? (\d+)\s*-\s*(\d+)")
_COMPARED = re.compile(r"\(\d+ ?> ?(\d+)\)")
_MAXIMUM = re.compile(r"max(?:imum)?[^0-9]{0,50}?" + _NUMBER)
_LIMIT = re.compile(
    r"(?:up to|limited to|at most|limit(?: of| is)?|exceeds?|greater than|than size|within)(?: an?)?[ :=]*" + _NUMBER
)
_COUNTS_ROWS = re.compile(
    r"results|logs matched|response size|bytes|\d ?[km]b\b|too large.{0,10}response|response.{0,10}too"
)
_LONGEST_SPAN = 10_000_000


def classify(code: int, message: str) -> Verdict:
    """Say what an error of `eth_getLogs`, or of any other call, asks us to do."""
    text = message.lower()
    if _HEAD.search(text):
        return Verdict(Refusal.HEAD)
    if code in _RATE_CODES or _RATE.search(text):
        return Verdict(Refusal.RATE)
    if code in _UNSUPPORTED_CODES or _UNSUPPORTED.search(text):
        return Verdict(Refusal.UNSUPPORTED)
    if _RANGE.search(text) or code in _LIMIT_CODES:
        return Verdict(Refusal.RANGE, *_suggested_span(text))
    return Verdict(Refusal.OTHER)


def _suggested_span(text: str) -> tuple[int | None, bool]:
    """Return how many blocks the node would accept, and whether that is its rule for every query."""
    rule = None if _COUNTS_ROWS.search(text) else _stated_limit(text)
    if rule is not None:
        return rule, True
    for pattern, base in ((_BRACKETS, 16), (_FROM_TO, 10)):
        if found := pattern.search(text):
            span = int(found[2], base) - int(found[1], base) + 1
            if 0 < span <= _LONGEST_SPAN:
                return span, False
    return None, False


def _stated_limit(text: str) -> int | None:
    plain = _FROM_TO.sub("", _BRACKETS.sub("", text))
    for pattern in (_COMPARED, _MAXIMUM, _LIMIT):
        # A text that names both the range asked for and the one allowed names the allowed one last.
        for found in reversed(list(pattern.finditer(plain))):
            thousands = 1000 if pattern is not _COMPARED and found[2] else 1
            span = int(re.sub(r"[,.]", "", found[1])) * thousands
            if 0 < span <= _LONGEST_SPAN:
                return span
    return None
