"""JSON as some nodes and proxies send it: invalid for a strict parser, although what is used of it is readable."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

MAX_BYTES = 8 * 1024 * 1024  # it is read in one piece, and slowly
MAX_DEPTH = 128  # far more than any answer has
_MAX_DIGITS = 80  # of a whole number: 256 bits and some

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BRACKETS = re.compile(rb"[\[\]{}]")


def loads(body: bytes | bytearray | memoryview) -> Any:
    """
    Read an answer, however sloppily it is written.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        tidy = repaired(bytes(body))
        if tidy is None:
            raise
    return json.loads(tidy)  # numbers of more than 64 bits are whole here


def repaired(body: bytes | bytearray) -> bytes | None:
    """
    Return the same as strict JSON; None when it is no JSON at all, too long, or too deep.

    A byte order mark is left out, NaN and numbers beyond all measure are null, halves of characters a question mark.
    """
    if len(body) > MAX_BYTES or _is_deep(body):
        return None
    try:
        value = json.loads(
            bytes(body).removeprefix(_BYTE_ORDER_MARK).decode(errors="replace"),
            parse_constant=lambda _: None,
            parse_float=_finite,
            parse_int=lambda digits: int(digits) if len(digits) <= _MAX_DIGITS else None,
        )
        return json.dumps(value, ensure_ascii=False).encode(errors="replace")
    except (ValueError, RecursionError):
        return None


def _is_deep(body: bytes | bytearray) -> bool:
    """Say whether brackets nest too deep, those in texts counted as well."""
    # The library's parser follows them on the C stack: where Python's own limit was raised, that ended the process.
    depth = 0
    for bracket in _BRACKETS.finditer(body):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None
