"""Money is exact in both directions, and what is no plain amount is refused."""

from __future__ import annotations

from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.payments.money import MAX_BASE, MAX_DECIMALS, NotAnAmount, TooPrecise, to_base_units, to_decimal

EXACT = Context(prec=400)


@given(st.integers(0, MAX_BASE), st.integers(0, MAX_DECIMALS))
def test_base_units_survive_the_round_trip(base: int, decimals: int) -> None:
    assert to_base_units(to_decimal(base, decimals), decimals) == base


@given(st.integers(0, MAX_BASE), st.integers(0, MAX_DECIMALS))
def test_the_text_is_the_value_exactly(base: int, decimals: int) -> None:
    assert Decimal(to_decimal(base, decimals)) == EXACT.scaleb(Decimal(base), -decimals)


@given(st.integers(0, MAX_BASE), st.integers(0, MAX_DECIMALS))
def test_the_text_has_no_exponent_and_nothing_superfluous(base: int, decimals: int) -> None:
    text = to_decimal(base, decimals)
    whole, _, fraction = text.partition(".")

    assert set(text) <= set("0123456789.")
    assert whole == "0" or not whole.startswith("0")
    assert not fraction.endswith("0")
    assert not text.endswith(".")


@pytest.mark.parametrize("decimals", range(MAX_DECIMALS + 1))
def test_one_unit_round_trips_at_every_precision(decimals: int) -> None:
    assert to_base_units(to_decimal(1, decimals), decimals) == 1


@pytest.mark.parametrize(
    ("amount", "decimals", "base"),
    [
        ("0", 0, 0),
        ("12.5", 18, 12_500_000_000_000_000_000),
        ("0.000001", 6, 1),
        ("12.50", 2, 1250),
        ("100000", 6, 100_000_000_000),
        ("0.100000000000000001", 18, 100_000_000_000_000_001),
        (str(MAX_BASE), 0, MAX_BASE),
    ],
)
def test_known_amounts(amount: str, decimals: int, base: int) -> None:
    assert to_base_units(amount, decimals) == base


@pytest.mark.parametrize(
    "amount",
    [
        "",
        " ",
        " 1",
        "1 ",
        "1\n",
        "+1",
        "-1",
        "-0",
        "1e3",
        "1E-3",
        ".5",
        "5.",
        "1.2.3",
        "1,5",
        "1_000",
        "007",
        "00",
        "0x10",
        "NaN",
        "Infinity",
        "\u0661\u0662",
        "\uff11",
        "\u00b2",
        "1.\u0665",
        "1" * 79,
        "1." + "0" * 78,
        str(MAX_BASE + 1),
    ],
)
def test_what_is_no_plain_amount_is_refused(amount: str) -> None:
    with pytest.raises(NotAnAmount):
        to_base_units(amount, 0 if "." not in amount else 77)


def test_an_amount_beyond_256_bits_is_refused_whatever_the_decimals() -> None:
    with pytest.raises(NotAnAmount):
        to_base_units("1" * 60, 77)


@pytest.mark.parametrize(("amount", "decimals"), [("1.5", 0), ("0.0000001", 6), ("1.10", 1), ("0.0", 0)])
def test_more_fractional_digits_than_the_token_has_is_too_precise(amount: str, decimals: int) -> None:
    with pytest.raises(TooPrecise):
        to_base_units(amount, decimals)


@given(st.text(max_size=90))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    try:
        base = to_base_units(text, 18)
    except (NotAnAmount, TooPrecise):
        return
    assert EXACT.scaleb(Decimal(text), 18) == base


@pytest.mark.parametrize("base", [-1, 1.0, True, "1"])
def test_only_whole_base_units_are_shown(base: int) -> None:
    with pytest.raises(ValueError, match="base units"):
        to_decimal(base, 6)


@pytest.mark.parametrize("decimals", [-1, 78, True, 6.0])
def test_decimals_are_bounded(decimals: int) -> None:
    with pytest.raises(ValueError, match="decimals"):
        to_decimal(1, decimals)
    with pytest.raises(ValueError, match="decimals"):
        to_base_units("1", decimals)
