"""Everybody has a turn, whatever is asked in between, and what is remembered of it has a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chains.fair_selection import FairSelector


@given(st.integers(1, 40), st.integers(1, 10), st.lists(st.integers(0, 60), max_size=5))
def test_everybody_is_chosen_within_as_many_rounds_as_it_takes(people, count, others):
    selector, chosen = FairSelector(), set()
    for _ in range(-(-people // count)):
        picked = selector.select(range(people), count, key=str)
        assert len(picked) == len(set(picked)) == min(count, people)
        chosen |= set(picked)
        for number in others:
            selector.select([number + 1_000], count, key=str)
    assert chosen == set(range(people))


def test_what_is_remembered_is_bounded():
    selector = FairSelector(max_remembered=10)
    for number in range(100):
        selector.select([number], 1, key=str)
    assert len(selector._selected) == 10
