"""What a node means by an error: providers word the same refusal in fifty ways. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What to do about an error of a node."""

    RANGE = "range"  # ask for fewer blocks
    RATE = "rate"  # ask later
    BEHIND = "behind"  # the node has not seen the block yet
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Fault:
    """The `error` of one JSON-RPC answer."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A fault understood; `span` is the number of blocks the node says it takes."""

    kind: FaultKind
    span: int | None = None


_BEHIND = re.compile(
    r"beyond (the )?(current )?head|unknown block|header not found|block not found|past the head|"
    r"toblock.{0,20}(greater|higher) than|no known block|not yet available|future block",
    re.IGNORECASE,
)
_RATE = re.compile(
    r"rate.?limit|too many requests|request limit|requests per|compute units|capacity|throttl|quota|"
    r"exceeded.{0,20}(per second|daily)|credits",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"block range|range (is )?too|too (large|wide|many blocks|many results|many logs)|more than \d+ (results|logs)|"
    r"limit exceeded|exceeds? (the )?(limit|max)|max(imum)? .{0,30}(range|results|logs|blocks)|response size|"
    r"up to a \d+|query timeout|query returned|result set|distance|limited to \d+|log response|reduce",
    re.IGNORECASE,
)
_SPANS = (
    re.compile(r"up to a ([\d,]+) block", re.IGNORECASE),
    re.compile(r"(?:max(?:imum)?|limited to|limit)\D{0,40}?([\d,]+)(?:\s*block)?", re.IGNORECASE),
    re.compile(r"([\d,]+)[\s-]blocks?(?: range)?", re.IGNORECASE),
)
_SUGGESTED = re.compile(r"\[(0x[0-9a-f]+),\s*(0x[0-9a-f]+)\]", re.IGNORECASE)
_RESULTS = re.compile(r"results|logs", re.IGNORECASE)
TOO_MANY_REQUESTS = 429


def diagnose(fault: Fault) -> Diagnosis:
    """Return what a node's error about a range of logs means."""
    text = fault.message
    if _BEHIND.search(text):
        return Diagnosis(FaultKind.BEHIND)
    if fault.code == TOO_MANY_REQUESTS or _RATE.search(text):
        return Diagnosis(FaultKind.RATE)
    if _RANGE.search(text):
        return Diagnosis(FaultKind.RANGE, _span(text))
    return Diagnosis(FaultKind.OTHER)


def _span(text: str) -> int | None:
    suggested = _SUGGESTED.search(text)
    if suggested:
        return max(1, int(suggested[2], 16) - int(suggested[1], 16) + 1)
    if _RESULTS.search(text) and "block range" not in text.lower():
        return None  # the number counts rows, not blocks
    for pattern in _SPANS:
        found = pattern.search(text)
        if found:
            return max(1, int(found[1].replace(",", "")))
    return None
