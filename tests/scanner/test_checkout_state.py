"""What a buyer is told of a payment follows from its intent alone."""

from __future__ import annotations

import pytest

from protocol.words import PaymentState
from scanner.checkout.state import PAYABLE, Payment, state_of
from scanner.model import Intent, IntentStatus
from tests.scanner.facts import NOW, an_intent

S, Stored = PaymentState, IntentStatus
AMOUNT = an_intent().amount


@pytest.mark.parametrize(
    ("fields", "late", "state"),
    [
        ({}, False, S.WAITING),
        ({"amount_received": 1}, False, S.PARTIAL),
        ({"expires_at": NOW + 1}, False, S.WAITING),
        ({"expires_at": NOW}, False, S.TIME_UP),
        ({"expires_at": NOW, "amount_received": 1}, False, S.TIME_UP),
        ({"expires_at": None}, False, S.WAITING),
        ({"status": Stored.CONFIRMING}, False, S.SEEN),
        ({"status": Stored.CONFIRMING, "confirmations": 1}, False, S.CONFIRMING),
        ({"status": Stored.CONFIRMING, "confirmations": 1, "expires_at": NOW - 1}, False, S.CONFIRMING),
        ({"status": Stored.CONFIRMED, "amount_received": AMOUNT}, False, S.PAID),
        ({"status": Stored.WEBHOOK_FAILED, "amount_received": AMOUNT + 1}, False, S.PAID),
        ({"status": Stored.CONFIRMED, "amount_received": AMOUNT}, True, S.PAID),
        ({"status": Stored.CONFIRMED, "amount_received": AMOUNT - 1}, False, S.REORGED),
        ({"status": Stored.WEBHOOK_FAILED}, False, S.REORGED),
        ({"status": Stored.EXPIRED}, False, S.EXPIRED),
        ({"status": Stored.EXPIRED}, True, S.LATE),
        ({"status": Stored.EXPIRED, "cancelled_at": NOW}, False, S.CANCELLED),
        ({"status": Stored.EXPIRED, "cancelled_at": NOW}, True, S.CANCELLED),
    ],
)
def test_the_state(fields: dict[str, object], late: bool, state: PaymentState) -> None:
    intent: Intent = an_intent(**{"expires_at": NOW + 60_000, **fields})

    assert state_of(intent, came_late=late, now_ms=NOW) is state


def test_what_is_missing_and_what_is_too_much_are_never_negative() -> None:
    def payment(received: int) -> Payment:
        return Payment(an_intent(amount_received=received), S.WAITING)

    assert (payment(0).missing, payment(0).surplus) == (AMOUNT, 0)
    assert (payment(AMOUNT - 1).missing, payment(AMOUNT - 1).surplus) == (1, 0)
    assert (payment(AMOUNT + 7).missing, payment(AMOUNT + 7).surplus) == (0, 7)


def test_nobody_is_asked_to_pay_but_while_it_is_waited_for() -> None:
    assert {S.WAITING, S.PARTIAL} == PAYABLE


def test_a_replay_of_an_older_version_has_no_texts() -> None:
    assert Payment(an_intent(request="{}"), S.WAITING).texts == (None, None, None, None)
