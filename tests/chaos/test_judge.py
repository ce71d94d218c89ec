"""The judge can say no: each way to break a promise is counted where it belongs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.facts import ChainTransfer, Coin, Order, Outcome, ReceivedWebhook, UnmatchedRow, Verdict
from tests.chaos.judge import CONFIRMED, judge, topic_of

USDT, USDC, SHOP, ALONE = "0xa1", "0xa2", "0xb1", "0xb2"
REFERENCE = "0x00000000000000ff"
BY_PROXY = Order("by-proxy", "proxy", USDT, SHOP, 1000, REFERENCE)
DIRECT = Order("direct", "direct", USDT, ALONE, 500, "0x0000000000000001")
UNPAID = Order("unpaid", "direct", USDT, "0xb3", 500, "0x0000000000000002")


def listed(tx: str | None, key: str, owner: str | None, reason: str, amount: int, **more: Any) -> UnmatchedRow:
    """Return a line about money of `BY_PROXY`'s token at its shop unless something else is said."""
    return replace(UnmatchedRow(tx, key, owner, reason, amount, USDT, SHOP), **more)


def moved(block: int, amount: int, *, token: str = USDT, to: str = SHOP, topic: str | None = "") -> ChainTransfer:
    """Return a payment of `BY_PROXY` unless something else is said."""
    return ChainTransfer(
        block, 0, f"tx-{block}", token, to, amount, topic_of(REFERENCE) if topic == "" else topic, amount
    )


def webhook(order: Order, block: int, received: int, event_id: str = "") -> ReceivedWebhook:
    return ReceivedWebhook(
        event_id or f"of {order.intent_id}", order.intent_id, CONFIRMED, f"tx-{block}", received, True, True
    )


HONEST = Outcome(
    orders=(BY_PROXY, DIRECT, UNPAID),
    transfers=(moved(1, 400), moved(2, 700), moved(3, 1000), moved(4, 500, to=ALONE, topic=None)),
    webhooks=(webhook(BY_PROXY, 2, 1100), webhook(DIRECT, 4, 500)),
    statuses={"by-proxy": "confirmed", "direct": "confirmed", "unpaid": "pending"},
    rows=(
        listed("tx-2", "0", "by-proxy", "overpaid_surplus", 100),
        listed("tx-3", "0", "by-proxy", "duplicate", 1000),
        listed("tx-9", "0", "by-proxy", "reorged", 1000),
    ),
)


def counts(verdict: Verdict) -> tuple[int, int, int, int]:
    return len(verdict.missed), len(verdict.doubled), len(verdict.invented), len(verdict.unexplained)


def test_an_honest_outcome_is_clean() -> None:
    assert counts(judge(HONEST)) == (0, 0, 0, 0)
    assert judge(HONEST).clean


