"""What an endpoint takes in one question: halved at once, tried larger after a while."""

from __future__ import annotations

import pytest

from chains.rpc.endpoint_limits import MAX_CALLS, RETRY_LARGER_S, AdaptiveLimit, Capability, LearnedLimits
from chains.types import EndpointLimits
from tests.chains.evm_world import Now


@pytest.fixture
def now():
    return Now()


def test_a_refusal_halves_at_once_down_to_one(now):
    limit = AdaptiveLimit(100, clock=now)
    sizes = []
    while limit.size > 1:
        limit.refused(limit.size)
        sizes.append(limit.size)
    assert sizes == [50, 25, 12, 6, 3, 1]
    limit.refused(1)
    assert limit.size == limit.learnt == 1


@pytest.mark.parametrize(("suggested", "size"), [(3, 3), (100, 50), (0, 50), (7_000, 50)])
def test_what_the_refusal_names_is_believed_when_it_is_less(now, suggested, size):
    limit = AdaptiveLimit(100, clock=now)
    limit.refused(100, suggested=suggested)
    assert limit.size == size


def test_twice_as_much_is_tried_after_a_while_and_kept_when_served(now):
    limit = AdaptiveLimit(100, clock=now)
    limit.refused(50)
    limit.served(25)
    now.seconds += RETRY_LARGER_S - 1
    assert limit.size == 25
    now.seconds += 1
    assert limit.size == 50
    limit.served(50)
    assert limit.size == 100
    limit.served(100)
    assert limit.learnt is None


def test_a_larger_one_refused_again_waits_as_long_once_more(now):
    limit = AdaptiveLimit(100, clock=now)
    limit.refused(50)
    now.seconds += RETRY_LARGER_S
    limit.refused(limit.size)
    assert limit.size == 25


def test_what_is_not_served_is_tried_again_after_a_while(now):
    ability = Capability(clock=now)
    assert ability.should_try
    ability.refused()
    assert (ability.known, ability.should_try) == (False, False)
    now.seconds += RETRY_LARGER_S
    assert ability.should_try
    ability.served()
    assert ability.known


def test_nothing_is_reported_before_it_was_learnt(now):
    memory = LearnedLimits(now)
    assert memory.report() == EndpointLimits()
    memory.batch.refused(MAX_CALLS)
    memory.addressless_logs.refused()
    assert memory.report() == EndpointLimits(batch=MAX_CALLS // 2, addressless_logs=False)
