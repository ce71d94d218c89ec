"""The marketplace's judge can say no: each way to break a promise is counted where it belongs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.facts import Movement, Verdict
from tests.chaos.judge import topic_of
from tests.chaos.market_facts import Credited, Line, MarketOutcome, Payout, Recovery, Shown
from tests.chaos.market_judge import judge_market
from tests.chaos.market_tales import Bought

USDT, USDC, ESCROW = "0xa1", "0xa2", "0xb1"
REFERENCE = "0x00000000000000ff"
PROXY = Bought("twice", "proxy", "by-proxy", 1000, USDT, ESCROW, REFERENCE, ended=False)
DIRECT = Bought("corrected", "direct", "direct", 500, USDT, "0xb2", None, ended=False)
BALANCE = Bought("over", "direct_balance", "balance", 300, USDT, "0xb3", None, ended=False)
LATE = Bought("cancelled", "direct", "late", 200, USDT, "0xb4", None, ended=True)
GIVEN_UP = Bought("given_up", "direct_balance", "given-up", 100, USDT, "0xb5", None, ended=False)


def moved(block: int, amount: int, to: str, *, token: str = USDT, topic: str | None = None) -> Movement:
    return Movement(block, 0, f"tx-{block}", token, to, amount, topic, amount)


BY_PROXY = moved(2, 1000, ESCROW, topic=topic_of(REFERENCE))
TWICE = moved(3, 1000, ESCROW, topic=topic_of(REFERENCE))
WRONG, RIGHT = moved(4, 500, "0xb2", token=USDC), moved(5, 500, "0xb2")
OVER = moved(6, 390, "0xb3")
TOO_LATE = moved(7, 200, "0xb4")
PART, REST = moved(8, 40, "0xb5"), moved(9, 60, "0xb5")


def lines(*told: tuple[str, str, int]) -> tuple[Line, ...]:
    return tuple(Line(number, entry, payment, USDT, amount) for number, (entry, payment, amount) in enumerate(told))


LEDGER = lines(
    ("payment_detected", "by-proxy", 1000),
    ("hold", "by-proxy", 1000),
    ("release", "by-proxy", 1000),
    ("payment_detected", "direct", 500),
    ("hold", "direct", 500),
    ("payment_detected", "balance", 390),
    ("hold", "balance", 300),
)
HONEST = MarketOutcome(
    bought=(PROXY, DIRECT, BALANCE, LATE, GIVEN_UP),
    movements=(BY_PROXY, TWICE, WRONG, RIGHT, OVER, TOO_LATE, PART, REST),
    sent=frozenset(f"tx-{block}" for block in range(2, 12)),
    gassed=frozenset({ESCROW}),
    balances={ESCROW: 1000, "0xb2": 500, "0xb3": 390, "0xb4": 200, "0xb5": 100},
    payments=(
        Shown("by-proxy", "completed", "released", 1000),
        Shown("direct", "completed", "funded", 500),
        Shown("balance", "completed", "funded", 300),
        Shown("late", "cancelled", "cancelled", 200),
        Shown("given-up", "cancelled", "cancelled", 100),
    ),
    ledger=LEDGER,
    earlier=((), LEDGER[:2], LEDGER[:5]),
    credits=(Credited("tx-2", "0", "by-proxy"), Credited("tx-5", "0", "direct")),
    recoveries=(
        Recovery("by-proxy", "duplicate", 1000, "tx-3"),
        Recovery("by-proxy", "duplicate", 1000, "tx-11"),  # it left the chain afterwards
        Recovery("by-proxy", "wrong_asset", 9, None),  # gas to pay out with
        Recovery("direct", "wrong_token", 500, "tx-4"),
        Recovery("late", "cancelled", 200, "tx-7"),
        Recovery("given-up", "partial_payment", 40, None),
        Recovery("given-up", "late_payment", 60, None),
    ),
    payouts=(Payout("by-proxy", 1000),),
    reconciliation={"ok": True, "checked": 5, "findings": []},
    unfinished=(),
)


def counts(verdict: Verdict) -> tuple[int, int, int, int]:
    return len(verdict.missed), len(verdict.doubled), len(verdict.invented), len(verdict.unexplained)


def test_an_honest_outcome_is_clean() -> None:
    assert judge_market(HONEST) == Verdict((), (), (), ())


def shown(payment_id: str, status: str, escrow: str | None) -> tuple[Shown, ...]:
    changed = {payment_id: {"status": status, "escrow": escrow}}
    return tuple(replace(each, **changed.get(each.payment_id, {})) for each in HONEST.payments)


def without(payment_id: str, entry: str) -> tuple[Line, ...]:
    return tuple(line for line in LEDGER if (line.payment_id, line.entry) != (payment_id, entry))


def instead(payment_id: str, entry: str, amount: int) -> tuple[Line, ...]:
    same = (payment_id, entry)
    return tuple(replace(x, amount=amount) if (x.payment_id, x.entry) == same else x for x in LEDGER)


NOT_PAID = {
    "movements": tuple(m for m in HONEST.movements if m is not RIGHT),
    "balances": {**HONEST.balances, "0xb2": 0},
}
DOCTORED: dict[str, tuple[MarketOutcome, tuple[int, int, int, int]]] = {
    "paid and not funded": (replace(HONEST, payments=shown("direct", "processing", None)), (1, 0, 0, 0)),
    "paid and unknown": (replace(HONEST, payments=HONEST.payments[1:]), (1, 0, 0, 0)),
    "funded and not detected": (
        replace(HONEST, ledger=without("direct", "payment_detected"), earlier=()),
        (1, 0, 0, 0),
    ),
    "funded and not held": (replace(HONEST, ledger=without("balance", "hold"), earlier=()), (1, 0, 0, 0)),
    "a story that did not end": (replace(HONEST, unfinished=("exact: confirm",)), (1, 0, 0, 0)),
    "held twice": (replace(HONEST, ledger=(*LEDGER, replace(LEDGER[4], number=99))), (0, 1, 0, 0)),
    "released twice": (
        replace(HONEST, ledger=(*LEDGER, replace(LEDGER[2], number=99))),
        (0, 1, 0, 0),
    ),
    "one transfer for two payments": (
        replace(HONEST, credits=(*HONEST.credits, Credited("tx-5", "0", "by-proxy"))),
        (0, 1, 1, 0),
    ),
    "paid out twice": (
        replace(HONEST, payouts=HONEST.payouts * 2, balances={**HONEST.balances, ESCROW: 0}),
        (0, 1, 0, 0),
    ),
    "listed twice": (replace(HONEST, recoveries=(*HONEST.recoveries, HONEST.recoveries[0])), (0, 1, 0, 0)),
    "funded and not paid": (replace(HONEST, **NOT_PAID), (0, 0, 3, 0)),
    "a late one funded": (
        replace(HONEST, payments=shown("late", "completed", "funded")),
        (0, 0, 1, 0),
    ),
    "a late one in the ledger": (
        replace(HONEST, ledger=(*LEDGER, Line(99, "hold", "late", USDT, 200))),
        (0, 0, 1, 0),
    ),
    "detected too much": (replace(HONEST, ledger=instead("direct", "payment_detected", 501), earlier=()), (0, 0, 1, 0)),
    "held too much": (replace(HONEST, ledger=instead("balance", "hold", 390), earlier=()), (0, 0, 1, 0)),
    "released too little": (replace(HONEST, ledger=instead("by-proxy", "release", 999), earlier=()), (0, 0, 1, 0)),
    "lines about nobody": (
        replace(HONEST, ledger=(*LEDGER, Line(99, "hold", "nobody", USDT, 1))),
        (0, 0, 1, 0),
    ),
    "a transfer that does not count was credited": (
        replace(HONEST, credits=(*HONEST.credits, Credited("tx-4", "0", "direct"))),
        (0, 0, 1, 0),
    ),
    "another price": (
        replace(HONEST, payments=(replace(HONEST.payments[0], amount=999), *HONEST.payments[1:])),
        (0, 0, 1, 0),
    ),
    "to be given back, and credited": (
        replace(HONEST, recoveries=(*HONEST.recoveries, Recovery("direct", "reorged", 500, "tx-5"))),
        (0, 0, 1, 0),
    ),
    "a duplicate that nobody lists": (replace(HONEST, recoveries=HONEST.recoveries[1:]), (0, 0, 0, 1)),
    "a wrong token that nobody lists": (
        replace(HONEST, recoveries=tuple(row for row in HONEST.recoveries if row.reason != "wrong_token")),
        (0, 0, 0, 1),
    ),
    "a rest that nobody lists": (replace(HONEST, recoveries=HONEST.recoveries[:-1]), (0, 0, 0, 1)),
    "a wrong reason": (
        replace(HONEST, recoveries=(replace(HONEST.recoveries[0], reason="late"), *HONEST.recoveries[1:])),
        (0, 0, 0, 1),
    ),
    "a wrong sum": (
        replace(HONEST, recoveries=(replace(HONEST.recoveries[0], amount=999), *HONEST.recoveries[1:])),
        (0, 0, 0, 1),
    ),
    "money that never was": (
        replace(HONEST, recoveries=(*HONEST.recoveries, Recovery("late", "late", 5, "tx-99"))),
        (0, 0, 0, 1),
    ),
    "coin that nobody sent": (
        replace(HONEST, recoveries=(*HONEST.recoveries, Recovery("late", "wrong_asset", 5, None))),
        (0, 0, 0, 1),
    ),
    "money about no payment": (
        replace(HONEST, recoveries=(*HONEST.recoveries, Recovery("nobody", "late", 5, "tx-99"))),
        (0, 0, 0, 1),
    ),
    "a line that was changed": (
        replace(HONEST, earlier=((replace(LEDGER[0], amount=1), LEDGER[1]),)),
        (0, 0, 0, 1),
    ),
    "a line that is gone": (replace(HONEST, earlier=((*LEDGER, LEDGER[0]),)), (0, 0, 0, 1)),
    "a reconciliation with findings": (
        replace(HONEST, reconciliation={"ok": False, "checked": 5, "findings": [{"kind": "double_hold"}]}),
        (0, 0, 0, 1),
    ),
    "money that went without an order": (
        replace(HONEST, balances={**HONEST.balances, "0xb4": 0}),
        (0, 0, 0, 1),
    ),
    "the books keep more than there is": (
        replace(HONEST, balances=dict.fromkeys(HONEST.balances, 0)),
        (0, 0, 0, 6),
    ),
    "an oddity": (replace(HONEST, oddities=("a second marketplace started",)), (0, 0, 0, 1)),
}


@pytest.mark.parametrize("case", DOCTORED)
def test_a_doctored_outcome_is_counted(case: str) -> None:
    outcome, expected = DOCTORED[case]
    verdict = judge_market(outcome)
    assert counts(verdict) == expected, verdict
    assert not verdict.clean


def test_payments_count_in_the_order_of_the_chain() -> None:
    parts = Bought("parts", "direct", "parts", 1000, USDT, "0xb9", None, ended=False)
    outcome = replace(
        HONEST,
        bought=(parts,),
        movements=(moved(9, 600, "0xb9"), moved(8, 400, "0xb9")),
        balances={"0xb9": 1000},
        payments=(Shown("parts", "completed", "funded", 1000),),
        ledger=lines(("payment_detected", "parts", 1000), ("hold", "parts", 1000)),
        earlier=(),
        credits=(Credited("tx-8", "0", "parts"), Credited("tx-9", "0", "parts")),
        recoveries=(),
        payouts=(),
    )
    assert judge_market(outcome).clean
