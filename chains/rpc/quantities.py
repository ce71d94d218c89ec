"""Numbers as JSON-RPC nodes send them, of every family."""

from __future__ import annotations

import re

from chains.errors import ChainProtocolError

MAX_QUANTITY = 2**63 - 1  # what a store holds; a larger one stopped its chain
MAX_TIMESTAMP = 253_402_300_799  # the last one a calendar can tell, of the year 9999

_HEX = re.compile(r"0[xX]0{0,48}[0-9a-fA-F]{1,16}")


def quantity(value: object) -> int:
    """
    Return a quantity: hexadecimal text, or the plain number that some nodes send instead.

    Digits in text without 0x mean one number as decimal ones and another as hexadecimal ones: they are refused.

    Raises:
        ChainProtocolError: it is no such number.
    """
    number = quantity_or_none(value)
    if number is None:
        raise ChainProtocolError(f"not a quantity: {repr(value)[:60]}")
    return number


def quantity_or_none(value: object) -> int | None:
    """Return a quantity; None when there is none to read."""
    if isinstance(value, str):
        value = int(value, 16) if _HEX.fullmatch(value) else None
    # JSON's true is a number to Python, and no number to anybody else.
    return value if type(value) is int and 0 <= value <= MAX_QUANTITY else None
