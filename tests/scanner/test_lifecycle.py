"""Where an intent goes next, for any set of transfers and any head."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog import Finality
from scanner.lifecycle import depth, due_for_verification, is_sufficiently_confirmed, next_status, ready
from scanner.matching import allocate
from scanner.model import LIVE, RETURNABLE, SETTLED, IntentStatus, Reason
from tests.scanner.facts import NOW, a_head, an_intent, steady, stored

blocks = st.lists(st.integers(90, 110), max_size=5)


@steady
@given(status=st.sampled_from(list(IntentStatus)), sent=st.lists(st.integers(1, 900), max_size=4))
def test_an_intent_is_confirming_exactly_when_it_is_paid_and_settled_or_cancelled_ones_stay(
    status: IntentStatus, sent: list[int]
) -> None:
    allocation = allocate(1000, [stored(number, amount=amount) for number, amount in enumerate(sent)])
    intent = an_intent(status=status)

    following = next_status(intent, allocation)

    if status in SETTLED:
        assert following is status
    elif sum(sent) >= 1000:
        assert following is IntentStatus.CONFIRMING
    else:
        assert following is (IntentStatus.PENDING if status in LIVE else IntentStatus.EXPIRED)
    cancelled = intent._replace(status=IntentStatus.EXPIRED, cancelled_at=NOW, expired_at=NOW)
    assert next_status(cancelled, allocation) is IntentStatus.EXPIRED
    # What was paid in time after its end, and then found not to have been, has ended all the same.
    again = intent._replace(status=IntentStatus.CONFIRMING, expired_at=NOW)
    assert (next_status(again, allocation) is IntentStatus.EXPIRED) == (sum(sent) < 1000)


@pytest.mark.parametrize(("head", "expected"), [(99, 0), (100, 1), (101, 2), (104, 5), (0, 0)])
def test_a_block_counts_itself(head: int, expected: int) -> None:
    assert depth(100, head) == expected


@pytest.mark.parametrize(
    ("finality", "head", "finalized", "expected"),
    [
        (Finality.DEPTH, 104, None, True),
        (Finality.DEPTH, 103, 103, False),
        (Finality.FINALIZED, 100, 100, True),
        (Finality.FINALIZED, 100, 99, False),
        (Finality.FINALIZED, 500, None, False),
        (Finality.BOTH, 104, 100, True),
        (Finality.BOTH, 103, 100, False),
        (Finality.BOTH, 104, 99, False),
        (Finality.BOTH, 104, None, False),
    ],
)
def test_a_block_is_deep_as_the_chains_policy_says(
    finality: Finality, head: int, finalized: int | None, expected: bool
) -> None:
    assert is_sufficiently_confirmed(100, a_head(head, finalized=finalized), 5, finality) is expected


@steady
@given(
    block=st.integers(90, 110),
    head=st.integers(80, 120),
    more=st.integers(0, 10),
    finalized=st.none() | st.integers(80, 120),
    required=st.integers(1, 20),
    finality=st.sampled_from(list(Finality)),
)
def test_what_is_deep_stays_deep_under_a_higher_head(
    block: int, head: int, more: int, finalized: int | None, required: int, finality: Finality
) -> None:
    if is_sufficiently_confirmed(block, a_head(head, finalized=finalized), required, finality):
        later = a_head(head + more, finalized=None if finalized is None else finalized + more)
        assert is_sufficiently_confirmed(block, later, required, finality)


@steady
@given(
    numbers=blocks, head=st.integers(85, 120), finality=st.sampled_from(list(Finality)), finalized=st.integers(85, 120)
)
def test_an_intent_is_ready_exactly_when_it_is_paid_and_every_part_is_deep(
    numbers: list[int], head: int, finality: Finality, finalized: int
) -> None:
    held = [stored(number, amount=300, block_number=block) for number, block in enumerate(numbers)]
    intent = an_intent(amount=900)
    allocation = allocate(900, held)
    tip = a_head(head, finalized=finalized)

    due_for_verification = ready(intent, allocation, tip, finality)

    parts = sorted(held, key=lambda part: part.order)[:3]
    paid = len(held) >= 3
    deep = all(is_sufficiently_confirmed(part.block_number, tip, 5, finality) for part in parts)
    assert due_for_verification == (parts if paid and deep else [])


@pytest.mark.parametrize("status", list(IntentStatus))
@pytest.mark.parametrize("reason", [None, *Reason])
def test_whatever_could_be_sent_back_is_looked_at_again_once_it_is_deep(
    status: IntentStatus, reason: Reason | None
) -> None:
    counts = reason in {None, Reason.UNDERPAID, Reason.OVERPAID_SURPLUS}
    seen = stored(amount=1, reason=reason, counted=counts)
    intent = an_intent(status=status)

    def looked_at(head: int, **fields: object) -> bool:
        return due_for_verification(intent, [seen._replace(**fields)], a_head(head), Finality.DEPTH) != []

    assert looked_at(104) is (reason is None or reason in RETURNABLE)
    assert not looked_at(103)
    assert not looked_at(104, verified=True)
    # What was confirmed is looked at again when a head it was counted from turned out to be made up.
    assert looked_at(104, settled=True) is looked_at(104)
    assert not looked_at(104, settled=True, verified=True)


def test_a_whole_sum_is_looked_at_in_one_go_and_a_transfer_never_twice_in_it() -> None:
    one, two = stored(1, amount=600, verified=True), stored(2, amount=400)
    again = stored(3, amount=1000, reason=Reason.DUPLICATE, counted=False)
    intent = an_intent(status=IntentStatus.CONFIRMING)

    assert due_for_verification(intent, [one, two, again], a_head(104), Finality.DEPTH) == [one, two, again]
