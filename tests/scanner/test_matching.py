"""What transfers mean for an intent: properties that hold for any set of them."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.types import Rail
from scanner.matching import (
    GRACE_MS,
    LOOK_BACK_MS,
    Allocation,
    allocate,
    rejection_reason,
    select_intent,
    timing_reason,
)
from scanner.model import ALLOCATION_REASONS, Intent, IntentStatus, Reason, StoredTransfer
from tests.scanner.facts import (
    HOUR_MS,
    ISSUER,
    LATE_MS,
    MERCHANT,
    NOW,
    OTHER_TOKEN,
    STRANGER,
    TOKEN,
    a_hash,
    a_transfer,
    an_intent,
    steady,
    stored,
)

amounts = st.one_of(st.integers(1, 30), st.integers(2**64, 2**70))


@st.composite
def payments(draw: st.DrawFn, *, families: bool = True) -> list[StoredTransfer]:
    """Transfers of one intent: in few blocks, so that their order matters; some settled, some refused."""
    with_index = draw(st.booleans()) if families else True
    found = []
    for number in range(draw(st.integers(0, 8))):
        reason = draw(st.sampled_from([None, None, None, *Reason]))
        found.append(
            stored(
                number,
                tx_hash=a_hash("tx", number if with_index else draw(st.integers(0, 99))),
                event_key=str(number) if with_index else f"{draw(st.integers(0, 1))}",
                log_index=number if with_index else None,
                block_number=draw(st.integers(100, 102)),
                amount=draw(st.one_of(st.integers(1, 12), st.integers(2**64, 2**70))),
                fee_amount=draw(st.sampled_from([0, 5, 7, 9])),
                reason=reason,
                counted=reason is None,
                settled=reason in {None, *ALLOCATION_REASONS} and draw(st.booleans()),
            )
        )
    return list({transfer.key: transfer for transfer in found}.values())


def reported(allocation: Allocation) -> dict[tuple[str, str], Any]:
    return {share.transfer.key: (share.counted, share.reason, share.surplus) for share in allocation.shares}


def after(held: list[StoredTransfer], allocation: Allocation) -> list[StoredTransfer]:
    """The rows as they are once an allocation was written down."""
    shares = {share.transfer.key: share for share in allocation.shares}
    rows = []
    for transfer in held:
        share = shares.get(transfer.key)
        if share is None:
            rows.append(transfer)
        else:
            rows.append(transfer._replace(counted=share.counted, reason=share.reason, surplus=share.surplus))
    return rows


def eligible(transfer: StoredTransfer, fee: int = 0) -> bool:
    return (transfer.reason is None or transfer.reason in ALLOCATION_REASONS) and transfer.fee_amount >= fee


@steady
@given(held=payments(), amount=amounts, seed=st.integers(0, 2**16))
def test_an_allocation_depends_on_the_set_and_not_on_the_order(
    held: list[StoredTransfer], amount: int, seed: int
) -> None:
    shuffled = random.Random(seed).sample(held, len(held))

    assert reported(allocate(amount, shuffled)) == reported(allocate(amount, held))
    assert allocate(amount, shuffled).completing_transfer == allocate(amount, held).completing_transfer


@steady
@given(held=payments(), amount=amounts)
def test_allocating_what_was_allocated_changes_nothing(held: list[StoredTransfer], amount: int) -> None:
    once = allocate(amount, held)

    again = allocate(amount, after(held, once))

    assert reported(again) == reported(once)
    assert (again.received, again.surplus) == (once.received, once.surplus)


@steady
@given(held=payments(), amount=amounts)
def test_a_payment_is_complete_exactly_when_what_counts_reaches_the_amount(
    held: list[StoredTransfer], amount: int
) -> None:
    allocation = allocate(amount, held)

    total = sum(transfer.amount for transfer in held if eligible(transfer))
    assert (allocation.completing_transfer is not None) == (allocation.received >= amount) == (total >= amount)


@steady
@given(held=payments(), amount=amounts)
def test_no_transfer_counts_twice_and_what_is_received_is_what_counts(held: list[StoredTransfer], amount: int) -> None:
    allocation = allocate(amount, held)

    keys = [share.transfer.key for share in allocation.shares]
    assert sorted(keys) == sorted(transfer.key for transfer in held if eligible(transfer))
    assert allocation.received == sum(transfer.amount for transfer in allocation.counted)


@steady
@given(held=payments(), amount=amounts)
def test_no_more_counts_than_is_needed_and_the_rest_is_a_duplicate(held: list[StoredTransfer], amount: int) -> None:
    allocation = allocate(amount, held)

    if allocation.completing_transfer is None:
        assert {share.reason for share in allocation.shares} <= {Reason.UNDERPAID}
        assert all(share.counted for share in allocation.shares)
    else:
        assert allocation.received - allocation.completing_transfer.amount < amount
        assert allocation.counted[-1] == allocation.completing_transfer
        left = [share for share in allocation.shares if not share.counted]
        assert {share.reason for share in left} <= {Reason.DUPLICATE}


@steady
@given(held=payments(), amount=amounts)
def test_the_surplus_is_what_exceeds_the_amount_and_belongs_to_the_last_transfer(
    held: list[StoredTransfer], amount: int
) -> None:
    allocation = allocate(amount, held)

    over = max(0, allocation.received - amount)
    assert allocation.surplus == over
    bearers = [share for share in allocation.shares if share.surplus is not None]
    assert [share.transfer for share in bearers] == ([allocation.completing_transfer] if over else [])
    assert [share.reason for share in bearers] == ([Reason.OVERPAID_SURPLUS] if over else [])


@steady
@given(held=payments(), amount=amounts)
def test_what_settled_an_intent_counts_before_anything_else(held: list[StoredTransfer], amount: int) -> None:
    allocation = allocate(amount, held)

    settled = [transfer.settled for transfer in allocation.counted]
    assert settled == sorted(settled, reverse=True)
    if not all(settled):
        counted = {transfer.key for transfer in allocation.counted}
        assert all(t.key in counted for t in held if t.settled and eligible(t))


@steady
@given(held=payments(), amount=amounts)
def test_in_chain_order_the_earlier_transfer_counts_first(held: list[StoredTransfer], amount: int) -> None:
    fresh = [transfer._replace(settled=False) for transfer in held]

    allocation = allocate(amount, fresh)

    orders = [transfer.order for transfer in allocation.counted]
    assert orders == sorted(orders)
    left = [share.transfer.order for share in allocation.shares if not share.counted]
    assert all(order >= max(orders) for order in left)


@steady
@given(held=payments(), amount=amounts, fee=st.sampled_from([1, 5, 7, 9, 10]))
def test_a_transfer_with_too_small_a_fee_adds_nothing(held: list[StoredTransfer], amount: int, fee: int) -> None:
    allocation = allocate(amount, held, fee_amount=fee)

    assert all(share.transfer.fee_amount >= fee for share in allocation.shares)
    rest = [transfer for transfer in held if transfer.fee_amount >= fee]
    assert reported(allocation) == reported(allocate(amount, rest))


@steady
@given(held=payments(), amount=amounts)
def test_what_was_refused_for_itself_never_counts(held: list[StoredTransfer], amount: int) -> None:
    refused = {t.key for t in held if t.reason is not None and t.reason not in ALLOCATION_REASONS}

    assert not refused & reported(allocate(amount, held)).keys()


@pytest.mark.parametrize(
    ("sent", "made"),
    [
        ([999], [(True, Reason.UNDERPAID, None)]),
        ([1000], [(True, None, None)]),
        ([1001], [(True, Reason.OVERPAID_SURPLUS, 1)]),
        ([999, 2], [(True, None, None), (True, Reason.OVERPAID_SURPLUS, 1)]),
        ([1, 999, 1], [(True, None, None), (True, None, None), (False, Reason.DUPLICATE, None)]),
    ],
)
def test_one_unit_makes_the_difference(sent: list[int], made: list[tuple[bool, Reason | None, int | None]]) -> None:
    allocation = allocate(1000, [stored(number, amount=amount) for number, amount in enumerate(sent)])

    assert [(share.counted, share.reason, share.surplus) for share in allocation.shares] == made


def test_two_transfers_at_one_place_in_the_chain_are_told_apart_by_their_transactions() -> None:
    first = stored(1, tx_hash=a_hash("a"), event_key="0", log_index=None, amount=1000)
    second = stored(2, tx_hash=a_hash("b"), event_key="0", log_index=None, amount=1000)

    assert allocate(1000, [first, second]).completing_transfer == allocate(1000, [second, first]).completing_transfer


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"token": OTHER_TOKEN}, Reason.WRONG_TOKEN),
        ({"destination": STRANGER}, Reason.WRONG_DESTINATION),
        ({"amount": 0}, Reason.ZERO_AMOUNT),
        ({"amount": 1}, None),
        ({"token": OTHER_TOKEN, "destination": STRANGER, "amount": 0}, Reason.WRONG_TOKEN),
        ({"destination": STRANGER, "amount": 0}, Reason.WRONG_DESTINATION),
        ({"fee_amount": 1, "fee_address": ISSUER}, Reason.WRONG_DESTINATION),
        ({"fee_address": ISSUER}, None),
    ],
)
def test_a_transfer_is_judged_by_what_was_asked_for(fields: dict[str, Any], reason: Reason | None) -> None:
    intent = an_intent()

    assert rejection_reason(a_transfer(intent, **fields), intent, now=NOW, late_ms=LATE_MS) is reason


@pytest.mark.parametrize(
    ("fee", "to", "reason"),
    [
        (7, ISSUER, None),
        (6, ISSUER, Reason.UNDERPAID),
        (0, ISSUER, Reason.UNDERPAID),
        (8, ISSUER, Reason.WRONG_DESTINATION),
        (7, STRANGER, Reason.WRONG_DESTINATION),
        (6, STRANGER, Reason.UNDERPAID),
    ],
)
def test_a_fee_is_judged_by_what_was_issued(fee: int, to: str, reason: Reason | None) -> None:
    intent = an_intent(fee_amount=7, fee_address=ISSUER)

    transfer = a_transfer(intent, fee_amount=fee, fee_address=to)

    assert rejection_reason(transfer, intent, now=NOW, late_ms=LATE_MS) is reason


def test_nobodys_reference_is_unknown() -> None:
    assert rejection_reason(a_transfer(), None, now=NOW, late_ms=LATE_MS) is Reason.UNKNOWN_REFERENCE


@pytest.mark.parametrize(("ago", "reason"), [(LATE_MS, Reason.LATE), (LATE_MS + 1, Reason.UNKNOWN_REFERENCE)])
def test_an_expired_intent_is_remembered_for_the_late_hours(ago: int, reason: Reason) -> None:
    ended = NOW - ago
    intent = an_intent(status=IntentStatus.EXPIRED, created_at=ended, expires_at=ended, expired_at=ended)
    late = a_transfer(intent, block_time=(NOW - ago + GRACE_MS) // 1000 + 1)

    assert rejection_reason(late, intent, now=NOW, late_ms=LATE_MS) is reason


@pytest.mark.parametrize(
    ("fields", "block_ms", "reason"),
    [
        ({}, NOW, None),
        ({}, NOW - LOOK_BACK_MS, None),
        ({}, NOW - LOOK_BACK_MS - 1000, Reason.BEFORE_INTENT),
        ({}, NOW + 24 * HOUR_MS + GRACE_MS, None),
        ({}, NOW + 24 * HOUR_MS + GRACE_MS + 1000, Reason.LATE),
        ({"chain_created_at": NOW - HOUR_MS}, NOW - HOUR_MS, None),
        ({"status": IntentStatus.EXPIRED, "expired_at": NOW}, NOW + 24 * HOUR_MS + GRACE_MS, None),
        ({"status": IntentStatus.EXPIRED, "expired_at": NOW}, NOW + 24 * HOUR_MS + GRACE_MS + 1000, Reason.LATE),
        ({"expires_at": None}, NOW + 10_000 * HOUR_MS, None),
        ({"status": IntentStatus.CONFIRMED}, NOW - LOOK_BACK_MS - 1000, None),
        ({"status": IntentStatus.WEBHOOK_FAILED}, NOW + 100 * HOUR_MS, None),
        ({"status": IntentStatus.EXPIRED}, NOW, None),
        ({"status": IntentStatus.EXPIRED, "cancelled_at": NOW}, NOW, None),
        ({}, None, None),
    ],
)
def test_a_transfer_is_judged_by_when_it_happened(
    fields: dict[str, Any], block_ms: int | None, reason: Reason | None
) -> None:
    block_time = None if block_ms is None else block_ms // 1000

    assert timing_reason(block_time, an_intent(**fields)) is reason


@pytest.mark.parametrize("block_time", [None, NOW // 1000])
def test_what_came_in_time_counts_after_the_end_unless_the_backend_cancelled(block_time: int | None) -> None:
    intent = an_intent(status=IntentStatus.EXPIRED, expired_at=NOW)
    cancelled = intent._replace(cancelled_at=NOW)
    transfer = a_transfer(intent, block_time=block_time)

    assert rejection_reason(transfer, intent, now=NOW, late_ms=LATE_MS) is None
    assert rejection_reason(transfer, cancelled, now=NOW, late_ms=LATE_MS) is Reason.CANCELLED


MINUTE_MS = 60_000


@st.composite
def uses(draw: st.DrawFn) -> list[Intent]:
    """Direct intents that used one address one after the other for one token, newest first."""
    found: list[Intent] = []
    moment = NOW
    for number in range(draw(st.integers(1, 4))):
        created = moment + draw(st.integers(0, 30)) * MINUTE_MS
        ended = created + draw(st.integers(0, 60)) * MINUTE_MS
        fields: dict[str, Any] = draw(
            st.sampled_from(
                [
                    {"status": IntentStatus.CONFIRMED, "confirmed_at": ended},
                    {"status": IntentStatus.EXPIRED, "expired_at": ended},
                    {"status": IntentStatus.EXPIRED, "expired_at": ended, "cancelled_at": ended},
                ]
            )
        )
        found.append(an_intent(f"order-{number}", rail=Rail.DIRECT, created_at=created, **fields))
        moment = ended
    if draw(st.booleans()):
        found[-1] = found[-1]._replace(status=IntentStatus.PENDING, confirmed_at=None, expired_at=None)
    return found[::-1]


@steady
@given(used=uses(), minute=st.integers(-20, 400), late_minutes=st.sampled_from([0, 5, 30, 600]))
def test_a_plain_transfer_belongs_to_whoever_held_the_address_when_its_block_was_made(
    used: list[Intent], minute: int, late_minutes: int
) -> None:
    at = NOW + minute * MINUTE_MS
    transfer = a_transfer(None, reference=None, token=TOKEN, destination=MERCHANT, block_time=at // 1000)

    chosen = select_intent(transfer, used, late_ms=late_minutes * MINUTE_MS)

    before = [intent for intent in used if intent.chain_created_at <= at]
    holder = before[0] if before else used[-1]
    if chosen != holder:  # somebody paid shortly before the address was given out anew, and nobody else had it
        assert chosen is not None
        assert chosen.chain_created_at - LOOK_BACK_MS <= at < chosen.chain_created_at
        free_since = chosen.chain_created_at - max(LOOK_BACK_MS, late_minutes * MINUTE_MS)
        earlier = used[used.index(chosen) + 1 :]
        assert all(other.ended_at is not None and other.ended_at < free_since for other in earlier)


@pytest.mark.parametrize(
    ("ended_before", "minutes_before", "late_hours", "expected"),
    [
        (timedelta(hours=1), 3, 0, "new"),  # nobody else's for an hour, and no longer watched
        (timedelta(hours=1), 3, 168, "old"),  # late money of the earlier one
        (timedelta(minutes=9), 3, 0, "old"),  # it held the address within those ten minutes
        (timedelta(minutes=9), 30, 0, "old"),
        (timedelta(hours=1), 11, 0, "old"),  # further back than anybody pays ahead
        (timedelta(days=8), 3, 168, "new"),
    ],
)
def test_money_sent_shortly_before_an_intent_is_its_own_only_when_nobody_else_had_the_address(
    ended_before: timedelta, minutes_before: int, late_hours: int, expected: str
) -> None:
    ended = NOW - int(ended_before.total_seconds()) * 1000
    old = an_intent(
        "old", rail=Rail.DIRECT, created_at=ended - HOUR_MS, status=IntentStatus.CONFIRMED, confirmed_at=ended
    )
    new = an_intent("new", rail=Rail.DIRECT)
    sent = (NOW - minutes_before * MINUTE_MS) // 1000
    transfer = a_transfer(None, reference=None, token=TOKEN, destination=MERCHANT, block_time=sent)

    chosen = select_intent(transfer, [new, old], late_ms=late_hours * HOUR_MS)

    assert chosen is not None
    assert chosen.intent_id == expected


@pytest.mark.parametrize(("block", "expected"), [(100, "old"), (101, "new")])
def test_within_one_second_the_numbers_of_blocks_tell_what_was_sent_before(block: int, expected: str) -> None:
    old = an_intent(
        "old", rail=Rail.DIRECT, created_at=NOW - HOUR_MS, status=IntentStatus.CONFIRMED, confirmed_at=NOW - 1
    )
    new = an_intent("new", rail=Rail.DIRECT, chain_position=100)
    transfer = a_transfer(
        None, reference=None, token=TOKEN, destination=MERCHANT, block_time=NOW // 1000, block_number=block
    )

    chosen = select_intent(transfer, [new, old], late_ms=LATE_MS)

    assert chosen is not None
    assert chosen.intent_id == expected


def test_while_a_block_is_unread_a_transfer_is_taken_for_the_live_intents() -> None:
    old = an_intent("old", rail=Rail.DIRECT, status=IntentStatus.CONFIRMING, expired_at=NOW, created_at=NOW - 9)
    new = an_intent("new", rail=Rail.DIRECT, token_key=OTHER_TOKEN)
    transfer = a_transfer(None, reference=None, token=TOKEN, destination=MERCHANT)

    assert select_intent(transfer, [new, old], late_ms=LATE_MS) == old
    assert select_intent(transfer._replace(token=STRANGER), [new, old], late_ms=LATE_MS) == new
    assert select_intent(transfer, [], late_ms=LATE_MS) is None


@steady
@given(
    status=st.sampled_from(list(IntentStatus)),
    amount=st.integers(0, 2000),
    token=st.sampled_from([TOKEN, OTHER_TOKEN]),
    destination=st.sampled_from([MERCHANT, STRANGER]),
    fee=st.integers(0, 8),
)
def test_only_the_very_payment_that_was_asked_for_counts(
    status: IntentStatus, amount: int, token: str, destination: str, fee: int
) -> None:
    intent = an_intent(status=status, fee_amount=7, fee_address=ISSUER)
    transfer = a_transfer(
        intent, token=token, destination=destination, amount=amount, fee_amount=fee, fee_address=ISSUER
    )

    counts = rejection_reason(transfer, intent, now=NOW, late_ms=LATE_MS) is None

    asked = (token, destination, fee) == (TOKEN, MERCHANT, 7) and amount > 0
    assert counts == asked  # whatever has become of the intent: its time is judged by the block's
