"""What a node means by a JSON-RPC error: every provider of an EVM chain or of Tron says it in other words."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple


class ErrorKind(StrEnum):
    """What to do about a JSON-RPC error; the first seven name the dimension of the question that was too large."""

    BLOCKS = "blocks"  # ask for fewer blocks
    TOPICS = "topics"  # ask for fewer values in a topic position
    ADDRESSES = "addresses"  # ask for fewer contracts
    ROWS = "rows"  # the answer is too long: fewer blocks, then fewer destinations
    BATCH = "batch"  # make fewer calls in one request
    ADDRESSLESS = "addressless"  # name the contracts
    RATE = "rate"  # ask later
    HEAD = "head"  # the node does not hold that block yet: ask another
    UNSUPPORTED = "unsupported"  # the node does not serve this method
    OTHER = "other"


class ErrorAdvice(NamedTuple):
    """A classified error."""

    kind: ErrorKind
    suggested: int | None = None  # blocks, values or calls the node would accept, when it says so
    fixed: bool = False  # `suggested` is the node's rule, not advice for this one query


_RATE_CODES = {429, -32029, -32097}
_UNSUPPORTED_CODES = {-32601}
_LIMIT_CODES = {-32005, -32614}  # read as a range limit unless the words say otherwise
_ADDRESSLESS_CODES = {-32701}  # publicnode's; it also refuses ranges with this code
_ROWS_CODES = {-32003, -32008}  # "response too large" of geth, "Response is too big" of jsonrpsee

_REVERTED = re.compile(r"\A(?:execution reverted|reverted|revert\b|vm exception|vm execution)")
_HEAD = re.compile(
    r"beyond (?:the )?current head|extends beyond|unknown block|header not found|block not found|"
    r"blocks? specified in filter.*cannot be found|after last accepted block|unfinalized data|"
    r"block (?:number )?(?:is )?out of range|future block|(?:greater|higher) than (?:the )?(?:latest|head|current)|"
    r"block .{0,40}(?:not (?:yet )?(?:available|synced)|has not been)"
)
_BATCH = re.compile(
    r"\bbatch(?:es|ing)?\b.{0,60}(?:too (?:large|big|many|long)|limit|exceed|more than|max|not (?:allowed|supported)|"
    r"unsupported|disabled|size)|(?:too many|more than|max(?:imum)?|number of|support).{0,40}\bbatch(?:es|ing)?\b"
)
_ADDRESSLESS = re.compile(
    r"(?:specify|provide|include|require[sd]?|must (?:have|contain|set)|need(?:s|ed)?|missing|without|empty) "
    r"(?:at least one |a |an |any |the |contract |valid )*(?:contract )?address|"
    r"(?:required|missing) (?:field|param\w*|argument|filter)[^a-z]{1,4}address|"
    r"address(?:es)?(?: filter| field| parameter| param)? (?:(?:is|are) )?(?:required|missing|mandatory|must be|empty|"
    r"not specified|cannot be empty)"
)
_TOPICS = re.compile(
    r"topics? per search|"
    r"(?:too many|max(?:imum)?(?: number of)?|less number of|fewer|number of|\d+) (?:sub-?)?topics?\b|"
    r"(?:sub-?)?topics?.{0,40}(?:exceed|limit|too many|too (?:large|long)|maximum|more than)|exceed.{0,40}\btopics?\b"
)
_ADDRESSES = re.compile(
    r"(?:too many|less number of|fewer|number of|max(?:imum)?|more than \d+|\d+) addresses|address(?:es)? count|"
    r"addresses.{0,40}(?:exceed|limit|too many|maximum|more than)|exceed.{0,40}\baddresses\b"
)
_RATE = re.compile(
    r"rate.{0,3}limit|too many requests|request (?:rate|limit|count)|requests per|compute units|throughput|"
    r"exceeded (?:its|your|the) .{0,30}(?:capacity|quota)|quota|daily request|per second|try again later"
)
_RANGE = re.compile(
    r"(?:block|blocks|log|logs|getlogs|query|filter|\bto\b|\bfrom\b).{0,60}\b(?:ranges?|span|distance)|"
    r"\branges?\b.{0,40}(?:limit|large|wide|exceed|high|big|max|blocks)|too many blocks|"
    r"max(?:imum)? (?:block )?range|exceeds? .{0,20}range|"
    r"limited to|please limit|requested blocks|(?:query|request) (?:timeout|timed out)|limit exceeded|"
    r"smaller than size"
)
_ROWS = re.compile(
    r"returned more than|returns too many|max(?:imum)? results|logs matched|too many (?:logs|results|rows|events)|"
    r"(?:response|result|results|query|size).{0,30}(?:too (?:large|big)|exceed|greater|limit)|"
    r"exceeds? .{0,20}(?:size|results|rows)|more than \d+ (?:results|logs|rows)|logs per response"
)
_UNSUPPORTED = re.compile(
    r"method .{0,40}(?:not (?:found|supported|available|allowed|whitelisted)|does not exist|is disabled|disabled)|"
    r"unsupported method|(?:getlogs|logs).{0,30}(?:disabled|not supported)|"
    r"not (?:available|included|supported) (?:on|in) your (?:current )?plan"
)

_NUMBER = r"(\d+(?:[,.]\d{3})*)(k\b)?"
_BRACKETS = re.compile(r"\[\s*0x([0-9a-f]{1,16})\s*,\s*0x([0-9a-f]{1,16})\s*\]")
_FROM_TO = re.compile(r"range:? (\d+)\s*-\s*(\d+)")
_COMPARED = re.compile(r"\(\d+ ?> ?(\d+)\)")
_MAXIMUM = re.compile(r"max(?:imum)?[^0-9]{0,50}?" + _NUMBER)
_LIMIT = re.compile(
    r"(?:up to|limited to|at most|limit(?: of| is)?|exceeds?|greater than|than size|within|over|more than|filter:)"
    r"(?: an?)?[ :=]*" + _NUMBER
)
_COUNTS_ROWS = re.compile(
    r"results|logs matched|too many logs|response size|bytes|\d ?[km]b\b|too large.{0,10}response|response.{0,10}too"
)
_MAX_SUGGESTED = 10_000_000


def classify(code: int, message: str) -> ErrorAdvice:
    """Say what an error of `eth_getLogs`, or of any other call, asks us to do."""
    text = message.lower()
    kind = next((kind for kind, fits in _RULES if fits(code, text)), ErrorKind.OTHER)
    if kind in {ErrorKind.BLOCKS, ErrorKind.ROWS}:
        return ErrorAdvice(kind, *_suggested_blocks(text))
    limit = _stated_limit(text) if kind in _WITH_A_LIMIT else None
    return ErrorAdvice(kind, limit, fixed=limit is not None)


# The first that fits: most wordings would fit several.
_RULES: tuple[tuple[ErrorKind, Callable[[int, str], object]], ...] = (
    # The reason is a contract's own text: it could say "rate limit", and a stranger would silence a node.
    (ErrorKind.OTHER, lambda _, text: _REVERTED.match(text)),
    (ErrorKind.HEAD, lambda _, text: _HEAD.search(text)),
    (ErrorKind.BATCH, lambda _, text: _BATCH.search(text)),
    (ErrorKind.TOPICS, lambda _, text: _TOPICS.search(text)),
    (ErrorKind.ADDRESSES, lambda _, text: _ADDRESSES.search(text)),
    (ErrorKind.ADDRESSLESS, lambda _, text: _ADDRESSLESS.search(text)),
    (ErrorKind.RATE, lambda code, text: code in _RATE_CODES or _RATE.search(text)),
    (ErrorKind.UNSUPPORTED, lambda code, text: code in _UNSUPPORTED_CODES or _UNSUPPORTED.search(text)),
    (
        ErrorKind.ROWS,
        lambda code, text: code in _ROWS_CODES or (_ROWS.search(text) and _COUNTS_ROWS.search(text)),
    ),
    (ErrorKind.BLOCKS, lambda code, text: _RANGE.search(text) or _ROWS.search(text) or code in _LIMIT_CODES),
    (ErrorKind.ADDRESSLESS, lambda code, _: code in _ADDRESSLESS_CODES),
)
_WITH_A_LIMIT = {ErrorKind.BATCH, ErrorKind.TOPICS, ErrorKind.ADDRESSES}


def _suggested_blocks(text: str) -> tuple[int | None, bool]:
    """Return how many blocks the node would accept, and whether that is its rule for every query."""
    rule = None if _COUNTS_ROWS.search(text) else _stated_limit(text)
    if rule is not None:
        return rule, True
    for pattern, base in ((_BRACKETS, 16), (_FROM_TO, 10)):
        if found := pattern.search(text):
            span = int(found[2], base) - int(found[1], base) + 1
            if 0 < span <= _MAX_SUGGESTED:
                return span, False
    return None, False


def _stated_limit(text: str) -> int | None:
    plain = _FROM_TO.sub("", _BRACKETS.sub("", text))
    for pattern in (_COMPARED, _MAXIMUM, _LIMIT):
        # A text that names both the range asked for and the one allowed names the allowed one last.
        for found in reversed(list(pattern.finditer(plain))):
            thousands = 1000 if pattern is not _COMPARED and found[2] else 1
            span = int(re.sub(r"[,.]", "", found[1])) * thousands
            if 0 < span <= _MAX_SUGGESTED:
                return span
    return None
