"""The marketplace's judge can say no: each way to break a promise is counted where it belongs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.facts import ChainTransfer, Coin, UnmatchedRow, Verdict
from tests.chaos.judge import topic_of
from tests.chaos.market_facts import (
    CreditedRow,
    LedgerLine,
    MarketOutcome,
    MessageCount,
    OpenedPayment,
    Payout,
    RecoveryRow,
    ShownPayment,
)
from tests.chaos.market_judge import judge_market

USDT, USDC, ESCROW = "0xa1", "0xa2", "0xb1"
REFERENCE = "0x00000000000000ff"
PROXY = OpenedPayment("twice", "proxy", "by-proxy", 1000, USDT, ESCROW, REFERENCE, ended=False)
DIRECT = OpenedPayment("corrected", "direct", "direct", 500, USDT, "0xb2", None, ended=False)
BALANCE = OpenedPayment("over", "direct_balance", "balance", 300, USDT, "0xb3", None, ended=False)
LATE = OpenedPayment("cancelled", "direct", "late", 200, USDT, "0xb4", None, ended=True)
GIVEN_UP = OpenedPayment("given_up", "direct_balance", "given-up", 100, USDT, "0xb5", None, ended=False)


def moved(block: int, amount: int, to: str, *, token: str = USDT, topic: str | None = None) -> ChainTransfer:
    return ChainTransfer(block, 0, f"tx-{block}", token, to, amount, topic, amount)


BY_PROXY = moved(2, 1000, ESCROW, topic=topic_of(REFERENCE))
TWICE = moved(3, 1000, ESCROW, topic=topic_of(REFERENCE))
WRONG, RIGHT = moved(4, 500, "0xb2", token=USDC), moved(5, 500, "0xb2")
OVER = moved(6, 390, "0xb3")
TOO_LATE = moved(7, 200, "0xb4")
PART, REST = moved(8, 40, "0xb5"), moved(9, 60, "0xb5")


def lines(*told: tuple[str, str, int]) -> tuple[LedgerLine, ...]:
    return tuple(
        LedgerLine(number, entry, payment, USDT, amount) for number, (entry, payment, amount) in enumerate(told)
    )


def unmatched(
    tx: str | None, payment: str | None, reason: str, amount: int, to: str, *, token: str = USDT, count: int = 1
) -> UnmatchedRow:
    return UnmatchedRow(tx, f"key of {tx}", payment, reason, amount, token, to, count=count)


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
    opened=(PROXY, DIRECT, BALANCE, LATE, GIVEN_UP),
    transfers=(BY_PROXY, TWICE, WRONG, RIGHT, OVER, TOO_LATE, PART, REST),
    sent=frozenset(f"tx-{block}" for block in range(2, 12)),
    gassed=frozenset({ESCROW}),
    balances={ESCROW: 1000, "0xb2": 500, "0xb3": 390, "0xb4": 200, "0xb5": 100},
    payments=(
        ShownPayment("by-proxy", "completed", "released", 1000),
        ShownPayment("direct", "completed", "funded", 500),
        ShownPayment("balance", "completed", "funded", 300),
        ShownPayment("late", "cancelled", "cancelled", 200),
        ShownPayment("given-up", "cancelled", "cancelled", 100),
    ),
    ledger=LEDGER,
    earlier=((), LEDGER[:2], LEDGER[:5]),
    credits=(CreditedRow("tx-2", "0", "by-proxy"), CreditedRow("tx-5", "0", "direct")),
    recoveries=(
        RecoveryRow("by-proxy", "duplicate", 1000, "tx-3"),
        RecoveryRow("by-proxy", "duplicate", 1000, "tx-11"),  # it left the chain afterwards
        RecoveryRow("by-proxy", "wrong_asset", 9, None),  # gas to pay out with
        RecoveryRow("direct", "wrong_token", 500, "tx-4"),
        RecoveryRow("late", "cancelled", 200, "tx-7"),
        RecoveryRow("given-up", "partial_payment", 40, None),
        RecoveryRow("given-up", "late_payment", 60, None),
    ),
    payouts=(Payout("by-proxy", 1000),),
    unmatched=(
        unmatched("tx-3", "by-proxy", "duplicate", 1000, ESCROW),
        unmatched("tx-4", "direct", "wrong_token", 500, "0xb2", token=USDC),
    ),
    coins=(),
    listed=frozenset(),
    notices=(
        MessageCount("buyer", "payment_confirmed", "direct", 1),
        MessageCount("admin", "payment_recovery", "by-proxy", 2),
    ),
    events=(MessageCount("the marketplace", "payment.anomaly duplicate", "by-proxy", 1),),
    hours=1,
    reconciliation={"ok": True, "checked": 5, "findings": []},
    unfinished=(),
)


def counts(verdict: Verdict) -> tuple[int, int, int, int]:
    return len(verdict.missed), len(verdict.doubled), len(verdict.invented), len(verdict.unexplained)


def test_an_honest_outcome_is_clean() -> None:
    assert judge_market(HONEST) == Verdict((), (), (), ())


def shown(payment_id: str, status: str, escrow: str | None) -> tuple[ShownPayment, ...]:
    changed = {payment_id: {"status": status, "escrow": escrow}}
    return tuple(replace(each, **changed.get(each.payment_id, {})) for each in HONEST.payments)


def without(payment_id: str, entry: str) -> tuple[LedgerLine, ...]:
    return tuple(line for line in LEDGER if (line.payment_id, line.entry) != (payment_id, entry))


def instead(payment_id: str, entry: str, amount: int) -> tuple[LedgerLine, ...]:
    same = (payment_id, entry)
    return tuple(replace(x, amount=amount) if (x.payment_id, x.entry) == same else x for x in LEDGER)


NOT_PAID = {
    "transfers": tuple(m for m in HONEST.transfers if m is not RIGHT),
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
        replace(HONEST, credits=(*HONEST.credits, CreditedRow("tx-5", "0", "by-proxy"))),
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
        replace(HONEST, ledger=(*LEDGER, LedgerLine(99, "hold", "late", USDT, 200))),
        (0, 0, 1, 0),
    ),
    "detected too much": (replace(HONEST, ledger=instead("direct", "payment_detected", 501), earlier=()), (0, 0, 1, 0)),
    "held too much": (replace(HONEST, ledger=instead("balance", "hold", 390), earlier=()), (0, 0, 1, 0)),
    "released too little": (replace(HONEST, ledger=instead("by-proxy", "release", 999), earlier=()), (0, 0, 1, 0)),
    "lines about nobody": (
        replace(HONEST, ledger=(*LEDGER, LedgerLine(99, "hold", "nobody", USDT, 1))),
        (0, 0, 1, 0),
    ),
    "a transfer that does not count was credited": (
        replace(HONEST, credits=(*HONEST.credits, CreditedRow("tx-4", "0", "direct"))),
        (0, 0, 1, 0),
    ),
    "another price": (
        replace(HONEST, payments=(replace(HONEST.payments[0], amount=999), *HONEST.payments[1:])),
        (0, 0, 1, 0),
    ),
    "to be given back, and credited": (
        replace(HONEST, recoveries=(*HONEST.recoveries, RecoveryRow("direct", "reorged", 500, "tx-5"))),
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
        replace(HONEST, recoveries=(*HONEST.recoveries, RecoveryRow("late", "late", 5, "tx-99"))),
        (0, 0, 0, 1),
    ),
    "coin that nobody sent": (
        replace(HONEST, recoveries=(*HONEST.recoveries, RecoveryRow("late", "wrong_asset", 5, None))),
        (0, 0, 0, 1),
    ),
    "money about no payment": (
        replace(HONEST, recoveries=(*HONEST.recoveries, RecoveryRow("nobody", "late", 5, "tx-99"))),
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
    "an oddity": (replace(HONEST, anomalies=("a second marketplace started",)), (0, 0, 0, 1)),
}


@pytest.mark.parametrize("case", DOCTORED)
def test_a_doctored_outcome_is_counted(case: str) -> None:
    outcome, expected = DOCTORED[case]
    verdict = judge_market(outcome)
    assert counts(verdict) == expected, verdict
    assert not verdict.clean


def test_payments_count_in_the_order_of_the_chain() -> None:
    parts = OpenedPayment("parts", "direct", "parts", 1000, USDT, "0xb9", None, ended=False)
    outcome = replace(
        HONEST,
        opened=(parts,),
        transfers=(moved(9, 600, "0xb9"), moved(8, 400, "0xb9")),
        balances={"0xb9": 1000},
        payments=(ShownPayment("parts", "completed", "funded", 1000),),
        ledger=lines(("payment_detected", "parts", 1000), ("hold", "parts", 1000)),
        earlier=(),
        credits=(CreditedRow("tx-8", "0", "parts"), CreditedRow("tx-9", "0", "parts")),
        recoveries=(),
        payouts=(),
        unmatched=(),
    )
    assert judge_market(outcome).clean


# --- strangers -----------------------------------------------------------------------------------

SANCTIONED, CONTRACT = "0xc1", "0xc2"
DUSTED = OpenedPayment("dusted", "proxy", "dusted", 1000, USDT, ESCROW, REFERENCE, ended=False)
SPAMMED = OpenedPayment("spammed", "direct", "spammed", 500, USDT, "0xd2", None, ended=False)
ZEROES = OpenedPayment("zeroes", "direct", "zeroes", 300, USDT, "0xd3", None, ended=False)
SCREENED = OpenedPayment("listed", "direct", "screened", 200, USDT, "0xd4", None, ended=False, screened=True)
AFTERWARDS = OpenedPayment("afterwards", "direct", "afterwards", 100, USDT, "0xd5", None, ended=False)
COIN = OpenedPayment("coin", "direct", "coin", 50, USDT, "0xd6", None, ended=False)


def pay_many_fresh(
    block: int, amount: int, to: str, *, token: str = USDT, topic: str | None = None
) -> tuple[ChainTransfer, ...]:
    one = replace(moved(block, amount, to, token=token, topic=topic), sender=CONTRACT)
    return tuple(replace(one, log_index=index) for index in range(40))


CRUMBS = pay_many_fresh(2, 1, ESCROW, topic=topic_of(REFERENCE))
FROM_THE_LIST = replace(moved(8, 9, "0xd4"), sender=SANCTIONED)
PAID = (
    ("dusted", 3, 1000, 1040),
    ("spammed", 5, 500, 500),
    ("zeroes", 7, 300, 300),
    ("screened", 9, 200, 200),
    ("afterwards", 10, 100, 100),
    ("coin", 12, 50, 50),
)
LATER = [RecoveryRow("afterwards", "duplicate", 1, "tx-11", token=USDT)] * 20
VISITED = replace(
    HONEST,
    opened=(DUSTED, SPAMMED, ZEROES, SCREENED, AFTERWARDS, COIN),
    transfers=(
        *CRUMBS,
        moved(3, 1000, ESCROW, topic=topic_of(REFERENCE)),
        *pay_many_fresh(4, 1, "0xd2", token=USDC),
        moved(5, 500, "0xd2"),
        *pay_many_fresh(6, 0, "0xd3"),
        moved(7, 300, "0xd3"),
        FROM_THE_LIST,
        moved(9, 200, "0xd4"),
        moved(10, 100, "0xd5"),
        *pay_many_fresh(11, 1, "0xd5"),
        moved(12, 50, "0xd6"),
        *pay_many_fresh(13, 2, ESCROW),
    ),
    sent=frozenset(f"tx-{block}" for block in range(2, 14)),
    gassed=frozenset(),
    balances={ESCROW: 1120, "0xd2": 500, "0xd3": 300, "0xd4": 209, "0xd5": 140, "0xd6": 50},
    payments=tuple(ShownPayment(payment, "completed", "funded", price) for payment, _, price, _ in PAID),
    ledger=lines(
        *(("payment_detected", payment, received) for payment, _, _, received in PAID),
        *(("hold", payment, price) for payment, _, price, _ in PAID),
    ),
    earlier=(),
    credits=(
        CreditedRow("tx-2", "0", "dusted"),
        *(CreditedRow(f"tx-{tx}", "0", payment) for payment, tx, _, _ in PAID),
    ),
    recoveries=(
        RecoveryRow("spammed", "wrong_token", 40, "tx-4", count=40, token=USDC),
        RecoveryRow("zeroes", "zero_amount", 0, "tx-6", count=40, token=USDT),
        RecoveryRow("screened", "aml_sanctions", 9, "tx-8", token=USDT),
        *LATER,
        RecoveryRow("afterwards", "duplicate", 20, "tx-11", count=20, token=USDT),
        RecoveryRow("coin", "wrong_asset", 7, None, token="native"),
    ),
    payouts=(),
    unmatched=(
        unmatched("tx-3", "dusted", "overpaid_surplus", 40, ESCROW),
        unmatched("tx-4", "spammed", "wrong_token", 40, "0xd2", token=USDC, count=40),
        unmatched("tx-6", "zeroes", "zero_amount", 0, "0xd3", count=40),
        unmatched("tx-9", "screened", "overpaid_surplus", 9, "0xd4"),
        *[unmatched("tx-11", "afterwards", "duplicate", 1, "0xd5")] * 20,
        unmatched("tx-11", "afterwards", "duplicate", 20, "0xd5", count=20),
        unmatched("tx-13", None, "unknown_reference", 80, ESCROW, count=40),
        unmatched(None, "coin", "wrong_asset", 7, "0xd6", token="native"),
    ),
    coins=(Coin(4, "0xd6", 7),),
    listed=frozenset({SANCTIONED}),
    notices=(MessageCount("admin", "payment_recovery", "afterwards", 2),),
    events=(MessageCount("the marketplace", "payment.anomaly duplicate", "afterwards", 21),),
)


def test_an_honest_outcome_among_strangers_is_clean() -> None:
    assert judge_market(VISITED) == Verdict((), (), (), ())


def of(payment_id: str, **changed: Any) -> tuple[ShownPayment, ...]:
    return tuple(replace(each, **changed) if each.payment_id == payment_id else each for each in VISITED.payments)


def no_lines_of(payment_id: str) -> tuple[LedgerLine, ...]:
    return tuple(line for line in VISITED.ledger if line.payment_id != payment_id)


def recoveries(payment_id: str, *rows: RecoveryRow) -> tuple[RecoveryRow, ...]:
    return (*(row for row in VISITED.recoveries if row.payment_id != payment_id), *rows)


def listed_by_the_scanner(at: int, **changed: Any) -> tuple[UnmatchedRow, ...]:
    rows = list(VISITED.unmatched)
    rows[at : at + 1] = [replace(rows[at], **changed)] if changed else []
    return tuple(rows)


def detected(payment_id: str, amount: int) -> tuple[LedgerLine, ...]:
    same = (payment_id, "payment_detected")
    return tuple(replace(x, amount=amount) if (x.payment_id, x.entry) == same else x for x in VISITED.ledger)


BY_STRANGERS: dict[str, tuple[MarketOutcome, tuple[int, int, int, int]]] = {
    "an honest payment that dust froze": (
        replace(
            VISITED,
            payments=of("screened", status="processing", escrow=None),
            ledger=no_lines_of("screened"),
            recoveries=recoveries("screened"),
        ),
        (3, 0, 0, 1),
    ),
    "dust from the list that was credited": (
        replace(
            VISITED,
            ledger=detected("screened", 209),
            credits=(*VISITED.credits, CreditedRow("tx-8", "0", "screened")),
            recoveries=recoveries("screened"),
        ),
        (0, 0, 2, 1),
    ),
    "a listed sender who paid, and was funded": (
        replace(
            VISITED,
            transfers=tuple(replace(m, sender=SANCTIONED) if m.tx == "tx-9" else m for m in VISITED.transfers),
            recoveries=recoveries("screened"),
            unmatched=VISITED.unmatched,
        ),
        (0, 0, 3, 1),
    ),
    "dust that were counted twice": (replace(VISITED, ledger=detected("dusted", 1080)), (0, 0, 1, 0)),
    "dust that were not counted": (replace(VISITED, ledger=detected("dusted", 1000)), (0, 0, 1, 0)),
    "dust that the marketplace does not list": (
        replace(VISITED, recoveries=recoveries("afterwards", *LATER)),
        (0, 0, 0, 1),
    ),
    "dust that it counts wrong": (
        replace(
            VISITED,
            recoveries=recoveries(
                "afterwards", *LATER, RecoveryRow("afterwards", "duplicate", 20, "tx-11", count=19, token=USDT)
            ),
        ),
        (0, 0, 0, 1),
    ),
    "dust that it adds up wrong": (
        replace(
            VISITED,
            recoveries=recoveries(
                "afterwards", *LATER, RecoveryRow("afterwards", "duplicate", 19, "tx-11", count=20, token=USDT)
            ),
        ),
        (0, 0, 0, 1),
    ),
    "transfers of nothing that it counts wrong": (
        replace(VISITED, recoveries=recoveries("zeroes", RecoveryRow("zeroes", "zero_amount", 0, "tx-6", count=39))),
        (0, 0, 0, 1),
    ),
    "another token of which it lists one": (
        replace(
            VISITED, recoveries=recoveries("spammed", RecoveryRow("spammed", "wrong_token", 1, "tx-4", token=USDC))
        ),
        (0, 0, 0, 1),
    ),
    "another token under the name of ours": (
        replace(
            VISITED,
            transfers=tuple(m for m in VISITED.transfers if m.tx != "tx-4" or m.log_index == 0),
            unmatched=listed_by_the_scanner(1, amount=1, count=1),
            recoveries=recoveries("spammed", RecoveryRow("spammed", "wrong_token", 1, "tx-4", token=USDT)),
        ),
        (0, 0, 0, 1),
    ),
    "coin that nobody noticed": (replace(VISITED, recoveries=recoveries("coin")), (0, 0, 0, 1)),
    "more coin than came": (
        replace(VISITED, recoveries=(*VISITED.recoveries, RecoveryRow("coin", "wrong_asset", 1, None))),
        (0, 0, 0, 1),
    ),
    "dust at the shop that the scanner does not list": (
        replace(VISITED, unmatched=listed_by_the_scanner(-2)),
        (0, 0, 0, 1),
    ),
    "dust at the shop that it counts wrong": (
        replace(VISITED, unmatched=listed_by_the_scanner(-2, count=39)),
        (0, 0, 0, 1),
    ),
    "dust at the shop that it adds up wrong": (
        replace(VISITED, unmatched=listed_by_the_scanner(-2, amount=79)),
        (0, 0, 0, 1),
    ),
    "dust that it gives another reason": (
        replace(VISITED, unmatched=listed_by_the_scanner(-3, reason="underpaid")),
        (0, 0, 0, 2),
    ),
    "a person who is told of every dust transfer": (
        replace(VISITED, notices=(MessageCount("admin", "payment_recovery", "afterwards", 3),)),
        (0, 0, 0, 1),
    ),
    "a marketplace that is told of every dust transfer": (
        replace(VISITED, events=(MessageCount("the marketplace", "payment.detected None", "dusted", 22),)),
        (0, 0, 0, 1),
    ),
    "a row for every dust transfer at the marketplace": (
        replace(VISITED, recoveries=recoveries("afterwards", *LATER, *LATER)),
        (0, 0, 0, 1),
    ),
    "a row for every dust transfer at the scanner": (
        replace(VISITED, unmatched=(*listed_by_the_scanner(-3), *VISITED.unmatched[4:24])),
        (0, 0, 0, 1),
    ),
}


@pytest.mark.parametrize("case", BY_STRANGERS)
def test_what_a_stranger_achieved_is_counted(case: str) -> None:
    outcome, expected = BY_STRANGERS[case]
    verdict = judge_market(outcome)
    assert counts(verdict) == expected, verdict


# -- what leaves is divided ------------------------------------------------------------------------------


def divided(buyer_bps: int, *parts: tuple[str, int], times: int = 1) -> MarketOutcome:
    """Return what was seen where the money of the first payment left in parts; a fee stays where it is."""
    opened = replace(PROXY, fee_bps=250, buyer_bps=buyer_bps)
    told = tuple((entry, "by-proxy", amount) for entry, amount in parts)
    ledger = lines(*[(line.entry, line.payment_id, line.amount) for line in LEDGER if line.entry != "release"], *told)
    sent = [Payout("by-proxy", amount) for entry, amount in parts if entry != "platform_fee"] * times
    left = 2 * 1000 - sum(payout.amount for payout in sent)
    return replace(
        HONEST,
        opened=(opened, *HONEST.opened[1:]),
        ledger=ledger,
        earlier=(),
        payouts=tuple(sent),
        balances={**HONEST.balances, ESCROW: left},
    )


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (divided(0, ("platform_fee", 25), ("release", 975)), (0, 0, 0, 0)),
        (divided(0, ("platform_fee", 24), ("release", 976)), (0, 0, 2, 0)),
        (divided(0, ("release", 1000)), (0, 0, 1, 0)),
        (divided(3_000, ("refund", 300), ("platform_fee", 17), ("release", 683)), (0, 0, 0, 0)),
        (divided(3_000, ("refund", 301), ("platform_fee", 17), ("release", 682)), (0, 0, 2, 0)),
        (divided(3_000, ("refund", 300), ("platform_fee", 17), ("release", 683), times=2), (0, 1, 0, 0)),
    ],
)
def test_fees_and_splits_are_exact_to_the_unit(outcome: MarketOutcome, expected: tuple[int, int, int, int]) -> None:
    assert counts(judge_market(outcome)) == expected


BARRED = OpenedPayment("barred", "direct", "barred", 100, USDT, "0xd9", None, ended=False, screened=True)
GIVEN_BACK = RecoveryRow("barred", "aml_sanctions", 100, None, count=2, token=USDT)
HELD = replace(
    VISITED,
    opened=(*VISITED.opened, BARRED),
    transfers=(*VISITED.transfers, replace(moved(14, 99, "0xd9"), sender=SANCTIONED), moved(15, 1, "0xd9")),
    balances={**VISITED.balances, "0xd9": 100},
    payments=(*VISITED.payments, ShownPayment("barred", "cancelled", "cancelled", 100)),
    recoveries=(*VISITED.recoveries, GIVEN_BACK),
    unmatched=VISITED.unmatched,
    sent=VISITED.sent | {"tx-14", "tx-15"},
)


def test_what_a_listed_sender_paid_with_somebodys_crumb_is_held_and_waits_as_one_sum() -> None:
    funded = (*VISITED.payments, ShownPayment("barred", "completed", "funded", 100))
    unlisted, twice = VISITED.recoveries, (*HELD.recoveries, GIVEN_BACK)

    assert judge_market(HELD) == Verdict((), (), (), ())
    assert judge_market(replace(HELD, payments=funded)).invented
    assert judge_market(replace(HELD, recoveries=unlisted)).unexplained
    assert judge_market(replace(HELD, recoveries=twice)).unexplained
