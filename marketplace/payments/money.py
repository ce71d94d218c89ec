"""
Money between people and chains: decimal text outside, an integer of base units inside, nothing in between.

Only text is parsed, digit by digit: neither float nor Decimal takes part, so nothing can be rounded.
"""

from __future__ import annotations

import re

MAX_DECIMALS = 77
MAX_BASE = 2**256 - 1  # what an EVM or TVM balance holds
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,77})(?:\.([0-9]{1,77}))?")  # ASCII digits: \d would take any script's


class NotAnAmount(ValueError):
    """The text is no plain decimal number such as 12.50."""


class TooPrecise(ValueError):
    """The amount has more fractional digits than the token."""


def to_base_units(amount: str, decimals: int) -> int:
    """
    Return a decimal string as base units of a token with so many decimals.

    Raises:
        NotAnAmount: a sign, an exponent, blanks, leading zeros, other digits than 0-9, or beyond 256 bits.
        TooPrecise: more fractional digits than the token has, zeros included.
    """
    _check_decimals(decimals)
    match = _AMOUNT.fullmatch(amount)
    if match is None:
        raise NotAnAmount("must be a decimal number such as 12.50, without sign or exponent")
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > decimals:
        raise TooPrecise(f"has {len(fraction)} fractional digits; this token has {decimals}")
    base = int(whole + fraction.ljust(decimals, "0"))
    if base > MAX_BASE:
        raise NotAnAmount("must fit 256 bits in the token's smallest unit")
    return base


def to_decimal(base: int, decimals: int) -> str:
    """
    Return base units as the shortest decimal string.

    Raises:
        ValueError: negative, or not an integer.
    """
    _check_decimals(decimals)
    if not isinstance(base, int) or isinstance(base, bool) or base < 0:
        raise ValueError("base units are an integer, zero or more")
    digits = str(base).rjust(decimals + 1, "0")
    whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _check_decimals(decimals: int) -> None:
    if type(decimals) is not int or not 0 <= decimals <= MAX_DECIMALS:
        raise ValueError(f"decimals must be an integer from 0 to {MAX_DECIMALS}")
