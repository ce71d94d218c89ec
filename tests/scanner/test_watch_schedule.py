"""When a balance watch is read: as often as its age says, and never moved by a late read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.upkeep.watch_schedule import HOUR_MS, LIFE_MS, MINUTE_MS, next_due
from tests.scanner.facts import NOW, steady


@pytest.mark.parametrize(
    ("age_ms", "due_ms"),
    [
        (-5, 5 * MINUTE_MS - 5),
        (-HOUR_MS, 5 * MINUTE_MS - HOUR_MS),
        (0, 5 * MINUTE_MS),
        (5 * MINUTE_MS - 1, 5 * MINUTE_MS),
        (5 * MINUTE_MS, 10 * MINUTE_MS),
        (24 * HOUR_MS - 1, 24 * HOUR_MS),
        (24 * HOUR_MS, 24 * HOUR_MS + 10 * MINUTE_MS),
        (48 * HOUR_MS, 48 * HOUR_MS + 20 * MINUTE_MS),
        (72 * HOUR_MS, 72 * HOUR_MS + 40 * MINUTE_MS),
        (LIFE_MS - 1, LIFE_MS),
        (LIFE_MS, LIFE_MS + 40 * MINUTE_MS),
        (2 * LIFE_MS + 1, 2 * LIFE_MS + 40 * MINUTE_MS),
    ],
)
def test_a_watch_is_read_as_often_as_its_age_says(age_ms: int, due_ms: int) -> None:
    assert next_due(NOW, NOW + age_ms) - NOW == due_ms


@steady
@given(ages=st.lists(st.integers(-LIFE_MS, 2 * LIFE_MS), min_size=2, max_size=2))
def test_the_next_read_lies_ahead_and_never_before_that_of_an_earlier_moment(ages: list[int]) -> None:
    earlier, later = sorted(ages)

    assert next_due(NOW, NOW + later) > NOW + later
    assert next_due(NOW, NOW + earlier) <= next_due(NOW, NOW + later)


@steady
@given(late=st.lists(st.integers(0, 5 * MINUTE_MS - 1), min_size=30, max_size=30))
def test_late_ticks_neither_move_nor_double_a_read(late: list[int]) -> None:
    moments = [NOW]
    for delay in late:
        moments.append(next_due(NOW, moments[-1] + delay))

    assert [b - a for a, b in pairwise(moments)] == [5 * MINUTE_MS] * 30