DOCTORED = {
    "paid and not confirmed": (replace(HONEST, statuses=HONEST.statuses | {"direct": "pending"}), (1, 0, 0, 0)),
    "confirmed and never sent": (replace(HONEST, webhooks=HONEST.webhooks[:1]), (1, 0, 0, 0)),
    "sent, and never acknowledged": (
        replace(HONEST, webhooks=(HONEST.webhooks[0], replace(HONEST.webhooks[1], acknowledged=False))),
        (1, 0, 0, 0),
    ),
    "given up": (replace(HONEST, statuses=HONEST.statuses | {"direct": "webhook_failed"}), (1, 0, 0, 0)),
    "two events for one payment": (
        replace(HONEST, webhooks=(*HONEST.webhooks, webhook(DIRECT, 4, 500, "again"))),
        (0, 1, 0, 0),
    ),
    "listed twice": (replace(HONEST, rows=(*HONEST.rows, HONEST.rows[0])), (0, 1, 0, 1)),
    "confirmed without a payment": (
        replace(HONEST, statuses=HONEST.statuses | {"unpaid": "confirmed"}),
        (0, 0, 1, 0),
    ),
    "a webhook without a payment": (
        replace(HONEST, webhooks=(*HONEST.webhooks, webhook(UNPAID, 4, 500))),
        (0, 0, 1, 0),
    ),
    "another transaction in the webhook": (
        replace(HONEST, webhooks=(HONEST.webhooks[0], webhook(DIRECT, 3, 500))),
        (0, 0, 1, 0),
    ),
    "another sum in the webhook": (
        replace(HONEST, webhooks=(HONEST.webhooks[0], webhook(DIRECT, 4, 501))),
        (0, 0, 1, 0),
    ),
    "not signed": (
        replace(HONEST, webhooks=(HONEST.webhooks[0], replace(HONEST.webhooks[1], genuine=False))),
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
    "listed as reverted and still there": (
        replace(HONEST, rows=(*HONEST.rows[:1], replace(HONEST.rows[1], reason="reverted"), HONEST.rows[2])),
        (0, 0, 0, 2),
    ),
    "a row about nothing": (replace(HONEST, rows=(*HONEST.rows, listed("tx-8", "0", None, "spam", 1))), (0, 0, 0, 1)),
    "an oddity": (replace(HONEST, anomalies=("a second scanner started",)), (0, 0, 0, 1)),
    "a transfer that left the chain after it settled": (
        replace(HONEST, transfers=HONEST.transfers[:3]),
        (0, 0, 2, 0),
    ),
}


def test_what_nobody_can_judge_is_neither_missed_nor_listed_and_never_confirmed() -> None:
    orders = tuple(replace(order, unreadable=order is DIRECT) for order in HONEST.orders)
    waiting = replace(
        HONEST, orders=orders, webhooks=HONEST.webhooks[:1], statuses=HONEST.statuses | {"direct": "confirming"}
    )
    assert judge(waiting).clean
    confirmed = replace(waiting, statuses=HONEST.statuses, webhooks=HONEST.webhooks)
    assert counts(judge(confirmed)) == (0, 0, 2, 0)


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
    "reverted": (replace(moved(5, 1000), bounced=True), "by-proxy"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_settles_nothing_has_one_right_reason(reason: str) -> None:
    transfer, owner = REFUSED[reason]
    place = {"token": transfer.token, "destination": transfer.destination}
    row = listed(transfer.tx, "0", owner, reason, transfer.amount, **place)
    outcome = Outcome((BY_PROXY,), (transfer,), (), {"by-proxy": "pending"}, (row,))
    assert judge(outcome).clean
    assert counts(judge(replace(outcome, rows=()))) == (0, 0, 0, 1)


ENDED = {
    "late": (replace(BY_PROXY, expires_at=100), replace(moved(5, 1000), time=161)),
    "cancelled": (replace(BY_PROXY, cancelled=True), moved(5, 1000)),
}


@pytest.mark.parametrize("reason", ENDED)
def test_what_comes_after_the_end_settles_nothing(reason: str) -> None:
    ended, payment = ENDED[reason]
    row = listed("tx-5", "0", "by-proxy", reason, 1000)
    outcome = Outcome((ended,), (payment,), (), {"by-proxy": "expired"}, (row,))
    assert judge(outcome).clean
    assert counts(judge(replace(outcome, statuses={"by-proxy": "confirmed"}))) == (0, 0, 1, 0)


def test_what_came_within_a_minute_of_the_expiry_settles_whenever_it_was_seen() -> None:
    in_time = replace(moved(5, 1000), time=160)
    order = replace(BY_PROXY, expires_at=100)
    late = listed("tx-5", "0", "by-proxy", "late", 1000)
    confirmed = Outcome((order,), (in_time,), (webhook(order, 5, 1000),), {"by-proxy": "confirmed"}, ())
    assert judge(confirmed).clean
    assert counts(judge(replace(confirmed, webhooks=(), statuses={"by-proxy": "expired"}, rows=(late,)))) == (
        1,
        0,
        0,
        1,
    )


def test_money_belongs_to_whoever_held_the_address_when_it_came() -> None:
    later = replace(DIRECT, intent_id="later", since=50)
    first, second, third = (replace(moved(block, 500, to=ALONE, topic=None), time=block) for block in (10, 20, 50))
    outcome = Outcome(
        (DIRECT, later),
        (first, second, third),
        (webhook(DIRECT, 10, 500), webhook(later, 50, 500)),
        {"direct": "confirmed", "later": "confirmed"},
        (listed("tx-20", "0", "direct", "duplicate", 500, destination=ALONE),),
    )
    assert judge(outcome).clean
    assert counts(judge(replace(outcome, transfers=(first, second)))) == (0, 0, 2, 0)


@pytest.mark.parametrize("late_rows", [False, True])
def test_what_an_index_showed_late_is_a_duplicate_of_what_settled(late_rows: bool) -> None:
    first, second = moved(1, 1000), moved(2, 1000)
    outcome = Outcome(
        (BY_PROXY,),
        (first, second),
        (webhook(BY_PROXY, 2, 1000),),
        {"by-proxy": "confirmed"},
        (listed("tx-1", "0", "by-proxy", "duplicate", 1000),),
        late_rows=late_rows,
    )
    assert counts(judge(outcome)) == ((0, 0, 0, 0) if late_rows else (0, 0, 1, 1))
    for invented in (webhook(BY_PROXY, 3, 1000), webhook(BY_PROXY, 2, 900)):
        assert counts(judge(replace(outcome, webhooks=(invented,)))) == (0, 0, 1, 1)
    assert counts(judge(replace(outcome, rows=()))) == (0, 0, 0 if late_rows else 1, 1)


SPAM = tuple(replace(moved(block, 3, token=USDC), tx=f"spam-{block}") for block in range(5, 45))


def test_many_lines_may_be_merged_when_they_add_up() -> None:
    merged = listed("spam-5", "0", "by-proxy", "wrong_token", 120, token=USDC, count=40)
    outcome = Outcome((BY_PROXY,), SPAM, (), {"by-proxy": "pending"}, (merged,))
    assert judge(outcome).clean
    assert counts(judge(replace(outcome, rows=(replace(merged, count=39),)))) == (0, 0, 0, 1)
    assert counts(judge(replace(outcome, rows=(replace(merged, amount=117),)))) == (0, 0, 0, 1)


def test_payments_count_in_the_order_of_the_chain() -> None:
    swapped = (moved(7, 400), moved(6, 700))
    outcome = Outcome(
        (BY_PROXY,),
        swapped,
        (webhook(BY_PROXY, 7, 1100),),
        {"by-proxy": "confirmed"},
        (listed("tx-7", "0", "by-proxy", "overpaid_surplus", 100),),
    )
    assert judge(outcome).clean


def test_within_a_block_they_count_in_the_order_of_the_transactions_hashes() -> None:
    small, large = replace(moved(7, 100), tx="tx-b", log_index=0), replace(moved(7, 1000), tx="tx-a", log_index=5)
    outcome = Outcome(
        (BY_PROXY,),
        (small, large),
        (replace(webhook(BY_PROXY, 7, 1000), tx="tx-a"),),
        {"by-proxy": "confirmed"},
        (listed("tx-b", "0", "by-proxy", "duplicate", 100),),
    )
    assert judge(outcome).clean


def test_what_only_a_log_of_a_failed_transaction_reported_may_be_listed_as_reverted() -> None:
    row = listed("tx-8", "0", "by-proxy", "reverted", 1000)
    assert judge(replace(HONEST, rows=(*HONEST.rows, row))).clean
    assert not judge(replace(HONEST, rows=(*HONEST.rows, replace(row, reason="duplicate")))).clean


def test_payments_of_one_block_count_by_transaction_whatever_their_logs_are_numbered() -> None:
    dust, whole = replace(moved(5, 1), tx="b", log_index=1), replace(moved(5, 1000), tx="a", log_index=9)
    outcome = Outcome(
        (BY_PROXY,),
        (dust, whole),
        (replace(webhook(BY_PROXY, 5, 1000), tx="a"),),
        {"by-proxy": "confirmed"},
        (listed("b", "0", "by-proxy", "duplicate", 1),),
    )
    assert judge(outcome).clean


def test_what_was_sent_back_settles_nothing() -> None:
    bounced = replace(moved(5, 1000), bounced=True)
    outcome = Outcome((BY_PROXY,), (bounced,), (webhook(BY_PROXY, 5, 1000),), {"by-proxy": "confirmed"}, ())
    assert counts(judge(outcome)) == (0, 0, 2, 1)


# --- several payments in one transaction ---------------------------------------------------------

BESIDE = replace(BY_PROXY, intent_id="beside", reference="0x0000000000000077")
FIRST = replace(moved(5, 1000), log_index=1)
SECOND = replace(moved(5, 1000, topic=topic_of(BESIDE.reference)), log_index=3)
TOGETHER = Outcome(
    orders=(BY_PROXY, BESIDE),
    transfers=(FIRST, SECOND),
    webhooks=(webhook(BY_PROXY, 5, 1000), webhook(BESIDE, 5, 1000)),
    statuses={"by-proxy": "confirmed", "beside": "confirmed"},
    rows=(),
)


def test_two_orders_may_be_paid_by_one_transaction() -> None:
    assert judge(TOGETHER).clean


def test_of_two_orders_in_one_transaction_each_is_reported() -> None:
    assert counts(judge(replace(TOGETHER, webhooks=TOGETHER.webhooks[:1]))) == (1, 0, 0, 0)


def test_one_transfer_pays_one_order_of_the_two() -> None:
    assert counts(judge(replace(TOGETHER, transfers=(FIRST,)))) == (0, 0, 2, 0)


def test_two_transfers_of_one_transaction_are_two_rows() -> None:
    twice = Outcome(
        (BY_PROXY,),
        (FIRST, replace(FIRST, log_index=3)),
        (webhook(BY_PROXY, 5, 1000),),
        {"by-proxy": "confirmed"},
        (listed("tx-5", "3", "by-proxy", "duplicate", 1000),),
    )
    assert judge(twice).clean
    assert counts(judge(replace(twice, rows=()))) == (0, 0, 0, 1)
    of_another = replace(twice, rows=(replace(twice.rows[0], tx="tx-6"),))
    assert counts(judge(of_another)) == (0, 0, 0, 1)


# --- the chain's own coin ------------------------------------------------------------------------


def noticed(position: int, amount: int, **other: str) -> UnmatchedRow:
    row = UnmatchedRow(None, f"{ALONE}@{position}", "direct", "wrong_asset", amount, "native", ALONE, position)
    return replace(row, **other)


SENT_COIN = replace(
    HONEST,
    coins=(Coin(10, ALONE, 7), Coin(20, ALONE, 5)),
    rows=(*HONEST.rows, noticed(12, 7), noticed(20, 5)),
)
IN_COIN = {
    "nobody noticed": ((), 1),
    "one of two noticed": ((noticed(12, 7),), 1),
    "another amount": ((noticed(12, 7), noticed(20, 4)), 2),
    "more than came": ((noticed(12, 7), noticed(20, 5), noticed(30, 5)), 2),
    "noticed before it came": ((noticed(9, 7), noticed(20, 5)), 1),
    "noticed at a wrong moment": ((noticed(12, 5), noticed(20, 7)), 1),
    "a row about nothing": ((noticed(12, 7), noticed(20, 5), noticed(30, 0)), 1),
    "another intent": ((noticed(12, 7, intent_id="unpaid"), noticed(20, 5)), 1),
    "another reason": ((noticed(12, 7, reason="wrong_token"), noticed(20, 5)), 1),
    "somebody else's": ((noticed(12, 7), noticed(20, 5), noticed(30, 5, destination=SHOP)), 1),
}


def test_coin_is_noticed_as_a_rise_however_many_arrivals_it_holds() -> None:
    assert judge(SENT_COIN).clean
    assert judge(replace(SENT_COIN, rows=(*HONEST.rows, noticed(25, 12)))).clean


@pytest.mark.parametrize("case", IN_COIN)
def test_coin_that_is_not_noticed_as_it_came_is_counted(case: str) -> None:
    rows, unexplained = IN_COIN[case]
    verdict = judge(replace(SENT_COIN, rows=(*HONEST.rows, *rows)))
    assert counts(verdict) == (0, 0, 0, unexplained)


def test_coin_listed_twice_is_doubled() -> None:
    twice = replace(SENT_COIN, rows=(*SENT_COIN.rows, noticed(20, 5)))
    assert counts(judge(twice))[1] == 1


def test_coin_settles_nothing() -> None:
    paid_in_coin = Outcome(
        (UNPAID,),
        (),
        (),
        {"unpaid": "confirmed"},
        (UnmatchedRow(None, "a coin", "unpaid", "wrong_asset", 500, "native", UNPAID.destination, 5),),
        coins=(Coin(5, UNPAID.destination, 500),),
    )
    assert counts(judge(paid_in_coin)) == (0, 0, 1, 0)
