"""Amounts and times are text on the wire, and what is no amount, no time or too large is named and refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec
from protocol.answers import Balance, Readiness
from protocol.codec import Unreadable
from protocol.wire import MAX_UINT256, Change, Moment, Units, Wire, rfc3339
from tests.wire import shown


class Sample(Wire):
    """One value of each kind."""

    amount: Units
    delta: Change
    at: Moment | None
    text: str
    number: int


GOOD = {"amount": "5", "delta": "-5", "at": "2026-01-01T00:00:00.000Z", "text": "x", "number": 7}


def test_what_is_written_is_read_again() -> None:
    sample = Sample(amount=Units(MAX_UINT256), delta=Change(-1), at=Moment(1_790_000_000_123), text="x", number=7)

    reported = codec.plain(sample)

    assert reported == {
        "amount": str(MAX_UINT256),
        "delta": "-1",
        "at": "2026-09-21T14:13:20.123Z",
        "text": "x",
        "number": 7,
    }
    assert codec.read(Sample, reported) == sample


@given(st.integers(min_value=0, max_value=MAX_UINT256), st.integers(min_value=0, max_value=4_000_000_000_000))
def test_no_amount_and_no_moment_loses_anything(amount: int, ms: int) -> None:
    sample = Sample(amount=Units(amount), delta=Change(-amount), at=Moment(ms), text="", number=0)

    assert codec.read(Sample, codec.plain(sample)) == sample


def test_a_time_with_another_offset_is_the_same_moment() -> None:
    found = codec.read(Sample, {**GOOD, "at": "2026-01-01T02:00:00+02:00"})

    assert found == codec.read(Sample, GOOD)
    assert found.at is not None
    assert found.at.datetime.isoformat() == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"amount": "-1"}, "amount is out of bounds"),
        ({"amount": str(MAX_UINT256 + 1)}, "amount is out of bounds"),
        ({"amount": 1.0}, "amount is float and no integer"),
        ({"amount": True}, "amount is bool and no integer"),
        ({"amount": "1e3"}, "amount is str and no integer"),
        ({"amount": "9" * 80}, "amount is str and no integer"),
        ({"amount": None}, "amount is NoneType and no integer"),
        ({"delta": str(-MAX_UINT256 - 1)}, "delta is out of bounds"),
        ({"at": 5}, "at is int and no time"),
        ({"at": "2026-01-01T00:00:00"}, "at has no offset"),
        ({"text": 5}, "text is int and no str"),
        ({"text": "x" * 4097}, "text is longer than 4096 characters"),
        ({"number": "7"}, "number is str and no int"),
        ({"number": 7.0}, "number is float and no int"),
        ({"number": 2**63}, "number is out of bounds"),
        ({"number": None}, "number is null and no int"),
        ({"more": [{"deep": "x" * 4097}]}, "deep is longer than 4096 characters"),
    ],
)
def test_what_cannot_be_is_named(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Unreadable) as caught:
        codec.read(Sample, {**GOOD, **wrong})

    assert str(caught.value) == sentence


def test_a_field_that_is_missing_is_named_and_one_that_is_unknown_left_out() -> None:
    with pytest.raises(Unreadable, match="number is missing"):
        codec.read(Sample, {name: value for name, value in GOOD.items() if name != "number"})

    assert codec.read(Sample, {**GOOD, "later": {"a": 1}}) == codec.read(Sample, GOOD)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"{",
        b"[]",
        b"5",
        b"null",
        b"NaN",
        b'{"a":"\xff"}',
        b'{"\xe9":1}',
        b"\xff\xfe{}",
        b'{"a":"\\ud800"}',
        b'{"a":"\\x"}',
        b'{"a":1e400}',
        b'{"a":NaN}',
        b'{"a":01}',
        b'{"a":1}{}',
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_what_is_no_object_is_none(raw: bytes) -> None:
    """It comes from anybody who holds the secret."""
    assert codec.as_object(raw) is None


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 100_000])
def test_brackets_alone_do_not_end_the_process_whatever_the_interpreter_allows(raw: bytes) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        assert codec.as_object(raw) is None
    finally:
        sys.setrecursionlimit(before)


def test_an_object_is_what_it_says() -> None:
    assert codec.as_object(b'{"a":[1,"b",null,{"c":true}]}') == {"a": [1, "b", None, {"c": True}]}


def test_a_struct_is_made_of_facts_of_the_same_names_whose_numbers_become_what_they_are() -> None:
    facts = {"amount": 5, "delta": 4, "at": None, "text": "ignored", "number": 7, "secret": "never"}

    made = codec.of(Sample, facts, text="x", delta=Change(-4))

    assert codec.encode(made) == b'{"amount":"5","delta":"-4","at":null,"text":"x","number":7}'
    assert type(made.amount) is Units


def test_what_has_no_place_on_the_wire_is_not_written() -> None:
    with pytest.raises(NotImplementedError, match="object has no place on the wire"):
        codec.encode({"a": object()})


def test_a_value_is_no_number_by_mistake() -> None:
    assert shown(Balance, balance=Units(12))["balance"] == "12"


def test_readiness_says_whether_it_is() -> None:
    assert Readiness(status="ready", reasons=()).is_ready
    assert not Readiness(status="not ready", reasons=("x",)).is_ready


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "1970-01-01T00:00:00.000Z"), (1_790_000_000_007, "2026-09-21T14:13:20.007Z")]
)
def test_times_are_written_in_utc_to_the_millisecond(ms: int, text: str) -> None:
    assert rfc3339(ms) == text
