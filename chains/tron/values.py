"""The values raw answers are made of, each read strictly or not at all (pure)."""

from __future__ import annotations

import re
from typing import Any

from chains.errors import ChainProtocolError

_HASH = re.compile(r"[0-9a-f]{64}")
_MAX_TIME_MS = 2**52
_MIN_TIME_MS = 10**12  # 2001, before any chain of the kind
_DIGITS = re.compile(r"[0-9]{1,16}")
_HEX_TEXT = re.compile(r"[0-9a-f]*")


def plain_hex(value: Any) -> str:
    """
    Return hex without a prefix, in small letters, however it is spelt.

    What is no hex is no event of another kind, but one that cannot be read: to skip it would hide a payment.
    """
    unprefixed = value.lower().removeprefix("0x") if isinstance(value, str) else ""
    if not isinstance(value, str) or _HEX_TEXT.fullmatch(unprefixed) is None:
        raise ChainProtocolError(f"not hex: {excerpt(value)}")
    return unprefixed


def unprefixed(value: Any) -> Any:
    return value[2:].lower() if isinstance(value, str) and value.startswith("0x") else value


def hash_of(value: Any) -> str:
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise ChainProtocolError(f"not a hash: {excerpt(value)}")
    return value


def count(value: Any) -> int:
    """Read a number of the REST side; some index writes it as text, which is always decimal there."""
    if isinstance(value, str) and _DIGITS.fullmatch(value) is not None:
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ChainProtocolError(f"not a number: {excerpt(value)}")
    return value


def time_of(value: Any) -> int:
    if count(value) > _MAX_TIME_MS:
        raise ChainProtocolError(f"not a time: {excerpt(value)}")
    return count(value)


def time_of_event(value: Any) -> int:
    """Read when something was done, in ms: in seconds it would lie in 1970, long before every intent."""
    if time_of(value) < _MIN_TIME_MS:
        raise ChainProtocolError(f"not a time in ms: {excerpt(value)}")
    return time_of(value)


def mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ChainProtocolError(f"not a {what}: {excerpt(value)}")
    return value


def excerpt(value: Any) -> str:
    return repr(value)[:60]
