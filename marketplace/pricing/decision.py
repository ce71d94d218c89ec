"""
What a buyer pays for a price in another currency, decided from what sources said and from nothing else.

Every number is exact: decimals come from text, quotients are fractions, and only the last step rounds, up to the
token's unit, so that a seller never gets less than was agreed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Underflow
from fractions import Fraction
from typing import Final

BPS: Final = 10_000
TOLERATED_BPS: Final = 25  # below that a stablecoin is at its peg
EXACT: Final = Context(prec=400, traps=[Inexact, InvalidOperation, Overflow, Underflow])


class NoPrice(Exception):
    """What was said cannot be relied upon; `reason` is a word, the message a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When what was said is relied upon."""

    max_staleness_s: int = 3600
    max_spread_bps: int = 100
    depeg_max_bps: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one source said of one asset: dollars for one unit of it; `age_s` by the source's own clock."""

    source: str
    asset: str
    price: Decimal
    as_of_s: int
    age_s: float


def agreed(asset: str, said: Sequence[Observation], limits: Limits) -> tuple[Decimal, tuple[Observation, ...]]:
    """
    Return the median of what is fresh, and whose it is.

    Raises:
        NoPrice: nobody said anything, nothing of it is fresh, or two of them differ by too much.
    """
    if not said:
        raise NoPrice("down", f"no source of the price of {asset} answers")
    fresh = tuple(each for each in said if each.age_s <= limits.max_staleness_s)
    if not fresh:
        raise NoPrice("stale", f"every price of {asset} is older than {limits.max_staleness_s} seconds")
    prices = sorted(each.price for each in fresh)
    low, high = Fraction(prices[0]), Fraction(prices[-1])
    # Of two that differ nobody knows which one is wrong.
    if (high - low) * BPS > limits.max_spread_bps * low:
        raise NoPrice("spread", f"sources of the price of {asset} differ by more than {limits.max_spread_bps} bps")
    return _median(prices), fresh


def _median(ordered: Sequence[Decimal]) -> Decimal:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return EXACT.divide(EXACT.add(ordered[middle - 1], ordered[middle]), Decimal(2))


def adjustment_bps(asset: str, price: Decimal, limits: Limits) -> int:
    """
    Return by how much more is asked for because a stablecoin is below its peg, in basis points.

    Raises:
        NoPrice: it is so far off, on either side, that its price says little about the next hour.
    """
    off = (1 - Fraction(price)) * BPS
    if abs(off) > limits.depeg_max_bps:
        raise NoPrice("depeg", f"{asset} is more than {limits.depeg_max_bps} bps off its peg")
    adjustment = math.ceil(off)
    return adjustment if adjustment >= TOLERATED_BPS else 0


def raw_amount(offer_amount: Decimal, fx_rate: Decimal) -> Decimal:
    """Return the price in dollars, which is what would be paid at par."""
    return EXACT.multiply(offer_amount, fx_rate)


def settle_units(raw: Decimal, adjustment: int, decimals: int) -> int:
    """Return what is paid, in the token's unit: never less than asked for."""
    if not 0 <= adjustment < BPS:
        raise ValueError("an adjustment lies from 0 to below 10,000 basis points")
    owed: Fraction = Fraction(raw) * 10**decimals * BPS / (BPS - adjustment)
    return math.ceil(owed)


def plain(number: Decimal) -> str:
    """Return a decimal as the shortest plain text, without an exponent."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
