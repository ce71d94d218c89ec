"""When to try again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from webhooks.schedule import RetrySchedule, parse_retry_after

SPEC = RetrySchedule((5, 30, 120, 600, 3600))
DAY = 24 * 3600
NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.fixture
def in_tokyo(monkeypatch) -> Iterator[None]:
    """Set the local zone to one that is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("attempt", "retry_after", "rand", "delay"),
    [
        (1, None, 0.5, 5),
        (2, None, 0.5, 30),
        (5, None, 0.5, 3600),
        (6, None, 0.5, None),
        (7, None, 0.5, None),
        (1, None, 0.0, 4.5),
        (1, None, 1.0, 5.5),
        (3, None, 0.0, 108),
        (1, 60, 0.5, 60),
        (2, 10, 0.5, 30),
        (1, 0, 0.5, 5),
        (1, -7, 0.5, 5),
        (1, 10 * DAY, 0.5, DAY),
        (6, 60, 0.5, None),
    ],
)
def test_next_delay(attempt, retry_after, rand, delay):
    assert SPEC.next_delay(attempt, retry_after=retry_after, rand=rand) == (
        None if delay is None else pytest.approx(delay)
    )


def test_a_delay_is_never_negative():
    assert RetrySchedule((5,), jitter=3).next_delay(1, retry_after=-9, rand=0.0) == 0


def test_a_schedule_without_pauses_is_one_attempt():
    assert RetrySchedule(()).next_delay(1, retry_after=60, rand=0.5) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("-5", 0),
        ("0000000000120", 120),
        ("9" * 6000, DAY),
        ("Fri, 15 Jan 2027 08:02:00 GMT", 120),
        ("Fri, 15 Jan 2027 08:02:00 -0000", 120),
        ("Fri, 15 Jan 2027 08:02:00", 120),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("Fri, 15 Jan 2100 07:00:00 GMT", DAY),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("1e3", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
        ("Fri, 99 Jan 2027 08:02:00 GMT", None),
        ("Fri, 15 Jan 99999999 08:02:00 GMT", None),
        ("Fri, 15 Jan 99999999999999999999 08:02:00 GMT", None),
        ("\udcff", None),
    ],
)
def test_parse_retry_after(value, seconds, in_tokyo):
    assert parse_retry_after(value, now=NOW) == seconds
