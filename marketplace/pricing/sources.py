"""What a source of prices is, and the numbers of strangers as exact decimals."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any, Final, Protocol

from marketplace.pricing.decision import EXACT, Observation

MAX_DIGITS: Final = 40  # on either side of the point
FUTURE_S: Final = 60  # clocks differ
_NUMBER: Final = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}(\.[0-9]{{1,{MAX_DIGITS}}})?")
_UP: Final = Context(prec=28, rounding=ROUND_CEILING)


class SourceFailed(Exception):
    """A source cannot be relied upon now; the message says why, without its address."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source said at once: of each asset a price, or why there is none."""

    prices: Mapping[str, Observation]
    failures: Mapping[str, str] = field(default_factory=dict)


class PriceSource(Protocol):
    """Says what assets are worth in dollars."""

    name: str
    assets: frozenset[str]

    async def read(self) -> Reading:
        """
        Ask for everything it is configured for.

        Raises:
            SourceFailed: nothing was learned.
        """


def positive(text: object) -> Decimal:
    """
    Return a plain positive decimal number.

    Raises:
        SourceFailed: it is none, or longer than any price.
    """
    if not isinstance(text, str) or _NUMBER.fullmatch(text) is None:
        raise SourceFailed("a price is no plain decimal number")
    number = Decimal(text)
    if number <= 0:
        raise SourceFailed("a price is not above zero")
    return number


def inverse(number: Decimal) -> Decimal:
    """Return dollars for one unit where units for one dollar were said, rounded against whoever pays."""
    return _UP.divide(Decimal(1), number)


def scaled(answer: int, decimals: int) -> Decimal:
    """Return an integer with so many decimals as the number it stands for."""
    return EXACT.scaleb(Decimal(answer), -decimals)


def read_json(body: bytes) -> Mapping[str, Any]:
    """
    Return a JSON object in which numbers are the text they were, so that no digit of them is lost.

    Raises:
        SourceFailed: it is no such thing.
    """
    try:
        found = json.loads(body, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as exc:
        raise SourceFailed("the answer is no JSON") from exc
    if not isinstance(found, dict):
        raise SourceFailed("the answer is no JSON object")
    return found


def moment(text: object, now_s: float) -> int:
    """
    Return unix seconds that lie in the past.

    Raises:
        SourceFailed: they are none, or lie ahead.
    """
    if not isinstance(text, str) or re.fullmatch(r"[0-9]{1,12}", text) is None:
        raise SourceFailed("the answer does not say of when it is")
    if int(text) > now_s + FUTURE_S:  # else one answer would stay fresh for as long as its signer likes
        raise SourceFailed("the answer is of a time to come")
    return int(text)
