"""The judge can say no: each way to break a promise is counted where it belongs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.facts import Movement, Order, Outcome, Row, Told, Verdict
from tests.chaos.judge import CONFIRMED, judge, topic_of

USDT, USDC, SHOP, ALONE = "0xa1", "0xa2", "0xb1", "0xb2"
REFERENCE = "0x00000000000000ff"
BY_PROXY = Order("by-proxy", "proxy", USDT, SHOP, 1000, REFERENCE)
DIRECT = Order("direct", "direct", USDT, ALONE, 500, "0x0000000000000001")
UNPAID = Order("unpaid", "direct", USDT, "0xb3", 500, "0x0000000000000002")


def moved(block: int, amount: int, *, token: str = USDT, to: str = SHOP, topic: str | None = "") -> Movement:
    """Return a payment of `BY_PROXY` unless something else is said."""
    return Movement(block, 0, f"tx-{block}", token, to, amount, topic_of(REFERENCE) if topic == "" else topic, amount)


def told(order: Order, block: int, received: int, event_id: str = "") -> Told:
    return Told(event_id or f"of {order.intent_id}", order.intent_id, CONFIRMED, f"tx-{block}", received, True, True)


HONEST = Outcome(
    orders=(BY_PROXY, DIRECT, UNPAID),
    movements=(moved(1, 400), moved(2, 700), moved(3, 1000), moved(4, 500, to=ALONE, topic=None)),
    told=(told(BY_PROXY, 2, 1100), told(DIRECT, 4, 500)),
    statuses={"by-proxy": "confirmed", "direct": "confirmed", "unpaid": "pending"},
    rows=(
        Row("tx-2", "0", "by-proxy", "overpaid_surplus", 100),
        Row("tx-3", "0", "by-proxy", "duplicate", 1000),
        Row("tx-9", "0", "by-proxy", "reorged", 1000),
    ),
)


def counts(verdict: Verdict) -> tuple[int, int, int, int]:
    return len(verdict.missed), len(verdict.doubled), len(verdict.invented), len(verdict.unexplained)


def test_an_honest_outcome_is_clean() -> None:
    assert counts(judge(HONEST)) == (0, 0, 0, 0)
    assert judge(HONEST).clean


DOCTORED = {
    "paid and not confirmed": (replace(HONEST, statuses=HONEST.statuses | {"direct": "pending"}), (1, 0, 0, 0)),
    "confirmed and nobody told": (replace(HONEST, told=HONEST.told[:1]), (1, 0, 0, 0)),
    "told, and no answer ever taken": (
        replace(HONEST, told=(HONEST.told[0], replace(HONEST.told[1], acknowledged=False))),
        (1, 0, 0, 0),
    ),
    "given up": (replace(HONEST, statuses=HONEST.statuses | {"direct": "webhook_failed"}), (1, 0, 0, 0)),
    "told twice as two events": (replace(HONEST, told=(*HONEST.told, told(DIRECT, 4, 500, "again"))), (0, 1, 0, 0)),
    "listed twice": (replace(HONEST, rows=(*HONEST.rows, HONEST.rows[0])), (0, 1, 0, 0)),
    "confirmed without a payment": (
        replace(HONEST, statuses=HONEST.statuses | {"unpaid": "confirmed"}),
        (0, 0, 1, 0),
    ),
    "told without a payment": (replace(HONEST, told=(*HONEST.told, told(UNPAID, 4, 500))), (0, 0, 1, 0)),
    "told of another transaction": (replace(HONEST, told=(HONEST.told[0], told(DIRECT, 3, 500))), (0, 0, 1, 0)),
    "told another sum": (replace(HONEST, told=(HONEST.told[0], told(DIRECT, 4, 501))), (0, 0, 1, 0)),
    "not signed": (
        replace(HONEST, told=(HONEST.told[0], replace(HONEST.told[1], genuine=False))),
        (0, 0, 1, 0),
    ),
    "a transfer nobody lists": (replace(HONEST, rows=HONEST.rows[1:]), (0, 0, 0, 1)),
    "a wrong reason": (
        replace(HONEST, rows=(replace(HONEST.rows[0], reason="duplicate"), *HONEST.rows[1:])),
        (0, 0, 0, 2),
    ),
    "listed as gone and still there": (
        replace(HONEST, rows=(*HONEST.rows[:1], replace(HONEST.rows[1], reason="reorged"), HONEST.rows[2])),
        (0, 0, 0, 2),
    ),
    "a row about nothing": (replace(HONEST, rows=(*HONEST.rows, Row("tx-8", "0", None, "spam", 1))), (0, 0, 0, 1)),
    "an oddity": (replace(HONEST, oddities=("a second scanner started",)), (0, 0, 0, 1)),
    "a transfer that left the chain after it settled": (
        replace(HONEST, movements=HONEST.movements[:3]),
        (0, 0, 2, 0),
    ),
}


@pytest.mark.parametrize("case", DOCTORED)
def test_a_doctored_outcome_is_counted(case: str) -> None:
    outcome, expected = DOCTORED[case]
    assert counts(judge(outcome)) == expected
    assert not judge(outcome).clean


REFUSED = {
    "unknown_reference": (moved(5, 1000, topic=topic_of("0x0000000000000009")), None),
    "wrong_token": (moved(5, 1000, token=USDC), "by-proxy"),
    "wrong_destination": (moved(5, 1000, to="0xb9"), "by-proxy"),
    "zero_amount": (moved(5, 0), "by-proxy"),
    "underpaid": (moved(5, 999), "by-proxy"),
    "fee_on_transfer": (replace(moved(5, 1000), credited=990), "by-proxy"),
    "no_transfer_log": (replace(moved(5, 1000), credited=None), "by-proxy"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_settles_nothing_has_one_right_reason(reason: str) -> None:
    movement, owner = REFUSED[reason]
    row = Row(*movement.key, owner, reason, movement.amount)
    outcome = Outcome((BY_PROXY,), (movement,), (), {"by-proxy": "pending"}, (row,))
    assert judge(outcome).clean
    assert counts(judge(replace(outcome, rows=()))) == (0, 0, 0, 1)


@pytest.mark.parametrize("reason", ["late", "cancelled"])
def test_what_comes_after_the_end_settles_nothing(reason: str) -> None:
    ended = replace(BY_PROXY, ended=reason)
    row = Row("tx-5", "0", "by-proxy", reason, 1000)
    outcome = Outcome((ended,), (moved(5, 1000),), (), {"by-proxy": "expired"}, (row,))
    assert judge(outcome).clean
    assert counts(judge(replace(outcome, statuses={"by-proxy": "confirmed"}))) == (0, 0, 1, 0)


def test_payments_count_in_the_order_of_the_chain() -> None:
    swapped = (moved(7, 400), moved(6, 700))
    outcome = Outcome(
        (BY_PROXY,),
        swapped,
        (told(BY_PROXY, 7, 1100),),
        {"by-proxy": "confirmed"},
        (Row("tx-7", "0", "by-proxy", "overpaid_surplus", 100),),
    )
    assert judge(outcome).clean
