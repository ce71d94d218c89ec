"""What is paid for a price in another currency, from what sources said: pure, exact, rounded up once."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.payments.money import to_base_units, to_decimal
from marketplace.pricing.decision import (
    Limits,
    NoPrice,
    Observation,
    adjustment_bps,
    agreed,
    plain,
    raw_amount,
    settle_units,
)

LIMITS = Limits()
AMOUNTS = st.decimals(min_value="0.000001", max_value="100000", places=6)
RATES = st.decimals(min_value="0.0000001", max_value="10", places=9)


def said(price: str, *, age_s: float = 0, source: str = "a") -> Observation:
    return Observation(source=source, asset="USDT", price=Decimal(price), as_of_s=1_000, age_s=age_s)


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("1", 0),
        ("0.9999", 0),
        ("0.9976", 0),  # 24 bps
        ("0.99755", 25),  # 24.5, rounded up
        ("0.9975", 25),
        ("0.99749", 26),
        ("0.9801", 199),
        ("0.98", 200),
        ("1.0024", 0),
        ("1.0025", 0),
        ("1.02", 0),  # above par nobody pays less
    ],
)
def test_a_coin_below_its_peg_costs_as_much_more(price: str, expected: int) -> None:
    assert adjustment_bps("USDT", Decimal(price), LIMITS) == expected


@pytest.mark.parametrize("price", ["0.9799", "0.97999999", "1.0201", "1.02000001", "0.5", "0.00000001", "2"])
def test_a_coin_too_far_off_its_peg_has_no_price(price: str) -> None:
    with pytest.raises(NoPrice) as caught:
        adjustment_bps("USDT", Decimal(price), LIMITS)

    assert caught.value.reason == "depeg"


def test_the_median_of_what_is_fresh_counts() -> None:
    one, two, three = said("0.999", source="a"), said("1.001", source="b"), said("1", source="c")
    old = said("0.5", age_s=3601, source="d")

    assert agreed("USDT", [one, two, three, old], LIMITS) == (Decimal(1), (one, two, three))
    assert agreed("USDT", [one, two], LIMITS)[0] == Decimal("1.000")
    assert agreed("USDT", [one], LIMITS) == (Decimal("0.999"), (one,))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([], "down"),
        ([said("1", age_s=3600.5)], "stale"),
        ([said("1", age_s=3601), said("1", age_s=9999)], "stale"),
        ([said("1"), said("1.0101")], "spread"),
        ([said("0.99"), said("1"), said("1.0001")], "spread"),  # two of three do not outvote: they may be the liars
    ],
)
def test_what_cannot_be_relied_upon_is_no_price(found: list[Observation], reason: str) -> None:
    with pytest.raises(NoPrice) as caught:
        agreed("USDT", found, LIMITS)

    assert caught.value.reason == reason


def test_the_edges_of_age_and_spread_are_inside() -> None:
    assert agreed("USDT", [said("1", age_s=3600)], LIMITS)[0] == 1
    assert agreed("USDT", [said("1"), said("1.01")], LIMITS)[0] == Decimal("1.005")


@pytest.mark.parametrize(
    ("amount", "rate", "adjustment", "decimals", "expected"),
    [
        ("100", "1", 0, 6, "100"),
        ("100", "1.0837", 0, 6, "108.37"),
        ("100", "1", 25, 6, "100.250627"),  # 100 / 0.9975 = 100.25062656...
        ("100", "1", 200, 6, "102.040817"),
        ("0.0000001", "1", 0, 6, "0.000001"),
        ("1", "0.00002380952380952380952380953", 0, 6, "0.000024"),
        ("3", "0.333333333333333333", 0, 2, "1"),
        ("100", "1", 200, 18, "102.040816326530612245"),
    ],
)
def test_what_is_paid_is_rounded_up_to_the_tokens_unit(
    amount: str, rate: str, adjustment: int, decimals: int, expected: str
) -> None:
    units = settle_units(raw_amount(Decimal(amount), Decimal(rate)), adjustment, decimals)

    assert to_decimal(units, decimals) == expected


@given(AMOUNTS, RATES, st.integers(0, 9999), st.integers(0, 18))
def test_a_seller_never_gets_less_and_a_buyer_pays_less_than_a_unit_more(
    amount: Decimal, rate: Decimal, adjustment: int, decimals: int
) -> None:
    raw = raw_amount(amount, rate)
    units = settle_units(raw, adjustment, decimals)
    exact = Fraction(amount) * Fraction(rate) * Fraction(10_000, 10_000 - adjustment) * 10**decimals

    assert exact <= units < exact + 1
    assert Fraction(raw) == Fraction(amount) * Fraction(rate)
    assert to_base_units(to_decimal(units, decimals), decimals) == units


@given(st.decimals(min_value="0.9", max_value="1.1", places=8))
def test_the_adjustment_makes_up_for_the_peg(price: Decimal) -> None:
    limits = Limits(depeg_max_bps=2000)
    adjustment = adjustment_bps("USDT", price, limits)

    off = (1 - Fraction(price)) * 10_000
    assert adjustment >= off or off < 25
    assert adjustment == 0 or (adjustment >= 25 and adjustment - off < 1)


@pytest.mark.parametrize("adjustment", [-1, 10_000])
def test_an_adjustment_beyond_everything_is_a_mistake(adjustment: int) -> None:
    with pytest.raises(ValueError, match="basis points"):
        settle_units(Decimal(1), adjustment, 6)


@pytest.mark.parametrize(("number", "text"), [("1.0500", "1.05"), ("100", "100"), ("1E-7", "0.0000001"), ("1.0", "1")])
def test_a_decimal_is_shown_plainly(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text
